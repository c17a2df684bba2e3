"""The rooms of the package: each module imports from its own room and those below, no other, and
no modules import each other in a circle, also in the engine of the experiments."""

import ast
from pathlib import Path

import pytest

import experiment_engine
import mm_infobatch
from experiment_engine.modules import ROOMS

PACKAGE = Path(mm_infobatch.__file__).parent
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if path != PACKAGE / '__init__.py')
FOLDERS = sorted(path.parent for path in PACKAGE.rglob('__init__.py'))
MAX_LINES = 300
MAX_MODULES_AT_THE_TOP = 8


def name_of(path):
    return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts).replace('.__init__', '')


def imports_of(source, package):
    """Dotted names below the package that a module imports, wherever in it the import stands.

    Args:
        source (str): The module.
        package (tuple[str]): The package that the module is in, below ``mm_infobatch``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                parts = [*package[: len(package) + 1 - node.level], *(node.module or '').split('.')]
            elif (node.module or '').split('.')[0] == 'mm_infobatch':
                parts = node.module.split('.')[1:]
            else:
                continue
            parts = [part for part in parts if part]
            yield from (['.'.join(parts)] if parts else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split('.')[0] == 'mm_infobatch':
                    yield alias.name.partition('.')[2]


def may_import(room, other):
    """Whether a module of one room may import from another room."""
    return other == room or LEVELS[other] > LEVELS[room]


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_a_module_imports_from_its_own_room_and_those_below(path):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    room = parts[0]
    for imported in imports_of(path.read_text(), parts[:-1]):
        assert may_import(room, imported.split('.')[0]), f'{name_of(path)} imports {imported}'


def test_the_reader_of_imports_sees_every_form():
    source = (
        'from . import a\nfrom .b import c\nfrom .. import d\nfrom ..e.f import g\n'
        'import mm_infobatch.h\nfrom mm_infobatch.i import j\n'
        'def later():\n    from ..k import l\nimport torch\n'
    )
    assert list(imports_of(source, ('room',))) == [
        'room', 'room.b', 'd', 'e.f', 'h', 'i', 'k',
    ]  # fmt: skip


def test_losses_and_passes_know_nothing_of_each_other():
    assert not may_import('losses', 'passes') and not may_import('passes', 'losses')
    assert not may_import('losses', 'sampler') and may_import('sampler', 'passes')


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_a_module_is_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_few_modules_lie_at_the_top():
    at_the_top = {path.stem for path in PACKAGE.glob('*.py')} - {'__init__', 'version'}
    assert len(at_the_top) <= MAX_MODULES_AT_THE_TOP, sorted(at_the_top)


def siblings_that_import(folder):
    """The modules of a folder of single modules, each with those of them that it imports."""
    sources = {path.stem: path.read_text() for path in folder.glob('*.py')}
    return {
        name: {
            imported
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ImportFrom) and node.level == 1
            for imported in ([node.module] if node.module else [alias.name for alias in node.names])
            if imported in sources
        }
        for name, source in sources.items()
    }


def circle_in(imports):
    """The modules that are in a circle of imports, or import from one."""
    while True:
        ends = {name for name, imported in imports.items() if not imported & imports.keys()}
        if not ends:
            return sorted(imports)
        imports = {name: imported for name, imported in imports.items() if name not in ends}


@pytest.mark.parametrize(
    'folder',
    [
        Path(experiment_engine.__file__).parent,
        *sorted(path.parent for path in PACKAGE.rglob('__init__.py')),
    ],
    ids=lambda folder: folder.name,
)
def test_no_modules_import_each_other_in_a_circle(folder):
    assert circle_in(siblings_that_import(folder)) == []


def test_a_circle_of_imports_is_found():
    assert circle_in({'a': {'b'}, 'b': {'c'}, 'c': {'b'}, 'd': set()}) == ['a', 'b', 'c']
