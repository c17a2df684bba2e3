"""Tables in Markdown."""

from typing import List, Sequence


def table(rows: Sequence[Sequence[str]], aligned: bool = True) -> str:
    """Write rows as a table, the first of which is its head; ``aligned`` pads the cells."""
    widths = [max(map(len, column)) if aligned else 0 for column in zip(*rows)]
    lines: List[str] = [
        ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows
    ]
    lines.insert(1, ' | '.join('-' * (width or 3) for width in widths))
    return '\n'.join(f'| {line} |' for line in lines)
