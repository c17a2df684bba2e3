"""Processes are started only after gloo's threads have come to rest."""

import multiprocessing
from types import SimpleNamespace

import pytest
import toolbox_runs as runs
import torch
from torch.utils.data import DataLoader, TensorDataset

from mm_infobatch.cli import launch
from mm_infobatch.training import gloo

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


@pytest.fixture
def pauses(monkeypatch):
    """Of each pause: how many seconds, and how many processes there were before it."""
    found = []
    monkeypatch.setattr(
        gloo.time,
        'sleep',
        lambda seconds: found.append((seconds, len(multiprocessing.active_children()))),
    )
    return found


@pytest.fixture
def group(monkeypatch):
    """Starts a process group of some kind, as far as the code below is told of it."""

    def start(backend):
        told = SimpleNamespace(
            is_available=lambda: True,
            is_initialized=lambda: True,
            get_backend=lambda: backend,
            destroy_process_group=lambda: left.append(backend),
        )
        for module in (gloo, launch):
            monkeypatch.setattr(module, 'dist', told)

    left = start.left = []
    return start


def loader(num_workers, persistent=False):
    data = TensorDataset(torch.arange(4.0))
    # forked, as mmengine's default has it
    return DataLoader(
        data,
        num_workers=num_workers,
        persistent_workers=persistent,
        multiprocessing_context='fork' if num_workers else None,
    )


@pytest.mark.parametrize('backend, waits', [('gloo', 1), ('cpu:gloo,cuda:nccl', 1), ('nccl', 0)])
def test_only_gloo_is_waited_for(pauses, group, backend, waits):
    gloo.wait_for_gloo()
    assert pauses == [], 'there is no group yet'
    group(backend)
    gloo.wait_for_gloo()
    assert pauses == [(gloo.GRACE, 0)] * waits


def test_the_pause_is_before_workers_start_and_where_none_do_there_is_none(pauses, group):
    group('gloo')
    gloo.wait_before_workers(loader(0))
    gloo.wait_before_workers(None)
    assert pauses == []
    for times in (1, 2):
        gloo.wait_before_workers(loader(2))
        assert len(pauses) == times
    persistent = loader(2, persistent=True)
    gloo.wait_before_workers(persistent)
    assert len(pauses) == 3
    assert len(list(persistent)) == 4
    gloo.wait_before_workers(persistent)
    persistent._iterator._shutdown_workers()
    assert len(pauses) == 3, 'they are there already'


def test_a_run_pauses_before_each_start_of_its_workers(tmp_path, pauses, group):
    group('gloo')
    data = runs.write_classification_data(tmp_path / 'data', num_images=12)
    cfg = runs.classification_config(
        data, tmp_path / 'run', max_epochs=3, num_workers=1, val_interval=2
    )
    cfg.train_dataloader.persistent_workers = False
    cfg.val_dataloader.update(num_workers=1, persistent_workers=False)
    runs.train(runs.switch_on(cfg))
    assert [seconds for seconds, _ in pauses].count(gloo.GRACE) == 3 + 2, 'passes, validations'


def test_a_process_group_is_left_after_a_pause(pauses, group):
    launch.leave_process_group()
    assert pauses == group.left == []
    group('gloo')
    launch.leave_process_group()
    assert pauses == [(gloo.GRACE, 0)] and group.left == ['gloo']
