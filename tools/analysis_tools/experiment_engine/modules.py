"""The map of the modules of the package, from the first sentence of each module."""

import ast
from pathlib import Path
from typing import List, Tuple

# From the top down; a room may import from those in later lines, and within itself.
ROOMS = (
    ('__main__',),
    ('cli',),
    ('page',),
    ('convert', 'scoring'),
    ('hook', 'loops'),
    ('training',),
    ('sampler',),
    ('passes', 'losses'),
    ('policies',),
    ('arguments', 'registry', 'seeding', 'version'),
)


def summary(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line.

    Raises:
        ValueError: If the module has none.
    """
    text = ast.get_docstring(ast.parse(path.read_text()))
    if not text:
        raise ValueError(f'{path}: a module needs a docstring, whose first sentence is in the map')
    return ' '.join(text.split('\n\n')[0].split()).replace('``', '`').replace('|', r'\|')


def modules(package: Path) -> List[Path]:
    """The modules of a package, one room after the other and its ``__init__.py`` first."""
    order = [room for rooms in ROOMS for room in rooms]
    paths = [path for path in package.rglob('*.py') if path != package / '__init__.py']

    def key(path: Path) -> Tuple[int, Tuple[str, ...]]:
        parts = path.relative_to(package).with_suffix('').parts
        return order.index(parts[0]) if parts[0] in order else len(order), parts

    return sorted(paths, key=key)


def module_map(package: Path) -> str:
    """A table of the modules of a package, with a row in bold for each subpackage.

    Raises:
        ValueError: If a module has no docstring.
    """
    lines = ['| module | what it does |', '| --- | --- |']
    for path in modules(package):
        name = str(path.relative_to(package)).replace('__init__.py', '')
        cell, text = f'`{name}`', summary(path)
        if name.endswith('/'):
            cell, text = f'**{cell}**', f'**{text}**'
        lines.append(f'| {cell} | {text} |')
    return '\n'.join(lines)
