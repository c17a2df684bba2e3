"""Write the tables of the documents from the committed records.

A document has places like::

    <!-- table: baseline=records/camvid/baseline, InfoBatch=records/camvid/infobatch -->
    <!-- end of table -->

and what stands between the two lines is what ``summarize.py`` prints for those records. A record
with ``*`` in it is a group, the runs that differ in the seed. With ``--check`` nothing is written,
and a document that differs is an error.
"""
import argparse
import re
import sys
from pathlib import Path
from typing import List, Optional, Union

from _runs import Run, read_run
from summarize import table

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r'(<!-- table: ([^\n]+?) -->\n).*?(<!-- end of table -->)', re.DOTALL)


def read(root: Path, path: str) -> Union[Run, List[Run]]:
    """Read a record, or all that a pattern names.

    Raises:
        ValueError: If there is none, or it cannot be read.
    """
    if '*' not in path:
        return read_run(root / path)
    found = sorted(root.glob(path))
    if not found:
        raise ValueError(f'{path}: no record has such a name')
    return [read_run(one) for one in found]


def render(text: str, root: Path) -> str:
    """Fill the places of a document.

    Args:
        text (str): The document.
        root (Path): Where the records' paths begin.

    Returns:
        str: The document with its tables up to date.

    Raises:
        ValueError: If a place is not written as above, or a record cannot be read.
    """

    def fill(match: 're.Match[str]') -> str:
        pairs = [pair.partition('=') for pair in match.group(2).split(', ')]
        if not all(label and equals and path for label, equals, path in pairs):
            raise ValueError(f'{match.group(1).strip()}: write <!-- table: label=record, ... -->')
        runs = [read(root, path) for _, _, path in pairs]
        return f'{match.group(1)}{table(runs, [label for label, _, _ in pairs])}\n{match.group(3)}'

    return PLACE.sub(fill, text)


def main(argv: Optional[List[str]] = None) -> None:
    """Render or check the documents."""
    parser = argparse.ArgumentParser(description='Write the tables of the documents')
    parser.add_argument('documents', nargs='*', type=Path, default=[ROOT / 'README.md'])
    parser.add_argument('--check', action='store_true', help='only tell whether they are current')
    args = parser.parse_args(argv)
    for document in args.documents:
        try:
            old = document.read_text()
            new = render(old, ROOT)
        except (ValueError, OSError) as error:
            sys.exit(f'render_docs.py: error: {document.name}: {error}')
        if args.check and old != new:
            sys.exit(f'render_docs.py: error: a table of {document.name} is not what the records '
                     'say: run tools/render_docs.py')
        if not args.check:
            document.write_text(new)


if __name__ == '__main__':
    main()
