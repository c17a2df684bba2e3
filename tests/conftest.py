"""Tests run on the CPU, where a run is the same bit for bit; ``--gpu`` is for ``test_gpu.py``."""

import gc
import os
from fnmatch import fnmatch
from types import SimpleNamespace

import pytest
from warm_start import leave_configs_as_written

MATCHING = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption('--gpu', action='store_true', help='use the GPU (for tests/test_gpu.py)')


def pytest_configure(config):
    if not config.getoption('--gpu'):
        # Also for the processes that tests start. Nothing has asked CUDA for its devices yet.
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    if not hasattr(config, 'workerinput'):
        # It writes its grammars to a cache when it is first imported; of processes that do so at
        # once, some read a half. So before pytest-xdist starts them.
        import yapf  # noqa: F401
    leave_configs_as_written()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Give the mark ``runs`` to the cases of a test that its mark ``default_cases`` leaves out."""
    unseen = set()
    for item in items:
        mark = item.get_closest_marker('default_cases')
        if mark is None:
            continue
        name, case = item.nodeid.split('[')[0], item.callspec.id
        matching = {pattern for pattern in mark.args if fnmatch(case, pattern)}
        unseen |= {(name, pattern) for pattern in mark.args}
        item.stash[MATCHING] = {(name, pattern) for pattern in matching}
        if not matching:
            item.add_marker(pytest.mark.runs)
    unseen -= set().union(*(item.stash.get(MATCHING, set()) for item in items))
    if unseen and not any('::' in argument for argument in config.args):
        raise pytest.UsageError(f'default_cases names cases that there are not: {sorted(unseen)}')


@pytest.fixture(scope='session')
def seg_data(tmp_path_factory):
    """12 images for mmseg; do not write there."""
    import toolbox_runs

    return toolbox_runs.write_segmentation_data(tmp_path_factory.mktemp('seg'))


@pytest.fixture(scope='session')
def cls_data(tmp_path_factory):
    """16 images for mmpretrain; do not write there."""
    import toolbox_runs

    return toolbox_runs.write_classification_data(tmp_path_factory.mktemp('cls'))


@pytest.fixture(scope='session')
def small_data(tmp_path_factory):
    """The folders of 6 images for mmseg and of 8 for mmpretrain; do not write there."""
    import toolbox_runs

    return (
        toolbox_runs.write_segmentation_data(tmp_path_factory.mktemp('seg'), num_images=6),
        toolbox_runs.write_classification_data(tmp_path_factory.mktemp('cls'), num_images=8),
    )


@pytest.fixture
def seg(small_data, tmp_path):
    """A run of mmseg that works."""
    import toolbox_runs as runs

    return runs.switch_on(runs.segmentation_config(small_data[0], tmp_path, 6))


@pytest.fixture
def cls(small_data, tmp_path):
    """A run of mmpretrain that works."""
    import toolbox_runs as runs

    return runs.switch_on(runs.classification_config(small_data[1], tmp_path, 3))


@pytest.fixture(params=['mmseg', 'mmpretrain'])
def either(request):
    """A run of each toolbox."""
    return request.getfixturevalue('seg' if request.param == 'mmseg' else 'cls')


@pytest.fixture
def no_pause(monkeypatch):
    """Take the pause of two seconds out of mmengine's loop over iterations."""
    from mmengine.runner import loops

    monkeypatch.setattr(loops, 'time', SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture(autouse=True)
def _one_default_scope():
    """Keep the last default scope alone, of one for each runner of the process.

    MMEngine copies all of them whenever it builds something.
    """
    yield
    from mmengine.registry import DefaultScope

    while len(DefaultScope._instance_dict) > 1:
        DefaultScope._instance_dict.popitem(last=False)


def pytest_collection_finish(session):
    # What is imported by now stays; to look through it takes half a second a full collection.
    gc.collect()
    gc.freeze()
