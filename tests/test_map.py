"""The map of the modules, and the walks of docs/architecture.md, name the files that exist."""

import re
from pathlib import Path

import pytest

from experiment_engine import documents, modules

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'mm_infobatch'
CONTRIBUTING = (ROOT / 'CONTRIBUTING.md').read_text()
ARCHITECTURE = (ROOT / 'docs' / 'architecture.md').read_text()


def listed(text):
    """The first cells of a table of the map."""
    return re.findall(r'^\| \**`([^`]+)`\** \|', text, re.MULTILINE)


def test_every_module_is_listed_once_and_nothing_else_is():
    (place,) = documents.PLACE.finditer(CONTRIBUTING)
    expected = [
        path.relative_to(PACKAGE).as_posix().replace('__init__.py', '')
        for path in PACKAGE.rglob('*.py')
    ]
    assert sorted(listed(place.group(0))) == sorted(filter(None, expected))


def test_the_map_says_what_the_modules_say():
    assert documents.render(CONTRIBUTING, ROOT) == CONTRIBUTING
    changed = CONTRIBUTING.replace('`policies/plan.py`', '`policies/plans.py`')  # control
    assert documents.render(changed, ROOT) == CONTRIBUTING != changed


def test_every_folder_of_the_repository_is_listed():
    folders = listed(CONTRIBUTING[CONTRIBUTING.index('Beside the package') :])
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []
    assert {'configs/', 'tools/', 'experiments/', 'tests/'} <= set(folders)


def test_every_file_of_the_walks_exists():
    named = re.findall(r'`([\w/]+\.py)\b[^`]*`', ARCHITECTURE)
    assert len(named) > 30
    assert [
        name for name in named if not any((at / name).is_file() for at in (PACKAGE, ROOT))
    ] == []


def test_a_map_has_the_rooms_from_the_top_down_and_the_first_paragraph_of_each_module(tmp_path):
    for name, text in {
        '__init__.py': '"""The package."""',
        'losses/__init__.py': '"""Losses."""',
        'losses/wrapper.py': '"""Wraps ``a | b``\nin two lines.\n\nMore."""',
        'cli/__init__.py': '"""The command."""',
        'unknown.py': '"""Of no room."""',
        'hook.py': '"""The hook."""',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert modules.module_map(tmp_path).splitlines()[2:] == [
        '| **`cli/`** | **The command.** |',
        '| `hook.py` | The hook. |',
        '| **`losses/`** | **Losses.** |',
        r'| `losses/wrapper.py` | Wraps `a \| b` in two lines. |',
        '| `unknown.py` | Of no room. |',
    ]


def test_a_module_without_a_docstring_has_no_place_on_the_map(tmp_path):
    (tmp_path / 'hook.py').write_text('import torch\n')
    with pytest.raises(ValueError, match='hook.py: a module needs a docstring'):
        modules.module_map(tmp_path)
