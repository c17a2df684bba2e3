"""What somebody needs who carries the project on: workflows, release, documentation site."""

import importlib.util
import re
from pathlib import Path

import mmengine
import pytest

import mm_infobatch
import mm_infobatch.policies

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
PYPROJECT = (ROOT / 'pyproject.toml').read_text()
MAKEFILE = (ROOT / 'Makefile').read_text()


def jobs_of(path):
    return mmengine.load(path)['jobs']


def commands_of(path):
    """Each line that a workflow runs."""
    return [
        line
        for job in jobs_of(path).values()
        for step in job['steps']
        for line in step.get('run', '').splitlines()
    ]


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_the_repository_has(path):
    targets = set(re.findall(r'^([\w-]+):', MAKEFILE, re.MULTILINE))
    commands = commands_of(path)
    assert commands
    for line in commands:
        if line.startswith('make '):
            wanted = [word for word in line.split()[1:] if '=' not in word]
            assert wanted and set(wanted) <= targets, line
            names = re.findall(r'(\w+)=', line)
            assert all(re.search(rf'^{name} \?=', MAKEFILE, re.MULTILINE) for name in names), line
        if line.startswith('.ci/'):
            assert (ROOT / line).exists(), line


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_a_job_says_otherwise(path):
    assert mmengine.load(path)['permissions'] == {'contents': 'read'}


def bounds_of(package, extra):
    """The lowest and the first excluded version, as (major, minor)."""
    section = PYPROJECT[PYPROJECT.index(f'\n{extra} = [') :]
    low, high = re.search(rf'"{package}>=(\d+\.\d+),(?:!=[\d.]+,)?<(\d+\.\d+)"', section).groups()
    return tuple(map(int, low.split('.'))), tuple(map(int, high.split('.')))


@pytest.mark.parametrize('package', ['torch', 'torchvision'])
def test_the_default_tests_run_on_the_oldest_and_the_newest_torch_of_the_forks(package):
    (path,) = (path for path in WORKFLOWS if path.stem == 'test')
    rows = jobs_of(path)['onedl']['strategy']['matrix']['include']
    tested = sorted(tuple(map(int, row[package].split('.'))) for row in rows)
    low, high = bounds_of(package, 'onedl')
    assert tested == [low, (high[0], high[1] - 1)]


def test_the_stock_stack_has_one_torch_and_the_tests_its_oldest_and_newest_python():
    low, high = bounds_of('torch', 'openmmlab')
    assert high == (low[0], low[1] + 1)
    (path,) = (path for path in WORKFLOWS if path.stem == 'test')
    assert jobs_of(path)['openmmlab']['strategy']['matrix']['python'] == ['3.8', '3.11']
    assert "OpenMMLab's last releases; Python 3.8 to 3.11." in PYPROJECT


def test_the_version_is_the_same_everywhere_and_the_changelog_has_it():
    version = mm_infobatch.__version__
    citation = (ROOT / 'CITATION.cff').read_text()
    assert re.search(r'^version: (.*)$', citation, re.MULTILINE).group(1) == version
    changelog = (ROOT / 'CHANGELOG.md').read_text()
    assert re.search(r'^## \[([\d.]+)\]', changelog, re.MULTILINE).group(1) == version


@pytest.mark.parametrize('path', sorted(ROOT.glob('.github/ISSUE_TEMPLATE/*_*.yml')))
def test_an_issue_form_has_what_github_asks_for(path):
    form = mmengine.load(path)
    assert form['name'] and form['description'] and form['body']
    ids = [field['id'] for field in form['body']]
    assert len(set(ids)) == len(ids)
    assert all(field['attributes']['label'] for field in form['body'])


def test_the_site_has_every_page_once():
    index = (ROOT / 'docs' / 'index.md').read_text()
    trees = re.findall(r'```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)```', index, re.DOTALL)
    listed = ' '.join(trees).split()
    assert sorted(listed) == sorted({path.stem for path in ROOT.glob('docs/*.md')} - {'index'})


def test_the_api_page_has_every_public_name_once():
    text = (ROOT / 'docs' / 'api.md').read_text()
    shown = re.findall(r'^\.\. auto\w+:: (\w+)$', text, re.MULTILINE)
    public = {*mm_infobatch.__all__, *mm_infobatch.policies.__all__} - {'__version__'}
    assert sorted(shown) == sorted(public - {'PRUNING_POLICIES'})
    assert '`PRUNING_POLICIES`' in text


def test_the_page_of_the_command_has_every_subcommand():
    from mm_infobatch.cli.command import SUBCOMMANDS

    text = (ROOT / 'docs' / 'command.md').read_text()
    assert re.findall(r'^\| `mm-infobatch (\w+)', text, re.MULTILINE) == list(SUBCOMMANDS)


@pytest.mark.parametrize('page', ['index', 'command', 'api'])
def test_every_link_of_a_page_to_a_file_leads_to_one(page):
    path = ROOT / 'docs' / f'{page}.md'
    links = re.findall(r'\]\(([^)#]+?)(?:#[^)]*)?\)', path.read_text())
    local = [link for link in links if '://' not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize('name', ['train', 'test', 'runs', 'helpers'])
def test_no_module_of_the_tests_or_tools_has_a_name_that_others_use(name):
    """sys.path has the folders of pyproject.toml; a package of that name may be elsewhere on it."""
    spec = importlib.util.find_spec(name)
    assert spec is None or ROOT not in Path(spec.origin or '').parents
