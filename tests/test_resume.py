"""A resumed run goes on as if it had never stopped."""

import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.dataset import BaseDataset
from small_runner import small_runner

from mm_infobatch.cli import run_logs, run_numbers

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


def seg_config(data, work_dir, **kwargs):
    """Six passes over 12 images at batch size 2, the last of them annealing."""
    cfg = runs.segmentation_config(data, work_dir, max_iters=36, **kwargs)
    return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=0.8)


def cls_config(data, work_dir, **kwargs):
    """Six epochs of 16 images at batch size 3, the last of them annealing."""
    cfg = runs.classification_config(data, work_dir, max_epochs=6, batch_size=3, **kwargs)
    cfg.custom_hooks = [dict(type='CheckpointHook', by_epoch=True, interval=1)]
    return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=0.8)


def whole_run(cfg):
    """A run that was never interrupted, with a checkpoint of each moment."""
    recorder = runs.train(cfg)
    steps = [len(lrs) for lrs in recorder.by_pass('lr')]
    assert len(steps) == 6 and steps[1] < steps[0] == steps[5] == 6
    return SimpleNamespace(
        cfg=cfg,
        work_dir=cfg.work_dir,
        recorder=recorder,
        steps=steps,
        state=recorder.state,
        count=len(recorder.rows),
    )


@pytest.fixture(scope='module')
def seg_run(seg_data, tmp_path_factory):
    return whole_run(seg_config(seg_data, str(tmp_path_factory.mktemp('seg_run'))))


@pytest.fixture(scope='module')
def cls_run(cls_data, tmp_path_factory):
    return whole_run(cls_config(cls_data, str(tmp_path_factory.mktemp('cls_run'))))


@pytest.fixture(params=['mmseg', 'mmpretrain'])
def whole(request):
    return request.getfixturevalue('seg_run' if request.param == 'mmseg' else 'cls_run')


def moment(run, name):
    """The number of iterations that were done at a moment of a run."""
    ends = [sum(run.steps[:index]) for index in range(7)]
    return {
        'after the first iteration': 1,
        'in the first pass': 3,
        'at the end of the first pass': ends[1],
        'at the start of a pruned pass': ends[1] + 1,
        'in a pruned pass': ends[2] + 2,
        'at the end of a pruned pass': ends[3],
        'one before the end of a pruned pass': ends[3] - 1,
        'at the start of annealing': ends[5],
        'in annealing': ends[5] + 3,
        'one before the end': ends[6] - 1,
    }[name]


MOMENTS = (
    'after the first iteration',
    'in the first pass',
    'at the end of the first pass',
    'at the start of a pruned pass',
    'in a pruned pass',
    'at the end of a pruned pass',
    'one before the end of a pruned pass',
    'at the start of annealing',
    'in annealing',
    'one before the end',
)


def assert_goes_on(resumed, run, done):
    assert len(resumed.rows) == run.count - done
    for key in (
        'iter',
        'pass',
        'batch_idx',
        'indices',
        'weights',
        'lr',
        'loss',
        'scores',
        'max_iters',
    ):
        assert resumed.column(key) == run.recorder.column(key)[done:], key
    runs.assert_same_state(resumed.state, run.state)
    runs.assert_same_tracking(resumed.runner, run.recorder.runner)


# At the end of an epoch, a scheduler steps before this process has trained anything.
@pytest.mark.default_cases(
    'mmseg-in a pruned pass',
    'mmseg-at the end of a pruned pass',
    'mmpretrain-in a pruned pass',
    'mmpretrain-at the start of annealing',
    'mmpretrain-one before the end',
)
@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
@pytest.mark.parametrize('name', MOMENTS)
def test_a_run_resumed_at_an_iteration_goes_on_bit_for_bit(whole, tmp_path, name):
    done = moment(whole, name)
    cfg = runs.resumed(whole.cfg, f'{whole.work_dir}/iter_{done}.pth', tmp_path)
    assert_goes_on(runs.train(cfg), whole, done)


@pytest.mark.parametrize('epoch', [1, 3, 5])
def test_a_run_resumed_at_an_epoch_goes_on_bit_for_bit(cls_run, tmp_path, epoch):
    cfg = runs.resumed(cls_run.cfg, f'{cls_run.work_dir}/epoch_{epoch}.pth', tmp_path)
    assert_goes_on(runs.train(cfg), cls_run, sum(cls_run.steps[:epoch]))


@pytest.mark.default_cases('mmseg-in a pruned pass', 'mmpretrain-at the end of a pruned pass')
@pytest.mark.parametrize(
    'name', ['in the first pass', 'in a pruned pass', 'at the end of a pruned pass', 'in annealing']
)
def test_a_run_with_persistent_workers_resumes_as_one_without(whole, tmp_path, name):
    done = moment(whole, name)
    cfg = runs.resumed(whole.cfg, f'{whole.work_dir}/iter_{done}.pth', tmp_path)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    assert_goes_on(runs.train(cfg), whole, done)


@pytest.mark.default_cases('mmseg')
def test_a_run_that_was_resumed_twice_goes_on_bit_for_bit(whole, tmp_path):
    first, second = moment(whole, 'in the first pass'), moment(whole, 'in a pruned pass')
    cfg = runs.resumed(whole.cfg, f'{whole.work_dir}/iter_{first}.pth', tmp_path / 'one')
    runs.train(runs.checkpoints_every(cfg, 1))
    cfg = runs.resumed(whole.cfg, tmp_path / 'one' / f'iter_{second}.pth', tmp_path / 'two')
    assert_goes_on(runs.train(cfg), whole, second)


def test_resume_without_a_name_takes_the_last_checkpoint_of_the_work_dir(seg_run, tmp_path):
    done = moment(seg_run, 'in a pruned pass')
    shutil.copy(f'{seg_run.work_dir}/iter_{done}.pth', tmp_path / 'here.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'here.pth'))
    cfg = runs.resumed(seg_run.cfg, '', tmp_path)
    cfg.load_from = None
    assert_goes_on(runs.train(cfg), seg_run, done)


def test_budget_iterations_resumes_bit_for_bit(seg_data, tmp_path):
    cfg = seg_config(seg_data, str(tmp_path / 'whole'))
    cfg.train_cfg.budget = 'iterations'
    recorder = runs.train(cfg)
    run = SimpleNamespace(recorder=recorder, state=recorder.state, count=36)
    for done in (8, 31):
        path = tmp_path / 'whole' / f'iter_{done}.pth'
        assert_goes_on(runs.train(runs.resumed(cfg, path, tmp_path / str(done))), run, done)


def test_a_part_of_a_last_pass_resumes_bit_for_bit(seg_data, tmp_path):
    cfg = seg_config(seg_data, str(tmp_path / 'whole'))
    cfg.train_cfg.max_iters, cfg.train_cfg.val_interval = 22, 22
    cfg.train_dataloader.sampler.delta = 1
    recorder = runs.train(cfg)
    run = SimpleNamespace(recorder=recorder, state=recorder.state, count=len(recorder.rows))
    done = run.count - 2
    assert recorder.rows[done]['pass'] == 3
    cfg = runs.resumed(cfg, tmp_path / 'whole' / f'iter_{done}.pth', tmp_path / 'resumed')
    assert_goes_on(runs.train(cfg), run, done)


def test_a_checkpoint_that_a_validation_saved_goes_on_with_the_pass(seg_data, tmp_path):
    """It has no optimizer and no schedulers, as mmengine saves the best one without them."""
    cfg = seg_config(seg_data, str(tmp_path / 'whole'), val_interval=8)
    cfg.default_hooks.checkpoint.update(interval=-1, save_best='mIoU', rule='greater')
    whole = runs.train(cfg)
    (best,) = (tmp_path / 'whole').glob('best_mIoU_iter_*.pth')
    done = int(best.stem.rsplit('_', 1)[1])
    index = whole.rows[done]['pass']
    assert whole.rows[done - 1]['pass'] == index, 'choose another interval: it has to be mid-pass'
    state = torch.load(best, weights_only=False)['infobatch']
    assert state['losses'].isfinite().all()
    assert len(state['losses']) == sum(
        len(row['indices']) for row in whole.rows[:done] if row['pass'] == index
    )
    resumed = runs.train(runs.resumed(cfg, best, tmp_path / 'resumed'))
    for key in ('indices', 'weights', 'scores', 'max_iters'):
        rest = [row[key] for row in whole.rows[done:] if row['pass'] == index]
        assert resumed.column(key)[: len(rest)] == rest


@pytest.mark.runs
def test_a_checkpoint_that_a_validation_of_epochs_saved_goes_on_with_the_next_one(
    cls_data, tmp_path
):
    cfg = cls_config(cls_data, str(tmp_path / 'whole'), val_interval=2)
    cfg.default_hooks.checkpoint.update(
        by_epoch=True, interval=-1, save_best='accuracy/top1', rule='less'
    )
    whole = runs.train(cfg)
    (best,) = (tmp_path / 'whole').glob('best_*.pth')
    epoch = int(best.stem.rsplit('_', 1)[1])
    assert epoch < 6, 'choose another seed: the first is to be the best'
    resumed = runs.train(runs.resumed(cfg, best, tmp_path / 'resumed'))
    assert resumed.column('pass')[0] == epoch
    for key in ('indices', 'weights', 'scores'):
        expected = [row[key] for row in whole.rows if row['pass'] == epoch]
        assert resumed.column(key)[: len(expected)] == expected


@pytest.mark.default_cases('99')
@pytest.mark.parametrize('seed', [None, 99])
def test_the_seed_of_the_checkpoint_goes_on(cls_data, tmp_path, seed):
    cfg = cls_config(cls_data, str(tmp_path / 'whole'))
    cfg.randomness.seed = None if seed is None else 7
    recorder = runs.train(cfg)
    run = SimpleNamespace(recorder=recorder, state=recorder.state, count=len(recorder.rows))
    cfg = runs.resumed(cfg, tmp_path / 'whole' / 'iter_8.pth', tmp_path / 'resumed')
    cfg.randomness.seed = seed
    assert_goes_on(runs.train(cfg), run, 8)


def test_resume_without_a_checkpoint_begins_at_the_start(whole, tmp_path):
    cfg = runs.resumed(whole.cfg, '', tmp_path)
    cfg.load_from = None
    assert_goes_on(runs.train(cfg), whole, 0)


@pytest.mark.runs
def test_averaged_weights_resume_with_it(seg_data, tmp_path):
    cfg = seg_config(seg_data, str(tmp_path / 'whole'))
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1), *cfg.custom_hooks]
    recorder = runs.train(cfg)
    run = SimpleNamespace(recorder=recorder, state=recorder.state, count=len(recorder.rows))
    cfg = runs.resumed(cfg, tmp_path / 'whole' / 'iter_9.pth', tmp_path / 'resumed')
    assert_goes_on(runs.train(cfg), run, 9)


# ----------------------------------------------------------------------- controls


@pytest.mark.default_cases('mmpretrain-in a pruned pass')
@pytest.mark.parametrize('name', ['in the first pass', 'in a pruned pass'])
def test_the_control_without_its_state_goes_on_with_other_samples(whole, tmp_path, name):
    done = moment(whole, name)
    checkpoint = torch.load(f'{whole.work_dir}/iter_{done}.pth', weights_only=False)
    del checkpoint['infobatch']
    torch.save(checkpoint, tmp_path / 'control.pth')
    control = runs.train(runs.resumed(whole.cfg, tmp_path / 'control.pth', tmp_path / 'run'))
    assert control.column('iter')[0] == done
    assert control.column('indices')[:4] != whole.recorder.column('indices')[done : done + 4]
    assert 'holds no state of InfoBatch' in runs.log_of(tmp_path / 'run')


# ------------------------------------------------------------- what resuming costs


@pytest.mark.default_cases('mmseg-in a pruned pass', 'mmpretrain-at the end of a pruned pass')
@pytest.mark.parametrize(
    'name', ['in the first pass', 'in a pruned pass', 'at the end of a pruned pass']
)
def test_the_skipped_part_of_a_pass_is_never_loaded(whole, tmp_path, monkeypatch, name):
    loaded, get = [], BaseDataset.__getitem__

    def spy(self, index):
        loaded.append(index)
        return get(self, index)

    monkeypatch.setattr(BaseDataset, '__getitem__', spy)
    done = moment(whole, name)
    cfg = runs.resumed(whole.cfg, f'{whole.work_dir}/iter_{done}.pth', tmp_path)
    resumed = runs.train(cfg)
    assert loaded == [index for indices in resumed.column('indices') for index in indices]


# ------------------------------------------------------------------ the checkpoint


def leaves(node):
    if isinstance(node, (dict, list, tuple)):
        for value in node.values() if isinstance(node, dict) else node:
            yield from leaves(value)
    else:
        yield node


@pytest.mark.filterwarnings('ignore:TypedStorage is deprecated')  # torch 2.1 of itself
@pytest.mark.parametrize('name', ['in the first pass', 'in a pruned pass', 'in annealing'])
def test_the_state_is_tensors_and_plain_numbers(whole, tmp_path, name):
    path = f'{whole.work_dir}/iter_{moment(whole, name)}.pth'
    state = torch.load(path, weights_only=False)['infobatch']
    assert {type(leaf) for leaf in leaves(state)} <= {
        torch.Tensor,
        int,
        float,
        bool,
        str,
        type(None),
    }
    assert all(leaf.device.type == 'cpu' for leaf in leaves(state) if torch.is_tensor(leaf))
    torch.save(state, tmp_path / 'state.pth')
    loaded = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert str(loaded) == str(state)


def test_the_state_does_not_change_after_it_was_saved(whole):
    """Each checkpoint holds the losses of its own moment: none is a view of what came later."""
    first, later = (
        torch.load(f'{whole.work_dir}/iter_{done}.pth', weights_only=False)['infobatch']
        for done in (2, 3)
    )
    batch = len(whole.recorder.rows[0]['indices'])
    assert len(first['losses']) == 2 * batch and len(later['losses']) == 3 * batch
    assert torch.equal(first['losses'], later['losses'][: 2 * batch])
    assert torch.isfinite(later['losses']).all()
    assert torch.isnan(later['sampler']['scores']).all()


# --------------------------------------------------------------- other checkpoints


@pytest.mark.default_cases('True')
@pytest.mark.parametrize('whole_passes', [True, False])
def test_a_checkpoint_of_a_stock_mmseg_run_warns_and_trains_on(seg_data, tmp_path, whole_passes):
    done = 6 if whole_passes else 4
    cfg = runs.segmentation_config(seg_data, tmp_path / 'stock', 24)
    stock = runs.checkpoints_every(cfg, done)
    stock.train_cfg.max_iters = stock.train_cfg.val_interval = done
    stock.param_scheduler[1].end = 24
    runs.train(stock)
    cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = 24
    on = runs.switch_on(cfg, delta=0.7)
    ours = runs.train(runs.resumed(on, tmp_path / 'stock' / f'iter_{done}.pth', tmp_path / 'on'))
    assert 'holds no state of InfoBatch' in runs.log_of(tmp_path / 'on')
    assert ours.column('iter')[0] == done
    assert ours.passes[0][1].pruned == 0 and ours.passes[1][1].pruned > 0
    assert ours.rows[-1]['max_iters'] == len(ours.rows) + done
    unpruned = runs.train(runs.switch_on(cfg, prune_ratio=0))
    lrs = unpruned.column('lr')
    assert ours.column('lr')[:6] == lrs[done : done + 6]
    ends = [recorder.runner.optim_wrapper.get_lr()['lr'] for recorder in (ours, unpruned)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


def test_a_checkpoint_of_a_stock_mmpretrain_run_warns_and_trains_on(cls_data, tmp_path):
    cfg = runs.classification_config(cls_data, tmp_path / 'stock', 5)
    stock = runs.checkpoints_every(cfg, 2, by_epoch=True)
    runs.train(stock)
    on = runs.switch_on(cfg, delta=0.8)
    ours = runs.train(runs.resumed(on, tmp_path / 'stock' / 'epoch_2.pth', tmp_path / 'on'))
    assert 'holds no state of InfoBatch' in runs.log_of(tmp_path / 'on')
    assert ours.column('pass')[0] == 2 and ours.column('iter')[0] == 8
    kept = [len(indices) for indices in ours.by_pass('indices')]
    assert kept[0] == 16 and kept[1] < 16 and kept[2] == 16
    assert ours.rows[-1]['max_iters'] == len(ours.rows) + 8


@pytest.mark.parametrize('batch_size', [2, 4, 8])  # of the run with InfoBatch; 4 without
def test_epochs_without_infobatch_count_as_epochs_whatever_the_batch_size(tmp_path, batch_size):
    data = runs.write_classification_data(tmp_path / 'data', num_images=32)
    off = runs.classification_config(data, str(tmp_path / 'off'), max_epochs=3)
    runs.train(runs.checkpoints_every(off, 3, by_epoch=True))
    on = runs.classification_config(data, str(tmp_path / 'on'), max_epochs=7, batch_size=batch_size)
    on = runs.switch_on(on, delta=0.8)
    recorder = runs.train(runs.resumed(on, tmp_path / 'off' / 'epoch_3.pth'))
    passes = runs.report_of(tmp_path / 'on')['passes']
    # The first has no scores; from 0.8 * 7 on passes anneal.
    assert [one['pass'] for one in passes] == [3, 4, 5, 6]
    assert [one['kept'] < 32 for one in passes] == [False, True, True, False]
    assert [one['annealing'] for one in passes] == [False, False, False, True]
    assert recorder.column('max_iters')[-1] == recorder.column('iter')[-1] + 1
    assert recorder.column('iter')[0] == 24


@pytest.mark.parametrize('by, size', [('epoch', 4), ('epoch', 2), ('iter', 2)])
def test_what_is_counted_of_a_run_that_began_without_infobatch(
    cls_data, seg_data, tmp_path, by, size
):
    """In one work directory, as a user would go on who switches it on, in batches of ``size``."""
    if by == 'epoch':
        cfg, done = runs.classification_config(cls_data, str(tmp_path), max_epochs=8), 3
        begin, batch, left = 3 * 4, 4, 5 * 16
        off = runs.checkpoints_every(runs.copy_of(cfg), done, by_epoch=True)
        off.train_cfg.max_epochs = done
        cfg.train_dataloader.batch_size = size
    else:
        cfg, done = runs.segmentation_config(seg_data, str(tmp_path), 24), 6
        begin, batch, left = 6, 2, 18 * 2
        off = runs.checkpoints_every(runs.copy_of(cfg), done)
        off.train_cfg.max_iters = off.train_cfg.val_interval = done
    runs.train(off)
    time.sleep(1.1)  # a session's directory is named by the second
    recorder = runs.train(runs.resumed(runs.switch_on(cfg), tmp_path / f'{by}_{done}.pth'))
    report = runs.report_of(tmp_path)
    totals, passes = report['totals'], report['passes']
    trained = sum(len(indices) for indices in recorder.column('indices'))
    assert totals['samples_trained'] == trained == sum(one['trained'] for one in passes)
    assert totals['samples_full'] == left == sum(one['full'] for one in passes)
    assert totals['saving'] == pytest.approx(1 - trained / totals['samples_full'])
    run = run_logs.read_run(tmp_path)
    assert run.iterations == begin + len(recorder.rows) == recorder.rows[-1]['iter'] + 1
    assert run.samples == begin * batch + trained
    at = run.samples_at(np.array([0, begin // 2, begin, begin + 1, run.iterations]))
    before = begin * batch
    assert at.tolist() == [0, before / 2, before, before + size, run.samples]
    assert f'its first {begin} iterations were without InfoBatch' in run.notes
    facts = run_numbers.numbers(run, tmp_path, None)
    assert facts['samples trained'] == f'{run.samples:,} of {before + left:,}'
    steps = begin + left // size
    assert facts['iterations'] == f'{run.iterations:,} of a schedule of {steps:,}'


def test_a_finished_stock_run_that_is_resumed_trains_nothing_more(seg_data, tmp_path):
    cfg = runs.segmentation_config(seg_data, tmp_path / 'stock', 6)
    runs.train(runs.checkpoints_every(cfg, 6))
    on = runs.resumed(runs.switch_on(cfg), tmp_path / 'stock' / 'iter_6.pth', tmp_path / 'on')
    assert runs.train(on).rows == []


def test_load_from_takes_the_weights_and_not_the_state(whole, tmp_path):
    cfg = runs.resumed(whole.cfg, f'{whole.work_dir}/iter_9.pth', tmp_path)
    cfg.resume = False
    ours = runs.train(cfg)
    assert ours.column('iter')[0] == 0
    scores, plan = ours.passes[0]
    assert torch.isnan(scores).all() and plan.pruned == 0
    assert ours.by_pass('indices')[0] == whole.recorder.by_pass('indices')[0]
    assert ours.column('loss')[0] != whole.recorder.column('loss')[0]


def test_a_checkpoint_of_another_data_set_length_is_refused(whole, tmp_path):
    write = (
        runs.write_segmentation_data
        if 'max_iters' in whole.cfg.train_cfg
        else runs.write_classification_data
    )
    cfg = runs.resumed(whole.cfg, f'{whole.work_dir}/iter_9.pth', tmp_path / 'run')
    cfg.train_dataloader.dataset.data_root = write(tmp_path / 'data', num_images=10)
    with pytest.raises(
        ValueError,
        match=r'holds scores of 1[26] samples, but the training dataset '
        r'has 10.*load_from=CHECKPOINT and resume=False',
    ):
        runs.train(cfg)


@pytest.mark.default_cases('mmseg-1', 'mmpretrain-5')
@pytest.mark.parametrize('batch_size', [1, 5])
def test_another_batch_size_trains_each_sample_that_was_due_once(whole, tmp_path, batch_size):
    done = moment(whole, 'in a pruned pass')
    cfg = runs.resumed(whole.cfg, f'{whole.work_dir}/iter_{done}.pth', tmp_path)
    cfg.train_dataloader.batch_size = batch_size
    resumed = runs.train(cfg)
    index = whole.recorder.rows[done]['pass']
    due, weights = (
        [value for row in whole.recorder.rows[done:] if row['pass'] == index for value in row[key]]
        for key in ('indices', 'weights')
    )
    first = [row for row in resumed.rows if row['pass'] == index]
    assert [value for row in first for value in row['indices']] == due
    assert [value for row in first for value in row['weights']] == weights
    assert {len(row['indices']) for row in first[:-1]} <= {batch_size}
    # As many passes as before, annealing at the same one, and every sample in each.
    assert [record['pass'] for record in runs.report_of(tmp_path)['passes']] == list(range(6))
    assert [record['annealing'] for record in runs.report_of(tmp_path)['passes']] == [False] * 5 + [
        True
    ]
    for indices, (_, plan) in list(zip(resumed.by_pass('indices'), resumed.passes))[1:]:
        assert sorted(indices) == plan.indices.tolist()
    report = runs.report_of(tmp_path)
    assert report['totals']['finished'] is True
    # The figures are of the schedule that the run walks, in passes of 6 steps.
    assert report['settings']['pass_length'] == 6
    assert report['totals']['schedule_iterations'] == 36
    steps = run_numbers.steps_done(run_logs.read_run(tmp_path), report)
    assert steps == pytest.approx(36)


@pytest.mark.parametrize(
    'loop', [dict(type='InfoBatchIterLoop', max_iters=15), dict(type='InfoBatchEpochLoop')]
)
def test_what_drop_last_left_out_of_an_ended_pass_stays_out_in_smaller_batches(tmp_path, loop):
    """Of 14 samples 3 batches of 4 leave out 2, which make a batch of 2."""
    if 'max_iters' not in loop:
        loop = dict(loop, max_epochs=5)

    def trained(name, batch_size, **kwargs):
        runner = small_runner(
            tmp_path / name,
            dict(loop),
            length=14,
            batch_size=batch_size,
            drop_last=True,
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False)),
            **kwargs,
        )
        runner.train()
        return runner.train_loop.sampler

    assert trained('whole', 4).scores.tracker.passes == 5
    path = str(tmp_path / 'whole' / 'iter_3.pth')
    resumed = trained('resumed', 2, resume=True, load_from=path)
    assert resumed.scores.tracker.passes == 5
    first, second = runs.report_of(tmp_path / 'resumed')['passes'][:2]
    assert (first['iterations'], first['trained']) == (3, 12)
    assert (second['iterations'], second['trained']) == (6, 12)


# ---------------------------------------------------------------------- the report


def without_times(report):
    report = {**report, 'totals': dict(report['totals'])}
    report['totals'].pop('seconds_choosing')
    report['passes'] = [
        {key: value for key, value in record.items() if key != 'seconds'}
        for record in report['passes']
    ]
    return report


@pytest.mark.default_cases('mmseg-in annealing', 'mmpretrain-in a pruned pass')
@pytest.mark.parametrize(
    'name', ['in the first pass', 'in a pruned pass', 'at the end of a pruned pass', 'in annealing']
)
def test_the_report_of_a_resumed_run_goes_on(whole, tmp_path, name):
    done = moment(whole, name)
    runs.train(runs.resumed(whole.cfg, f'{whole.work_dir}/iter_{done}.pth', tmp_path))
    assert without_times(runs.report_of(tmp_path)) == without_times(runs.report_of(whole.work_dir))


def test_a_finished_run_that_is_resumed_trains_nothing_more(whole, tmp_path):
    by_epoch = 'max_epochs' in whole.cfg.train_cfg
    name = 'epoch_6.pth' if by_epoch else f'iter_{whole.count}.pth'
    resumed = runs.train(runs.resumed(whole.cfg, f'{whole.work_dir}/{name}', tmp_path))
    assert resumed.rows == []
    runs.assert_same_state(resumed.state, whole.state)
    log = runs.log_of(tmp_path)
    assert 'Saving checkpoint' not in log
    expected = runs.report_of(whole.work_dir)['totals']
    assert (
        f'InfoBatch trained {expected["samples_trained"]} of {expected["samples_full"]} samples'
        in log
    )


def test_the_logged_loss_over_all_data_goes_on_with_infobatch_and_ends_without(tmp_path):
    """A line of the log is the mean of ten values, and an epoch has at most six."""

    def logged(name, loop, **kwargs):
        runner = small_runner(tmp_path / name, dict(type=loop, max_epochs=4), **kwargs)
        runner.train()
        rows = [row for row in runs.scalars_of(tmp_path / name) if 'epoch' in row]
        return {row['epoch']: row.get('loss_all_data') for row in rows}

    whole = logged('whole', 'InfoBatchEpochLoop')
    assert sorted(whole) == [1, 2, 3, 4] and all(whole.values())
    again = dict(load_from=str(tmp_path / 'whole' / 'epoch_2.pth'), resume=True)
    assert logged('again', 'InfoBatchEpochLoop', **again) == {3: whole[3], 4: whole[4]}
    without = logged('without', 'EpochBasedTrainLoop', custom_hooks=[], **again)
    assert without == {3: None, 4: None}
