"""The table of faults: what the harness of ``tests/faults`` has seen, from its records."""

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

NAMES = dict(onedl='maintained forks', openmmlab='stock OpenMMLab')
Stack = Dict[str, Any]


def read_stacks(folder: Path) -> List[Stack]:
    """Read the record of each stack.

    Args:
        folder (Path): Where ``<stack>.json`` lie, as ``pytest --faults-record`` wrote them.

    Raises:
        ValueError: If there is none, or one cannot be read.
    """
    stacks = []
    for path in sorted(folder.glob('*.json')):
        try:
            content = json.loads(path.read_text())
            NAMES[content['stack']], content['python'], content['versions'].items()
            [
                (row['group'], row['case'], row['holds'], row['trials'], row['passed'])
                for row in content['cases']
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path.name} is not what pytest --faults-record writes: {error!r}'
            ) from error
        stacks.append(content)
    if not stacks:
        raise ValueError(f'{folder}: no record of the harness is there; run make test-faults')
    return stacks


def faults_table(folder: Path) -> str:
    """Write the table of cases as Markdown, a section a group.

    Args:
        folder (Path): As in :func:`read_stacks`.

    Returns:
        str: The table. A cell says how many of the trials of a case ended as they have to.
    """
    stacks = read_stacks(folder)
    rows: Dict[str, Dict[Tuple[str, str], List[str]]] = {}
    for number, stack in enumerate(stacks):
        for row in stack['cases']:
            cells = rows.setdefault(row['group'], {}).setdefault(
                (row['case'], row['holds']), ['-'] * len(stacks)
            )
            cells[number] = f'{row["passed"]} of {row["trials"]}'
    versions = [
        f'{NAMES[stack["stack"]]}: Python {stack["python"]}, '
        + ', '.join(f'{name} {version}' for name, version in stack['versions'].items())
        for stack in stacks
    ]
    heads: List[str] = [NAMES[stack['stack']] for stack in stacks]
    lines = ['; '.join(versions) + '.']
    for group, cases in rows.items():
        lines += ['', f'### {group}', '', _line(['case', 'what has to hold', *heads])]
        lines.append(_line(['---'] * (2 + len(heads))))
        lines += [_line([case, holds, *cells]) for (case, holds), cells in cases.items()]
    return '\n'.join(lines)


def _line(cells: List[str]) -> str:
    return f'| {" | ".join(cells)} |'
