"""Tests run on the CPU, where a run is the same bit for bit; ``--gpu`` is for ``test_gpu.py``."""

import os
from types import SimpleNamespace

import pytest


def pytest_addoption(parser):
    parser.addoption('--gpu', action='store_true', help='use the GPU (for tests/test_gpu.py)')


def pytest_configure(config):
    if not config.getoption('--gpu'):
        # Also for the processes that tests start. Nothing has asked CUDA for its devices yet.
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Give the mark ``runs`` to the cases that ``default_cases`` does not name."""
    tests = {}
    for item in items:
        mark = item.get_closest_marker('default_cases')
        if mark is not None:
            tests.setdefault(item.nodeid.split('[')[0], (mark.args, []))[1].append(item)
    whole = not any('::' in argument for argument in config.args)
    for name, (cases, found) in tests.items():
        missing = set(cases) - {item.callspec.id for item in found}
        if whole and missing:
            raise pytest.UsageError(f'{name}: default_cases names {missing}, which it has not')
        for item in found:
            if item.callspec.id not in cases:
                item.add_marker(pytest.mark.runs)


@pytest.fixture
def no_pause(monkeypatch):
    """Take the pause of two seconds out of mmengine's loop over iterations."""
    from mmengine.runner import loops

    monkeypatch.setattr(loops, 'time', SimpleNamespace(sleep=lambda seconds: None))
