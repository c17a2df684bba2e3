"""Ranks that do not train the same pass stop with one error, instead of waiting for each other."""

import os
from pathlib import Path

import launch
import pytest
import toolbox_runs as runs
import torch
from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset
from small_runner import begin, halves, scored_sampler

from mm_infobatch.policies import SoftPruning
from mm_infobatch.registry import PRUNING_POLICIES
from mm_infobatch.training.agreement import check_agreement


@PRUNING_POLICIES.register_module(force=True)
class KnowsItsRank(SoftPruning):
    """A policy that is not the same on every rank: it draws from a generator of its own."""

    def plan(self, scores, generator):
        rank = int(os.environ.get('RANK', 0))
        return super().plan(scores, torch.Generator().manual_seed(rank))


def orders(monkeypatch, first, second, starts=(0, 0)):
    """Have two ranks compare these passes, in one process."""
    rows = []

    def gathered(row):
        rows.append(row)
        return rows if len(rows) == 2 else [row, row]

    monkeypatch.setattr('mm_infobatch.training.agreement.get_world_size', lambda: 2)
    monkeypatch.setattr('mm_infobatch.training.agreement.all_gather', gathered)
    check_agreement(first, starts[0])
    check_agreement(second, starts[1])


def order(length=24, seed=0, **kwargs):
    return begin(scored_sampler(length, halves(length), seed=seed, **kwargs), 1).order


def test_ranks_of_the_same_pass_agree(monkeypatch):
    orders(monkeypatch, order(rank=0, world_size=2), order(rank=1, world_size=2))


@pytest.mark.parametrize(
    'second, starts, reason',
    [
        (lambda: order(length=25), (0, 0), '24 samples on rank 0 and 25 on rank 1'),
        (lambda: order(seed=1), (0, 0), 'the ranks do not train the same pass: rank 0 keeps 18'),
        (lambda: order(policy=SoftPruning(0.9)), (0, 0), 'keeps 18 samples and rank 1 14'),
        (lambda: order(), (4, 8), 'rank 0 has trained 4 samples of the pass and rank 1 8'),
    ],
)
def test_ranks_that_differ_are_told_why(monkeypatch, second, starts, reason):
    with pytest.raises(ValueError, match=reason):
        orders(monkeypatch, order(), second(), starts)


def test_ranks_whose_weights_alone_differ_are_told(monkeypatch):
    other = order()
    other.weights = other.weights.clone()
    other.weights[3] += 0.5
    with pytest.raises(ValueError, match='do not train the same pass'):
        orders(monkeypatch, order(), other)


@DATASETS.register_module(force=True)
class ListedByRank(CustomDataset):
    """Images that each machine lists in an order of its own."""

    def load_data_list(self):
        return super().load_data_list()[:: -1 if os.environ.get('RANK') == '1' else 1]


POLICY = dict(sampler=dict(policy=dict(type='KnowsItsRank', _delete_=True)))
FILES = dict(dataset=dict(type='ListedByRank'))


@pytest.mark.runs
@pytest.mark.parametrize(
    'change, reason',
    [
        (POLICY, 'draw all random numbers from the generator'),
        (FILES, 'differ between rank 1 and rank 0'),
    ],
)
def test_two_processes_that_differ_stop_with_the_reason(tmp_path, change, reason):
    data = runs.write_classification_data(tmp_path / 'data')
    cfg = runs.switch_on(
        runs.classification_config(data, str(tmp_path / 'run'), max_epochs=4, batch_size=2)
    )
    cfg.merge_from_dict(dict(train_dataloader=change))
    ranks = launch.start(cfg, imports=[Path(__file__).stem])
    assert 0 not in ranks.wait()
    assert 'ValueError: ' in ranks.said() and reason in ranks.said(), ranks.said()
