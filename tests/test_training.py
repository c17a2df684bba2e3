"""Whole runs of both toolboxes: off means off, and what a pruned run does."""

import functools
import inspect
import math
import re
from types import SimpleNamespace

import pytest
import toolbox_runs as runs  # before mmseg, whose import warns
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmseg.models.losses.cross_entropy_loss import cross_entropy
from PIL import Image

from mm_infobatch import InfoBatchLoss
from mm_infobatch.training.score_histogram import histogram

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

# mmengine 0.10.7's IterBasedTrainLoop opens the dataloader while it is built, which draws a number
# from the global generator before the weights are initialised.
STOCK_LOOP_DRAWS_FIRST = 'iter(' in inspect.getsource(_InfiniteDataloaderIterator.__init__)
# mmsegmentation 1.2.2 looks up the class weight of each label, that of ignored ones too.
CLASS_WEIGHT_FAILS = '[class_weight[cls] for cls in label' in inspect.getsource(cross_entropy)


def assert_same_run(ours, stock):
    for key in ('indices', 'lr', 'loss'):
        assert ours.column(key) == stock.column(key), key
    runs.assert_same_state(ours.state, stock.state)


def initial_weights(cfg, path):
    """A checkpoint to start from, as with a pretrained model."""
    runner, _ = runs.build(cfg)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        runner.model.init_weights()
    torch.save(dict(state_dict=runner.model.state_dict(), meta={}), path)
    return str(path)


# --------------------------------------------------------------- off means off


@pytest.mark.default_cases('first pass', 'annealing from the start')
@pytest.mark.parametrize(
    'max_iters, on',
    [(16, dict(prune_ratio=0.0)), (6, dict(prune_ratio=0.5)), (13, dict(delta=0.0))],
    ids=['prune_ratio=0', 'first pass', 'annealing from the start'],
)
def test_without_pruning_an_mmseg_run_is_the_stock_run_bit_for_bit(
    seg_data, tmp_path, no_pause, max_iters, on
):
    cfg = runs.segmentation_config(
        seg_data, tmp_path / 'stock', max_iters, flip=True, norm_cfg=runs.BN
    )
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    stock = runs.train(cfg)
    ours = runs.train(runs.switch_on(cfg, **on))
    assert len(ours.rows) == max_iters
    assert {weight for row in ours.column('weights') for weight in row} == {1.0}
    assert_same_run(ours, stock)


@pytest.mark.skipif(
    STOCK_LOOP_DRAWS_FIRST, reason='this mmengine opens the dataloader before it makes the weights'
)
def test_without_pruning_an_mmseg_run_from_scratch_with_dropout_is_the_stock_run(
    seg_data, tmp_path, no_pause
):
    cfg = runs.segmentation_config(
        seg_data,
        tmp_path,
        14,
        batch_size=5,
        flip=True,
        dropout=0.3,
        norm_cfg=runs.BN,
        val_interval=4,
    )
    ours, stock = runs.train(runs.switch_on(cfg, prune_ratio=0)), runs.train(cfg)
    assert {len(indices) for indices in stock.column('indices')} == {5, 2}
    assert_same_run(ours, stock)


@pytest.mark.default_cases('avg_non_ignore')
@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss', avg_non_ignore=True),
        pytest.param(
            dict(type='CrossEntropyLoss', class_weight=[0.5, 1.0, 2.0, 1.5]),
            marks=pytest.mark.skipif(
                CLASS_WEIGHT_FAILS, reason='this mmseg fails with class_weight and ignored labels'
            ),
        ),
        dict(type='CrossEntropyLoss', use_sigmoid=True),
    ],
    ids=['avg_non_ignore', 'class_weight', 'use_sigmoid'],
)
def test_without_pruning_the_modes_of_a_loss_of_mmseg_are_those_of_the_stock_run(
    seg_data, tmp_path, no_pause, loss
):
    cfg = runs.segmentation_config(seg_data, tmp_path / 'stock', 7)
    cfg.model.decode_head.loss_decode = loss
    cfg.model.auxiliary_head.loss_decode = dict(loss)
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    stock = runs.train(cfg)
    assert_same_run(runs.train(runs.switch_on(cfg, prune_ratio=0)), stock)


@pytest.mark.default_cases('class_weight')
@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss', class_weight=[0.5, 1.0, 2.0]),
        dict(type='FocalLoss'),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=3),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=3, mode='multi_label'),
    ],
    ids=['class_weight', 'focal', 'label smoothing', 'smoothing with sigmoids'],
)
def test_without_pruning_the_losses_of_mmpretrain_are_those_of_the_stock_run(
    cls_data, tmp_path, loss
):
    cfg = runs.classification_config(cls_data, tmp_path, max_epochs=2)
    cfg.model.head.loss = loss
    stock = runs.train(cfg)
    assert_same_run(runs.train(runs.switch_on(cfg, prune_ratio=0)), stock)
    assert runs.train(runs.switch_on(cfg, delta=1)).passes[1][1].pruned


def test_without_pruning_other_loss_weights_equal_the_stock_run_to_rounding(
    seg_data, tmp_path, no_pause
):
    cfg = runs.segmentation_config(seg_data, tmp_path / 'stock', 8, aux_weight=0.4)
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    stock, ours = runs.train(cfg), runs.train(runs.switch_on(cfg, prune_ratio=0))
    for left, right in zip(ours.column('loss'), stock.column('loss')):
        assert left == pytest.approx(right, rel=1e-4)


SCHEDULES = {
    'by epoch and converted': None,
    'by epoch': [dict(type='MultiStepLR', milestones=[1, 2], gamma=0.1, by_epoch=True)],
    'one cycle over iterations': [
        dict(
            type='OneCycleLR', eta_max=0.2, total_steps=3, by_epoch=True, convert_to_iter_based=True
        )
    ],
}


@pytest.mark.default_cases('one cycle over iterations')
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_without_pruning_an_mmpretrain_run_is_the_stock_run_bit_for_bit(
    cls_data, tmp_path, schedule
):
    cfg = runs.classification_config(
        cls_data,
        tmp_path,
        max_epochs=3,
        batch_size=5,
        flip=True,
        norm_cfg=runs.BN,
        val_interval=2,
        drop_last=True,
        param_scheduler=SCHEDULES[schedule],
    )
    stock, ours = runs.train(cfg), runs.train(runs.switch_on(cfg, prune_ratio=0))
    assert len(ours.rows) == 9
    assert_same_run(ours, stock)


def test_annealing_after_pruning_is_a_stock_epoch_bit_for_bit(cls_data, tmp_path):
    cfg = runs.classification_config(
        cls_data, tmp_path / 'ours', max_epochs=4, param_scheduler=SCHEDULES['by epoch']
    )
    runs.checkpoints_every(cfg, 1, by_epoch=True)
    ours = runs.train(runs.switch_on(cfg, delta=0.75))
    assert ours.passes[2][1].pruned and not ours.passes[3][1].pruned
    stock = runs.train(runs.resumed(cfg, tmp_path / 'ours' / 'epoch_3.pth', tmp_path / 'stock'))
    assert len(stock.rows) == 4
    for key in ('iter', 'indices', 'lr', 'loss'):
        assert ours.column(key)[-4:] == stock.column(key), key
    runs.assert_same_state(ours.state, stock.state)


# ------------------------------------------------------------------ a pruned run


class LossesByHand(Hook):
    """Each sample's loss, computed anew from what the heads hand to their losses.

    A sample is known by its own ``sample_idx``, and the values come from PyTorch's cross entropy.
    """

    def __init__(self):
        self.latest = {}
        self.passes = []  # the latest losses when each pass ended

    def before_train(self, runner):
        self.calls = []
        for loss in (m for m in runner.model.modules() if isinstance(m, InfoBatchLoss)):
            loss.register_forward_pre_hook(
                lambda module, args: self.calls.append((module, args[0], args[1]))
            )

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.calls.clear()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        total = 0
        for module, pred, target in self.calls:
            if module.score:
                values = F.cross_entropy(
                    pred.detach().double(), target, ignore_index=255, reduction='none'
                )
                valid = (target != 255).flatten(1).sum(1) if target.ndim > 1 else 1
                total += module.loss_weight * values.reshape(len(values), -1).sum(1) / valid
        for sample, value in zip(data_batch['data_samples'], total):
            self.latest[sample.sample_idx] = value.item()
        if not runner.train_loop.schedule.iters_left:
            self.passes.append(dict(self.latest))


@pytest.fixture(scope='module')
def seg_run(seg_data, tmp_path_factory):
    """Eight passes over 12 images at batch size 2, the last of them annealing."""
    work_dir = tmp_path_factory.mktemp('seg_run')
    cfg = runs.segmentation_config(
        seg_data, work_dir, max_iters=48, val_interval=10, aux_weight=0.4
    )
    cfg.default_hooks.checkpoint.update(interval=10, save_last=True)
    by_hand = LossesByHand()
    recorder = runs.train(runs.switch_on(cfg), by_hand)
    cfg.work_dir += '_unpruned'
    return SimpleNamespace(
        work_dir=work_dir,
        by_hand=by_hand,
        recorder=recorder,
        length=6,
        num_samples=12,
        batch=2,
        unpruned=runs.train(runs.switch_on(cfg, prune_ratio=0)),
    )


@pytest.fixture(scope='module')
def cls_run(cls_data, tmp_path_factory):
    """Eight epochs of 16 images at batch size 3, the last of them annealing."""
    work_dir = tmp_path_factory.mktemp('cls_run')
    cfg = runs.classification_config(
        cls_data,
        work_dir,
        max_epochs=8,
        batch_size=3,
        val_interval=3,
        param_scheduler=[
            dict(
                type='OneCycleLR',
                eta_max=0.1,
                total_steps=8,
                by_epoch=True,
                convert_to_iter_based=True,
            )
        ],
    )
    cfg.default_hooks.checkpoint.update(interval=3, save_last=True)
    by_hand = LossesByHand()
    recorder = runs.train(runs.switch_on(cfg), by_hand)
    cfg.work_dir += '_unpruned'
    return SimpleNamespace(
        work_dir=work_dir,
        by_hand=by_hand,
        recorder=recorder,
        length=6,
        num_samples=16,
        batch=3,
        unpruned=runs.train(runs.switch_on(cfg, prune_ratio=0)),
    )


@pytest.fixture(params=['mmseg', 'mmpretrain'])
def pruned(request):
    return request.getfixturevalue('seg_run' if request.param == 'mmseg' else 'cls_run')


def test_a_run_prunes_from_the_second_pass_to_the_annealing(pruned):
    kept = [len(plan.indices) for _, plan in pruned.recorder.passes]
    assert len(kept) == 8
    assert kept[0] == kept[-1] == pruned.num_samples
    assert all(count < pruned.num_samples for count in kept[1:-1])


def test_a_pass_trains_each_sample_of_its_plan_once_at_its_weight(pruned):
    passes = zip(
        pruned.recorder.by_pass('indices'),
        pruned.recorder.by_pass('weights'),
        pruned.recorder.passes,
    )
    for indices, weights, (_, plan) in passes:
        assert sorted(indices) == plan.indices.tolist()
        assert dict(zip(indices, weights)) == dict(
            zip(plan.indices.tolist(), plan.weights.tolist())
        )


def test_the_weights_of_each_pass_sum_to_the_number_of_samples(pruned):
    for weights in pruned.recorder.by_pass('weights'):
        assert sum(weights) == pytest.approx(pruned.num_samples, rel=1e-6)


def test_samples_at_or_above_the_mean_are_kept_at_weight_1(pruned):
    for scores, plan in pruned.recorder.passes[1:-1]:
        mean = scores.double().mean()
        above = (scores >= mean).nonzero().squeeze(1).tolist()
        weights = dict(zip(plan.indices.tolist(), plan.weights.tolist()))
        assert above and {weights[index] for index in above} == {1.0}
        assert plan.threshold == pytest.approx(mean.item(), rel=1e-12)
        well_learned = [weight for index, weight in weights.items() if index not in above]
        assert {round(weight * len(well_learned)) for weight in well_learned} == {
            pruned.num_samples - len(above)
        }


def test_the_annealing_pass_trains_all_samples_at_weight_1(pruned):
    assert sorted(pruned.recorder.by_pass('indices')[-1]) == list(range(pruned.num_samples))
    assert set(pruned.recorder.by_pass('weights')[-1]) == {1.0}


def test_the_scores_are_each_samples_latest_loss_computed_by_hand(pruned):
    assert len(pruned.by_hand.passes) == len(pruned.recorder.passes) == 8
    for ended, (scores, _) in zip(pruned.by_hand.passes, pruned.recorder.passes[1:]):
        expected = [ended[index] for index in range(pruned.num_samples)]
        assert scores.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_pruned_sample_keeps_the_score_that_it_had(pruned):
    for (before, plan), (after, _) in zip(pruned.recorder.passes[1:], pruned.recorder.passes[2:]):
        skipped = sorted(set(range(pruned.num_samples)) - set(plan.indices.tolist()))
        assert torch.equal(before[skipped], after[skipped])
        assert not torch.equal(before[plan.indices], after[plan.indices])


def test_a_run_takes_as_many_iterations_as_its_passes_keep(pruned):
    needed = sum(math.ceil(plan.kept / pruned.batch) for _, plan in pruned.recorder.passes)
    assert len(pruned.recorder.rows) == needed < 8 * pruned.length
    assert len(pruned.unpruned.rows) == 8 * pruned.length
    assert pruned.recorder.column('iter') == list(range(needed))


def test_the_learning_rate_follows_the_unpruned_schedule_by_progress(pruned):
    unpruned = pruned.unpruned.column('lr')
    for index, lrs in enumerate(pruned.recorder.by_pass('lr')):
        expected = [
            unpruned[index * pruned.length + pruned.length * step // len(lrs)]
            for step in range(len(lrs))
        ]
        assert lrs == pytest.approx(expected, rel=1e-12)


def test_the_learning_rate_ends_where_that_of_the_unpruned_run_ends(pruned):
    ends = [
        recorder.runner.optim_wrapper.get_lr()['lr']
        for recorder in (pruned.recorder, pruned.unpruned)
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


def test_the_expected_end_is_exact_in_the_last_pass_and_the_eta_ends_at_0(pruned):
    last = pruned.recorder.by_pass('max_iters')[-1]
    assert set(last) == {len(pruned.recorder.rows)}
    estimates = pruned.recorder.column('max_iters')
    assert all(
        iteration < estimate <= 8 * pruned.length for iteration, estimate in enumerate(estimates)
    )
    assert (
        'eta: 0:00:00'
        in [line for line in runs.log_of(pruned.work_dir).splitlines() if '(train)' in line][-1]
    )


def test_the_log_of_an_iteration_based_run_ends_with_the_last_of_all_iterations(seg_run):
    shown = re.findall(r'Iter\(train\) \[ *(\d+)/(\d+)\]', runs.log_of(seg_run.work_dir))
    count = len(seg_run.recorder.rows)
    assert [int(at) for at, _ in shown] == list(range(1, count + 1))
    assert int(shown[-1][1]) == count
    assert int(shown[0][1]) == 48


def test_the_log_of_an_epoch_based_run_counts_the_iterations_of_each_pass(cls_run):
    shown = re.findall(r'Epoch\(train\) +\[(\d+)\]\[ *(\d+)/(\d+)\]', runs.log_of(cls_run.work_dir))
    expected = [
        (str(index), str(step), str(math.ceil(plan.kept / 3)))
        for index, (_, plan) in enumerate(cls_run.recorder.passes, 1)
        for step in range(1, math.ceil(plan.kept / 3) + 1)
    ]
    assert shown == expected


def test_an_iteration_based_run_validates_and_saves_by_iterations_and_once_at_the_end(seg_run):
    count = len(seg_run.recorder.rows)
    expected = sorted({*range(10, count + 1, 10), count})
    validated = [line['step'] for line in runs.scalars_of(seg_run.work_dir) if 'mIoU' in line]
    assert validated == expected
    saved = re.findall(r'Saving checkpoint at (\d+) iterations', runs.log_of(seg_run.work_dir))
    assert [int(at) for at in saved] == expected
    assert {path.name for path in seg_run.work_dir.glob('*.pth')} == {
        f'iter_{at}.pth' for at in expected
    }


def test_an_epoch_based_run_validates_and_saves_by_epochs_and_once_at_the_end(cls_run):
    log = runs.log_of(cls_run.work_dir)
    assert re.findall(r'Saving checkpoint at (\d+) epochs', log) == ['3', '6', '8']
    assert re.findall(r'Epoch\(val\) \[(\d+)\]\[1/1\] +accuracy', log) == ['3', '6', '8']


@pytest.mark.default_cases('12')
@pytest.mark.parametrize('max_iters', [12, 15])
def test_an_end_that_falls_on_an_interval_validates_and_saves_once(seg_data, tmp_path, max_iters):
    cfg = runs.segmentation_config(seg_data, tmp_path, max_iters, batch_size=3, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1, save_last=True)
    count = len(runs.train(runs.switch_on(cfg)).rows)
    steps = [line['step'] for line in runs.scalars_of(tmp_path) if 'mIoU' in line]
    assert steps == list(range(1, count + 1))
    saved = re.findall(r'Saving checkpoint at (\d+) iterations', runs.log_of(tmp_path))
    assert [int(at) for at in saved] == steps


def test_the_report_tells_what_each_pass_trained(pruned):
    report = runs.report_of(pruned.work_dir)
    recorder = pruned.recorder
    begin = 0
    for index, (record, (scores, plan), indices, lrs) in enumerate(
        zip(report['passes'], recorder.passes, recorder.by_pass('indices'), recorder.by_pass('lr'))
    ):
        assert (record['pass'], record['begin_iter'], record['iterations']) == (
            index,
            begin,
            len(lrs),
        )
        assert record['kept'] == record['trained'] == plan.kept == len(indices)
        assert record['pruned'] == plan.pruned
        assert record['pruned_share'] == pytest.approx(plan.pruned / pruned.num_samples)
        assert record['full'] == pruned.num_samples
        assert record['annealing'] == (index == 7)
        assert record['threshold'] == plan.threshold
        mean = scores.double().nanmean().item()
        assert record['mean_score'] == (None if math.isnan(mean) else pytest.approx(mean))
        assert record['histogram'] == histogram(scores)
        assert 0 <= record['seconds'] < 5
        begin += len(lrs)
    trained = sum(len(indices) for indices in recorder.column('indices'))
    totals = report['totals']
    assert (totals['passes'], totals['iterations'], totals['schedule_iterations']) == (
        8,
        len(recorder.rows),
        8 * pruned.length,
    )
    assert (totals['samples_trained'], totals['samples_full']) == (trained, 8 * pruned.num_samples)
    assert totals['saving'] == pytest.approx(1 - trained / (8 * pruned.num_samples))
    assert totals['finished'] is True
    assert report['settings'] == dict(
        policy='SoftPruning(prune_ratio=0.5)',
        delta=0.875,
        step_length='paper',
        warmup_passes=0,
        score_smoothing=0.0,
        stratify=False,
        track=True,
        seed=7,
        num_samples=pruned.num_samples,
        world_size=1,
        batch_size=pruned.batch,
        budget='passes',
        schedule_iterations=8 * pruned.length,
        pass_length=pruned.length,
    )


def test_the_scalars_of_a_run_are_rows_of_training_and_of_validation_alone(seg_run, pruned):
    """The tools of the toolboxes take every row without a learning rate for a validation."""
    for run in (seg_run, pruned):
        rows = runs.scalars_of(run.work_dir)
        assert any('lr' in row for row in rows)
        for row in rows:
            assert not any(name.startswith('infobatch/') for name in row)
            assert 'lr' in row or {'mIoU', 'accuracy/top1'} & set(row)


def test_each_pass_is_logged(pruned):
    report = runs.report_of(pruned.work_dir)
    log = runs.log_of(pruned.work_dir)
    assert len(report['passes']) == 8
    for record in report['passes']:
        assert re.search(
            rf'InfoBatch pass {record["pass"]}: kept {record["kept"]} of {pruned.num_samples} '
            rf'samples, pruned {record["pruned"]} \({record["pruned_share"]:.1%}\)',
            log,
        )
    assert log.count('annealing') == 1
    totals = report['totals']
    assert (
        f'InfoBatch trained {totals["samples_trained"]} of {totals["samples_full"]} samples in '
        f'{totals["iterations"]} iterations of a schedule of {8 * pruned.length}: saving '
        f'{totals["saving"]:.1%}'
    ) in log


def test_a_run_that_prunes_nothing_saves_nothing(pruned):
    totals = runs.report_of(f'{pruned.work_dir}_unpruned')['totals']
    assert totals['saving'] == 0
    assert totals['samples_trained'] == totals['samples_full'] == 8 * pruned.num_samples


# ------------------------------------------------------------- budgets and lengths


def test_budget_iterations_makes_exactly_max_iters_iterations_of_the_stock_learning_rate(
    seg_data, tmp_path
):
    cfg = runs.segmentation_config(seg_data, tmp_path, 30, batch_size=2, val_interval=7)
    cfg.default_hooks.checkpoint.update(interval=7, save_last=True)
    ours = runs.train(runs.switch_on(cfg, budget='iterations', delta=0.5))
    unpruned = runs.train(runs.switch_on(cfg, prune_ratio=0))
    assert len(ours.rows) == 30
    assert ours.column('lr') == unpruned.column('lr')
    assert set(ours.column('max_iters')) == {30}
    assert len(ours.passes) > 30 / 6
    for index, (_, plan) in enumerate(ours.passes):
        begin = ours.column('pass').index(index)
        assert bool(plan.pruned) == (0 < begin < 15)
    assert [line['step'] for line in runs.scalars_of(tmp_path) if 'mIoU' in line][:5] == [
        7,
        14,
        21,
        28,
        30,
    ]
    assert runs.report_of(tmp_path)['totals']['finished']


@pytest.mark.default_cases('7')
@pytest.mark.parametrize('max_iters', [7, 22, 35])
def test_a_schedule_of_a_part_of_a_pass_ends_after_that_part(seg_data, tmp_path, max_iters):
    cfg = runs.segmentation_config(seg_data, tmp_path, max_iters, val_interval=100)
    cfg.default_hooks.checkpoint.update(interval=100, save_last=True)
    ours = runs.train(runs.switch_on(cfg, delta=1))
    unpruned = runs.train(runs.switch_on(cfg, prune_ratio=0))
    full, part = divmod(max_iters, 6)
    assert len(ours.passes) == full + 1
    steps = [len(lrs) for lrs in ours.by_pass('lr')]
    assert steps[:-1] == [math.ceil(plan.kept / 2) for _, plan in ours.passes[:-1]]
    # the least number of iterations that walks the rest of the schedule
    whole = math.ceil(ours.passes[-1][1].kept / 2)
    assert steps[-1] == math.ceil(part * whole / 6)
    assert ours.rows[-1]['max_iters'] == len(ours.rows)
    assert [line['step'] for line in runs.scalars_of(tmp_path) if 'mIoU' in line][:1] == [
        len(ours.rows)
    ]
    ends = [recorder.runner.optim_wrapper.get_lr()['lr'] for recorder in (ours, unpruned)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


def test_warm_up_and_milestones_by_epoch_come_at_the_same_epochs(cls_data, tmp_path):
    cfg = runs.classification_config(
        cls_data,
        tmp_path,
        max_epochs=6,
        param_scheduler=[
            dict(
                type='LinearLR',
                start_factor=0.1,
                begin=0,
                end=2,
                by_epoch=True,
                convert_to_iter_based=True,
            ),
            dict(type='MultiStepLR', milestones=[3, 5], gamma=0.1, by_epoch=True),
        ],
    )
    ours = runs.train(runs.switch_on(cfg))
    unpruned = runs.train(runs.switch_on(cfg, prune_ratio=0))
    for index, (mine, all_of_it) in enumerate(zip(ours.by_pass('lr'), unpruned.by_pass('lr'))):
        assert mine == pytest.approx(
            [all_of_it[4 * step // len(mine)] for step in range(len(mine))], rel=1e-12
        )
        if index >= 2:
            assert mine == pytest.approx([0.05 * 0.1 ** ((index >= 3) + (index >= 5))] * len(mine))
    assert any(len(lrs) < 4 for lrs in ours.by_pass('lr'))


def test_a_data_set_of_few_batches_with_drop_last_never_has_an_empty_pass(tmp_path):
    data = runs.write_segmentation_data(tmp_path / 'data', num_images=5)
    cfg = runs.segmentation_config(
        data, tmp_path / 'run', max_iters=6, batch_size=4, drop_last=True
    )
    ours = runs.train(runs.switch_on(cfg, prune_ratio=0.9, delta=1))
    assert [len(indices) for indices in ours.column('indices')] == [4] * 6
    assert len(ours.passes) == 6


def test_drop_last_trains_full_batches_of_the_plan(seg_data, tmp_path):
    cfg = runs.segmentation_config(seg_data, tmp_path, 16, batch_size=3, drop_last=True)
    ours = runs.train(runs.switch_on(cfg))
    assert {len(indices) for indices in ours.column('indices')} == {3}
    for indices, (_, plan) in zip(ours.by_pass('indices'), ours.passes):
        assert len(indices) == plan.kept // 3 * 3
        assert set(indices) <= set(plan.indices.tolist())


@pytest.mark.parametrize('iters', [6, 5])
def test_what_drop_last_leaves_out_is_no_saving(iters, seg_data, tmp_path):
    """Nor is it where the schedule cuts the last pass off, of two iterations."""
    cfg = runs.segmentation_config(seg_data, tmp_path, iters, batch_size=5, drop_last=True)
    runs.train(runs.switch_on(cfg, prune_ratio=0))
    totals = runs.report_of(tmp_path)['totals']
    assert totals['samples_trained'] == totals['samples_full'] == iters * 5
    assert totals['saving'] == 0


def test_an_image_without_a_valid_pixel_is_trained_in_every_pass(tmp_path):
    data = runs.write_segmentation_data(tmp_path / 'data')
    path = tmp_path / 'data' / 'ann_dir' / 'train' / '004.png'
    Image.new('L', (32, 32), 255).save(path)
    cfg = runs.segmentation_config(data, tmp_path / 'run', 30)
    ours = runs.train(runs.switch_on(cfg))
    assert any(plan.pruned for _, plan in ours.passes)
    for scores, plan in ours.passes:
        assert math.isnan(scores[4])
        assert plan.weights[plan.indices.tolist().index(4)] == 1


@pytest.mark.parametrize('max_iters, warns', [(17, True), (19, False)])
def test_a_schedule_in_which_no_pass_anneals_says_so(seg_data, tmp_path, max_iters, warns):
    cfg = runs.segmentation_config(seg_data, tmp_path, max_iters)
    ours = runs.train(runs.switch_on(cfg, delta=0.8))
    assert ('so none anneals' in runs.log_of(tmp_path)) == warns
    assert bool(ours.passes[-1][1].pruned) == warns


# ------------------------------------------------------------------------ workers


class Pids(Hook):
    """The processes that load, at each iteration."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        workers = runner.train_loop.dataloader._iterator._workers
        self.seen.append([worker.pid for worker in workers])


@pytest.mark.default_cases('mmpretrain')
@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_persistent_workers_stay_over_all_passes_without_a_pause(
    seg_data, cls_data, tmp_path, monkeypatch, toolbox
):
    cfg = (
        runs.segmentation_config(seg_data, tmp_path, 24, num_workers=2)
        if toolbox == 'mmseg'
        else runs.classification_config(cls_data, tmp_path, 5, num_workers=2)
    )
    monkeypatch.setattr('time.sleep', lambda seconds: pytest.fail('it slept'))
    pids = Pids()
    ours = runs.train(runs.switch_on(cfg), pids)
    assert len(ours.passes) > 3
    assert len({tuple(seen) for seen in pids.seen}) == 1 and len(pids.seen[0]) == 2
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    without = runs.train(runs.switch_on(cfg))
    assert ours.column('indices') == without.column('indices')
    assert ours.column('weights') == without.column('weights')
    runs.assert_same_state(ours.state, without.state)


# ------------------------------------------------------------- other parts of a run


class Updates(Hook):
    """The iterations in which the optimizer stepped."""

    def __init__(self):
        self.at = []

    def before_train(self, runner):
        step = runner.optim_wrapper.optimizer.step

        @functools.wraps(step)
        def spy(*args, **kwargs):
            self.at.append(runner.iter)
            return step(*args, **kwargs)

        runner.optim_wrapper.optimizer.step = spy


# Schedulers by iteration step before the first group is full, in stock runs too.
steps_early = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')


@pytest.mark.default_cases('3-24', '4-31')
@steps_early
@pytest.mark.parametrize('max_iters', [24, 29, 31, 37])
@pytest.mark.parametrize('counts', [3, 4])
def test_with_gradient_accumulation_the_last_iteration_updates(
    seg_data, tmp_path, counts, max_iters
):
    cfg = runs.segmentation_config(seg_data, tmp_path, max_iters)
    cfg.optim_wrapper.accumulative_counts = counts
    updates = Updates()
    ours = runs.train(runs.switch_on(cfg, delta=1), updates)
    count = len(ours.rows)
    assert count < max_iters
    assert updates.at == sorted({*range(counts - 1, count, counts), count - 1})


@steps_early
def test_without_pruning_gradient_accumulation_is_that_of_the_stock_run(
    seg_data, tmp_path, no_pause
):
    cfg = runs.segmentation_config(seg_data, tmp_path / 'stock', 14)
    cfg.optim_wrapper.accumulative_counts = 4
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    stock = runs.train(cfg)
    assert_same_run(runs.train(runs.switch_on(cfg, prune_ratio=0)), stock)


def test_several_heads_and_lists_of_losses_add_up_to_the_score(seg_data, tmp_path, no_pause):
    cfg = runs.segmentation_config(seg_data, tmp_path / 'stock', 13)
    loss = cfg.model.decode_head.loss_decode
    cfg.model.decode_head.loss_decode = [
        dict(loss, loss_name='loss_one'),
        dict(loss, loss_name='loss_two'),
    ]
    cfg.model.auxiliary_head = [
        cfg.model.auxiliary_head,
        dict(cfg.model.auxiliary_head, in_index=1, in_channels=8),
    ]
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    stock = runs.train(cfg)
    by_hand = LossesByHand()
    ours = runs.train(runs.switch_on(cfg), by_hand)
    assert len(ours.losses) == 4 and ours.passes[1][1].pruned
    assert {'decode.loss_one', 'decode.loss_two', 'aux_0.loss_ce', 'aux_1.loss_ce'} <= set(
        ours.rows[0]['loss']
    )
    assert ours.column('loss')[:6] == stock.column('loss')[:6]
    for ended, (scores, _) in zip(by_hand.passes, ours.passes[1:]):
        assert scores.tolist() == pytest.approx([ended[index] for index in range(12)], rel=1e-5)


@pytest.mark.parametrize('wrap', [True, False], ids=['wrapped', 'plain'])
def test_a_loss_that_mmseg_only_logs_changes_nothing(wrap, seg_data, tmp_path, caplog):
    """Its ``loss_name`` has no 'loss' in it, so mmengine does not add it to what is trained."""
    cfg = runs.switch_on(runs.segmentation_config(seg_data, tmp_path / 'one', 18))
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    one = runs.train(cfg)
    cfg.work_dir = str(tmp_path / 'two')
    monitor = dict(type='DiceLoss', loss_weight=5.0, loss_name='dice_monitor')
    head = cfg.model.decode_head
    head.loss_decode = [
        head.loss_decode,
        dict(type='InfoBatchLoss', loss=monitor) if wrap else monitor,
    ]
    two = runs.train(cfg)
    assert all('decode.dice_monitor' in row['loss'] for row in two.rows)
    trained = [[row['loss']['loss'] for row in run.rows] for run in (one, two)]
    assert trained[0] == trained[1] and two.passes[1][1].pruned
    for (ours, _), (scores, _) in zip(two.passes[1:], one.passes[1:]):
        assert torch.equal(ours, scores)
    assert 'carries no weights' not in caplog.text


def test_a_loss_with_score_false_is_weighted_and_not_scored(seg_data, tmp_path):
    cfg = runs.switch_on(runs.segmentation_config(seg_data, tmp_path, 18))
    cfg.model.auxiliary_head.loss_decode.score = False
    by_hand = LossesByHand()
    ours = runs.train(cfg, by_hand)
    assert len(ours.losses) == 2 and ours.passes[1][1].pruned
    for ended, (scores, _) in zip(by_hand.passes, ours.passes[1:]):
        assert scores.tolist() == pytest.approx([ended[index] for index in range(12)], rel=1e-5)


@pytest.mark.default_cases('by loss')
@pytest.mark.filterwarnings('ignore:``build_pixel_sampler`` would be deprecated soon')
@pytest.mark.parametrize(
    'sampler',
    [
        dict(type='OHEMPixelSampler', thresh=0.7, min_kept=50),
        dict(type='OHEMPixelSampler', min_kept=50),
    ],
    ids=['by probability', 'by loss'],
)
def test_ohem_works_and_without_pruning_is_that_of_the_stock_run(
    seg_data, tmp_path, no_pause, sampler
):
    cfg = runs.segmentation_config(seg_data, tmp_path / 'stock', 8)
    cfg.model.decode_head.sampler = sampler
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    stock = runs.train(cfg)
    assert_same_run(runs.train(runs.switch_on(cfg, prune_ratio=0)), stock)
    pruned = runs.train(runs.switch_on(cfg, delta=1))
    assert pruned.passes[1][1].pruned


@pytest.mark.default_cases('mmseg-ConcatDataset', 'mmpretrain-RepeatDataset')
@pytest.mark.parametrize(
    'wrapper',
    [
        lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
        lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset]),
    ],
    ids=['RepeatDataset', 'ConcatDataset'],
)
@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_a_sample_is_named_by_its_index_into_the_outermost_data_set(
    seg_data, cls_data, tmp_path, toolbox, wrapper
):
    cfg = (
        runs.segmentation_config(seg_data, tmp_path, 36)
        if toolbox == 'mmseg'
        else runs.classification_config(cls_data, tmp_path, 3)
    )
    inner = 12 if toolbox == 'mmseg' else 16
    cfg.train_dataloader.dataset = wrapper(cfg.train_dataloader.dataset)
    ours = runs.train(runs.switch_on(cfg, delta=1))
    sampler = ours.runner.train_loop.sampler
    assert [plan.num_samples for _, plan in ours.passes] == [2 * inner] * 3
    assert sampler.plan.pruned and torch.isfinite(sampler.scores.values).all()
    for indices, (_, plan) in zip(ours.by_pass('indices'), ours.passes):
        assert sorted(indices) == sorted((plan.indices % inner).tolist())
    order, weights = sampler.order.indices, sampler.order.weights
    assert ours.by_pass('indices')[-1] == (order % inner).tolist()
    assert ours.by_pass('weights')[-1] == weights.tolist()


@pytest.mark.runs
def test_averaging_by_an_ema_hook_works_beside_it(seg_data, tmp_path):
    cfg = runs.segmentation_config(seg_data, tmp_path, 18, val_interval=5)
    cfg.default_hooks.checkpoint.update(interval=5, save_last=True)
    plain = runs.train(runs.switch_on(cfg))
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    averaged = runs.train(runs.switch_on(cfg))
    assert averaged.passes[1][1].pruned
    assert averaged.column('indices') == plain.column('indices')
    assert averaged.column('loss') == plain.column('loss')


def test_a_checkpoint_without_infobatch_loads_into_the_model_and_back(seg_data, tmp_path, no_pause):
    cfg = runs.segmentation_config(seg_data, tmp_path, 5)
    stock, ours = runs.train(cfg), runs.train(runs.switch_on(cfg))
    assert stock.state.keys() == ours.state.keys()


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Mixed precision as in AmpOptimWrapper, which mmengine allows on accelerators alone."""

    def optim_context(self, model):
        return torch.autocast('cpu', torch.bfloat16)


@pytest.mark.default_cases('mmpretrain')
@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_mixed_precision_scores_are_float32_and_it_prunes(
    seg_data, cls_data, tmp_path, no_pause, toolbox
):
    cfg = (
        runs.segmentation_config(seg_data, tmp_path / 'a', 14)
        if toolbox == 'mmseg'
        else runs.classification_config(cls_data, tmp_path / 'a', 3)
    )
    cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'
    cfg.load_from = initial_weights(cfg, tmp_path / 'start.pth')
    stock = runs.train(cfg)
    assert_same_run(runs.train(runs.switch_on(cfg, prune_ratio=0)), stock)
    ours = runs.train(runs.switch_on(cfg, delta=1))
    scores, plan = ours.passes[1]
    assert scores.dtype == torch.float32 and torch.isfinite(scores).all() and plan.pruned


def test_nothing_draws_from_the_global_generators_but_what_the_stock_run_draws(cls_data, tmp_path):
    cfg = runs.classification_config(cls_data, tmp_path, 2, flip=True)
    states = []
    for made in (cfg, runs.switch_on(cfg, prune_ratio=0.5)):
        runs.train(made)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_a_second_run_with_the_same_seed_is_the_same_run(cls_data, tmp_path):
    cfg = runs.switch_on(runs.classification_config(cls_data, tmp_path, 4, flip=True))
    first, second = runs.train(cfg), runs.train(cfg)
    assert first.rows == second.rows
    runs.assert_same_state(first.state, second.state)
    cfg.randomness = dict(seed=8)
    assert runs.train(cfg).column('indices') != first.column('indices')


@pytest.mark.parametrize('times, warns', [(3, True), (1, False)])
def test_a_run_too_short_to_prune_says_so(seg_data, tmp_path, times, warns):
    """12 images in batches of 2: 15 iterations are 2.5 passes, or less than one over 3 copies."""
    cfg = runs.segmentation_config(seg_data, tmp_path, 15)
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=times, dataset=cfg.train_dataloader.dataset
    )
    ours = runs.train(runs.switch_on(cfg))
    assert ('so nothing will be skipped' in runs.log_of(tmp_path)) == warns
    assert any(plan.pruned for _, plan in ours.passes) != warns
