"""Policies and the sampler's switches in real runs of both toolboxes."""

import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import Subset

from mm_infobatch import PRUNING_POLICIES, SeededDataset
from mm_infobatch.policies import SoftPruning
from mm_infobatch.training.file_labels import label_of

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
DOCUMENT = Path(__file__).resolve().parents[1] / 'docs' / 'policies.md'
NUM_IMAGES = 24


@pytest.fixture(scope='module')
def cls_data(tmp_path_factory):
    return runs.write_classification_data(tmp_path_factory.mktemp('cls'), num_images=NUM_IMAGES)


@pytest.fixture(scope='module')
def seg_data(tmp_path_factory):
    return runs.write_segmentation_data(tmp_path_factory.mktemp('seg'), num_images=NUM_IMAGES)


def cls_config(data, work_dir, policy, max_epochs=8, sampler=(), **kwargs):
    cfg = runs.switch_on(
        runs.classification_config(data, str(work_dir), max_epochs=max_epochs, **kwargs),
        delta=dict(sampler).get('delta', 1),
    )
    cfg.train_dataloader.sampler.update(dict(sampler))
    cfg.train_dataloader.sampler.policy = policy
    return cfg


def seg_config(data, work_dir, policy, delta, budget=None, **kwargs):
    cfg = runs.switch_on(
        runs.segmentation_config(data, str(work_dir), **kwargs), delta=delta, budget=budget
    )
    cfg.train_dataloader.sampler.policy = policy
    return cfg


class SlowToLearn(SoftPruning):
    """Takes 50 ms for the losses of a pass."""

    def observe(self, indices, losses, num_samples):
        time.sleep(0.05)


def test_what_a_policy_does_with_the_losses_counts_as_choosing(cls_data, tmp_path):
    PRUNING_POLICIES.register_module(module=SlowToLearn)
    try:
        runs.train(cls_config(cls_data, tmp_path, dict(type='SlowToLearn'), max_epochs=3))
    finally:
        PRUNING_POLICIES._module_dict.pop('SlowToLearn')
    report = runs.report_of(tmp_path)
    first, *later = [record['seconds'] for record in report['passes']]
    assert len(later) == 2 and min(later) >= 0.05
    assert report['totals']['seconds_choosing'] == first + sum(later) >= 0.1


@pytest.mark.default_cases('0.4-0.875-True')
@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('saving, delta', [(0.4, 0.875), (0.25, 0.7)])
def test_a_classification_run_saves_what_was_asked_for(
    cls_data, tmp_path, saving, delta, drop_last
):
    cfg = cls_config(
        cls_data,
        tmp_path,
        dict(type='TargetSaving', saving=saving),
        max_epochs=10,
        sampler=dict(delta=delta),
        drop_last=drop_last,
        batch_size=2,
    )
    recorder = runs.train(cfg)
    totals = runs.report_of(tmp_path)['totals']
    assert totals['saving'] == pytest.approx(saving, abs=0.01)
    assert totals['samples_trained'] == len(sum(recorder.column('indices'), []))
    assert totals['samples_full'] == 10 * NUM_IMAGES
    weights = torch.tensor(sum(recorder.column('weights'), []))
    assert 1.5 < float(weights.max()) <= 5.0001
    assert float(weights.sum()) == pytest.approx(10 * NUM_IMAGES, abs=1e-3)


@pytest.mark.default_cases('passes')
@pytest.mark.parametrize('budget', ['passes', 'iterations'])
def test_a_segmentation_run_saves_what_was_asked_for(seg_data, tmp_path, budget):
    cfg = seg_config(
        seg_data,
        tmp_path,
        dict(type='TargetSaving', saving=0.3),
        delta=0.8,
        budget=budget,
        max_iters=120,
        batch_size=2,
        drop_last=True,
    )
    recorder = runs.train(cfg)
    totals = runs.report_of(tmp_path)['totals']
    assert totals['saving'] == pytest.approx(0.3, abs=0.01)
    assert len(recorder.rows) == totals['iterations']
    assert (totals['iterations'] == 120) == (budget == 'iterations')
    records = runs.report_of(tmp_path)['passes']
    assert [record['pruned'] > 0 for record in records[:2]] == [False, True]
    assert records[-1]['annealing'] and not records[-1]['pruned']


def test_a_saving_out_of_reach_is_refused_when_training_starts(cls_data, tmp_path):
    cfg = cls_config(
        cls_data,
        tmp_path,
        dict(type='TargetSaving', saving=0.7),
        max_epochs=4,
        sampler=dict(delta=0.75),
    )
    runner, recorder = runs.build(cfg)
    # Two of four passes may prune, and skip at most 0.8 of theirs.
    with pytest.raises(ValueError, match='saving=0.7 is out of reach.*at most 0.4,'):
        runner.train()
    assert recorder.rows == []


@pytest.mark.default_cases('TargetSaving', 'RePB')
@pytest.mark.parametrize(
    'policy',
    [
        dict(type='UCB', prune_ratio=0.4),
        dict(type='TargetSaving', saving=0.3),
        dict(type='EpsilonGreedy', prune_ratio=0.4),
        dict(type='RePB', prune_ratio=0.5),
        dict(type='SeTa', window_scale=0.6, delta=0.7),
        dict(type='KAKURENBO', hidden=0.4, confidence=0.51, milestones=[0.4]),
        dict(type='IES', threshold=10.0, prune_ratio=0.5),
    ],
    ids=lambda policy: policy['type'],
)
def test_a_run_resumed_in_mid_pass_or_at_its_end_goes_on_bit_for_bit(cls_data, tmp_path, policy):
    smoothing = 0.0 if policy['type'] in ('KAKURENBO', 'UCB', 'IES') else 0.3  # they refuse any
    cfg = cls_config(
        cls_data,
        tmp_path / 'whole',
        policy,
        sampler=dict(delta=0.8, score_smoothing=smoothing, stratify=True),
    )
    whole = runs.train(runs.checkpoints_every(cfg, 1))
    ends = np.cumsum([len(lrs) for lrs in whole.by_pass('lr')]).tolist()
    assert np.diff(ends).min() < ends[0]  # some pass is pruned; IES begins with the sixth
    for done in (ends[1] + 2, ends[2], ends[3] + 1):
        again = runs.resumed(cfg, tmp_path / 'whole' / f'iter_{done}.pth', tmp_path / str(done))
        taken_up = runs.train(again)
        for key in ('iter', 'pass', 'indices', 'weights', 'lr', 'loss', 'scores'):
            assert taken_up.column(key) == whole.column(key)[done:], (key, done)
        runs.assert_same_state(taken_up.state, whole.state)


def test_the_control_without_its_policys_state_a_run_goes_on_otherwise(cls_data, tmp_path):
    cfg = cls_config(cls_data, tmp_path / 'whole', dict(type='UCB', prune_ratio=0.4, smoothing=0.1))
    whole = runs.train(runs.checkpoints_every(cfg, 1))
    done = sum(len(lrs) for lrs in whole.by_pass('lr')[:4])
    path = tmp_path / 'whole' / f'iter_{done}.pth'
    checkpoint = torch.load(path, weights_only=False)
    state = checkpoint['infobatch']['sampler'].pop('policy')
    assert set(state) == {'mean', 'variance'} and state['mean'].shape == (NUM_IMAGES,)
    torch.save(checkpoint, path)
    taken_up = runs.train(runs.resumed(cfg, path, tmp_path / 'again'))
    assert taken_up.column('indices') != whole.column('indices')[done:]


@pytest.mark.default_cases('StaticRandom')
@pytest.mark.parametrize('kind', ['StaticRandom', 'FromFile'])
def test_a_static_run_trains_its_subset_on_the_whole_schedule(cls_data, tmp_path, kind):
    policy = dict(type=kind, keep=0.5)
    if kind == 'FromFile':
        np.save(tmp_path / 'el2n.npy', np.arange(NUM_IMAGES))
        policy['path'] = str(tmp_path / 'el2n.npy')
    recorder = runs.train(cls_config(cls_data, tmp_path / kind, policy, max_epochs=5))
    passes = recorder.by_pass('indices')
    assert len(passes) == 5 and all(set(each) == set(passes[0]) for each in passes)
    assert len(passes[0]) == NUM_IMAGES // 2
    if kind == 'FromFile':
        assert set(passes[0]) == set(range(12, 24))
    totals = runs.report_of(tmp_path / kind)['totals']
    assert totals['saving'] == 0.5 and totals['samples_full'] == 5 * NUM_IMAGES
    stock = runs.train(runs.classification_config(cls_data, str(tmp_path / 'stock'), max_epochs=5))
    # The learning rate walks the schedule of all data, twice as fast.
    assert recorder.column('lr')[::3] == stock.column('lr')[::6]


@pytest.mark.parametrize('order', ['the same', 'another', 'unknown'])
def test_a_file_that_was_made_for_another_order_of_the_samples_is_told(cls_data, tmp_path, order):
    labels = np.repeat([0, 1, 2], NUM_IMAGES // 3)  # as the folders are sorted
    content = dict(scores=np.arange(NUM_IMAGES, dtype=np.float32))
    if order != 'unknown':
        content['labels'] = labels if order == 'the same' else labels[::-1]
    np.savez(tmp_path / 'el2n.npz', **content)
    policy = dict(type='FromFile', keep=0.5, path=str(tmp_path / 'el2n.npz'))
    runs.train(cls_config(cls_data, tmp_path / 'run', policy, max_epochs=1))
    log = runs.log_of(tmp_path / 'run')
    told = f'{NUM_IMAGES * 2 // 3} of {NUM_IMAGES} samples that were compared are of another class'
    assert (told in log) == (order == 'another')
    assert ('(sample 0 is of class 0, and of 2 in the file)' in log) == (order == 'another')


class Unlabelled(BaseDataset):
    """Two samples with annotations that are no single label."""

    def load_data_list(self):
        return [dict(gt_label=[0, 1]), dict()]


def test_the_class_of_a_sample_is_found_inside_wrappers_or_is_unknown(cls_data):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        plain = DATASETS.build(
            dict(type='CustomDataset', data_root=cls_data, data_prefix='train', pipeline=[])
        )
    last = len(plain) - 1
    for dataset, indices in (
        (plain, [0, last]),
        (SeededDataset(plain), [0, last]),
        (Subset(plain, [last, 0]), [1, 0]),
        (RepeatDataset(plain, 2), [len(plain), 2 * len(plain) - 1]),
    ):
        assert [label_of(dataset, index) for index in indices] == [0, 2]
    unlabelled = Unlabelled(pipeline=[])
    assert [label_of(unlabelled, index) for index in (0, 1)] == [None, None]
    assert label_of([1, 2], 0) is None


def test_warm_up_passes_of_a_run_prune_nothing(cls_data, tmp_path):
    cfg = cls_config(cls_data, tmp_path, dict(type='SoftPruning'), sampler=dict(warmup_passes=3))
    runs.train(cfg)
    pruned = [record['pruned'] > 0 for record in runs.report_of(tmp_path)['passes']]
    assert pruned == [False] * 3 + [True] * 5


def test_smoothed_scores_of_a_run_are_averages_of_its_losses(cls_data, tmp_path):
    cfg = cls_config(
        cls_data,
        tmp_path,
        dict(type='SoftPruning', prune_ratio=0),
        sampler=dict(score_smoothing=0.5),
        max_epochs=3,
    )
    smoothed = runs.train(cfg)
    plain = runs.train(
        cls_config(
            cls_data, tmp_path / 'plain', dict(type='SoftPruning', prune_ratio=0), max_epochs=3
        )
    )
    assert smoothed.column('loss') == plain.column('loss')  # nothing is pruned
    first, second = (plain.passes[index][0] for index in (1, 2))
    assert torch.allclose(smoothed.passes[1][0], first)
    assert torch.allclose(smoothed.passes[2][0], (first + second) / 2)
    assert not torch.allclose(first, second)  # control


def test_stratified_with_nothing_to_prune_is_the_stock_run_bit_for_bit(cls_data, tmp_path):
    stock = runs.train(runs.classification_config(cls_data, str(tmp_path / 'stock'), max_epochs=3))
    cfg = cls_config(
        cls_data,
        tmp_path / 'ours',
        dict(type='SoftPruning', prune_ratio=0),
        sampler=dict(stratify=True),
        max_epochs=3,
    )
    ours = runs.train(cfg)
    for key in ('indices', 'lr', 'loss'):
        assert ours.column(key) == stock.column(key)
    runs.assert_same_state(ours.state, stock.state)


def test_each_batch_of_a_stratified_run_has_its_share_of_well_learned_samples(cls_data, tmp_path):
    cfg = cls_config(cls_data, tmp_path, dict(type='SoftPruning'), sampler=dict(stratify=True))
    recorder = runs.train(cfg)
    pruned = 0
    for index in range(1, 8):
        light = [
            sum(weight > 1 for weight in row['weights'])
            for row in recorder.rows
            if row['pass'] == index and len(row['weights']) == 4
        ]
        pruned += sum(light)
        assert max(light) - min(light) <= 1
    assert pruned


@pytest.mark.parametrize('rescale', [False, 'normalized'])
def test_the_weights_of_a_run_are_as_rescale_says(cls_data, tmp_path, rescale):
    cfg = cls_config(cls_data, tmp_path, dict(type='QuantilePruning', rescale=rescale))
    recorder = runs.train(cfg)
    for weights in recorder.by_pass('weights')[1:]:
        assert len(weights) < NUM_IMAGES
        assert math.isclose(sum(weights), len(weights), rel_tol=1e-6)
        assert (set(weights) == {1.0}) == (rescale is False)


def test_the_example_of_the_document_is_a_policy_that_a_config_names(
    cls_data, tmp_path, monkeypatch
):
    python, config = re.findall(r'```python\n(.*?)```', DOCUMENT.read_text(), re.DOTALL)[:2]
    name = re.search(r'^class (\w+)', python, re.MULTILINE).group(1)
    module = re.search(r"'mm_infobatch', '(\w+)'", config).group(1)
    (tmp_path / f'{module}.py').write_text(python)
    assert len([line for line in python.splitlines() if line.strip()]) <= 16
    monkeypatch.syspath_prepend(tmp_path)
    cfg = cls_config(
        cls_data,
        tmp_path / 'run',
        dict(type='SoftPruning', prune_ratio=0.5),
        sampler=dict(delta=0.7),
    )
    cfg.dump(tmp_path / 'base.py')
    (tmp_path / 'mine.py').write_text(f"_base_ = './base.py'\n{config}")
    try:
        recorder = runs.train(Config.fromfile(str(tmp_path / 'mine.py')))
        sampler = recorder.runner.train_loop.sampler
        assert type(sampler.policy).__name__ == name
        records = runs.report_of(tmp_path / 'run')['passes']
        assert [record['pruned'] > 0 for record in records] == [False] + [True] * 5 + [False] * 2
        for weights in recorder.by_pass('weights'):
            assert sum(weights) == pytest.approx(NUM_IMAGES)
    finally:
        PRUNING_POLICIES._module_dict.pop(name, None)
