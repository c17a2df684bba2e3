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


@pytest.fixture
def no_pause(monkeypatch):
    """Take the pause of two seconds out of mmengine's loop over iterations."""
    from mmengine.runner import loops

    monkeypatch.setattr(loops, 'time', SimpleNamespace(sleep=lambda seconds: None))
