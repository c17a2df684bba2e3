"""What the loops take beside stock ones, and what hooks read of them."""

import itertools

import pytest
import toolbox_runs as runs
from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from small_runner import Classifier, small_runner

from mm_infobatch import InfoBatchEpochLoop, InfoBatchIterLoop

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
ITER = dict(type='InfoBatchIterLoop', max_iters=12)
EPOCH = dict(type='InfoBatchEpochLoop', max_epochs=2)


@pytest.mark.parametrize(
    'loop',
    [
        dict(EPOCH, val_begin=True, val_interval=True),
        dict(EPOCH, dynamic_intervals=[[1, 2]]),  # pairs as YAML and JSON have them
        dict(ITER, fast_forward_on_resume=True),
        dict(ITER, fast_forward_on_resume=False, val_begin=True),
    ],
    ids=str,
)
def test_what_stock_loops_are_given_may_stay_in_train_cfg(tmp_path, loop):
    runner = small_runner(tmp_path, loop)
    runner.train()
    assert runner.train_loop.schedule.finished


class Reads(Hook):
    """Reads what mmengine's loop over iterations calls ``dataloader_iterator``."""

    def __init__(self, takes=False):
        self.takes, self.epochs = takes, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        iterator = runner.train_loop.dataloader_iterator
        assert iterator._dataloader is runner.train_dataloader
        self.epochs.append(iterator._epoch)
        if self.takes:
            next(iterator)


def test_a_hook_may_read_the_dataloader_iterator_but_take_no_batch_from_it(tmp_path):
    hook = Reads()
    runner = small_runner(tmp_path, dict(ITER))
    runner.register_hook(hook)
    runner.train()
    assert hook.epochs == [0] * 6 + [1] * (len(hook.epochs) - 6) and len(hook.epochs) > 6
    runner = small_runner(tmp_path, dict(ITER))
    runner.register_hook(Reads(takes=True))
    with pytest.raises(ValueError, match='would be missing in the pass.*persistent_workers=False'):
        runner.train()


class SetsLength(Hook):
    """Sets the length of the run in its middle."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        setattr(runner.train_loop, self.name, self.value)


@pytest.mark.parametrize('loop, name, kept', [(ITER, '_max_iters', 12), (EPOCH, '_max_epochs', 2)])
def test_a_hook_cannot_set_the_length_of_a_run_that_its_schedule_has(tmp_path, loop, name, kept):
    runner = small_runner(tmp_path, dict(loop))
    runner.register_hook(SetsLength(name, kept + 1))
    with pytest.raises(ValueError, match=f'{name} is {kept} .* {kept + 1} would have no effect'):
        runner.train()
    runner = small_runner(tmp_path, dict(loop))
    runner.register_hook(SetsLength(name, kept))
    runner.train()
    assert runner.train_loop.schedule.finished


class IteratesBeside(Hook):
    """Iterates over the training dataloader, as mmpretrain's ``PreciseBNHook`` does."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def after_train_epoch(self, runner):
        loader = runner.train_dataloader
        batches = [batch['index'].tolist() for batch in loader]
        assert len(batches) == len(loader)
        self.seen.append(sorted(sum(batches, [])))


class IteratesWithin(Hook):
    """Iterates over the training dataloader after some iterations of the run."""

    priority = 'LOWEST'

    def __init__(self, *after):
        self.after, self.seen = after, 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 in self.after:
            self.seen += len(list(itertools.islice(runner.train_dataloader, 2)))


NEW_WORKERS = dict(num_workers=1, persistent_workers=False)
PERSISTENT = dict(num_workers=1, persistent_workers=True)


def trained(work_dir, loop, loader, *hooks):
    """The samples that a run of two passes of 6 batches trains, in order."""
    model = Classifier()
    runner = small_runner(work_dir, loop, model=model, loader=loader, sampler=dict(delta=0))
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return model.seen


@pytest.mark.parametrize('after', [2, 6], ids=['in the middle', 'after the last batch'])
@pytest.mark.parametrize('loop', [EPOCH, ITER], ids=['epochs', 'iterations'])
def test_who_restarts_the_iterator_of_a_pass_stops_the_run(tmp_path, loop, after):
    """PyTorch does that for a dataloader with persistent workers."""
    hook = IteratesWithin(after)
    with pytest.raises(ValueError) as info:
        trained(tmp_path, loop, PERSISTENT, hook)
    assert hook.seen == 2
    for part in ('train_loop.dataloader', 'write train_dataloader=dict(persistent_workers=False)'):
        assert part in str(info.value)


@pytest.mark.parametrize('loop', [EPOCH, ITER], ids=['epochs', 'iterations'])
@pytest.mark.parametrize('loader', [{}, NEW_WORKERS], ids=['no workers', 'new workers'])
def test_who_iterates_within_a_pass_changes_nothing_without_persistent_workers(
    tmp_path, loop, loader
):
    hook = IteratesWithin(2, 6, 12)
    seen = trained(tmp_path, loop, loader, hook)
    assert hook.seen == 6 and seen == trained(tmp_path, loop, {})


def test_persistent_workers_may_be_iterated_over_between_passes_and_at_the_end(tmp_path):
    expected = trained(tmp_path, EPOCH, {})
    between = IteratesBeside()
    assert trained(tmp_path, EPOCH, PERSISTENT, between) == expected
    assert len(between.seen) == 2
    assert trained(tmp_path, ITER, PERSISTENT, IteratesWithin(12)) == expected


@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
def test_who_iterates_beside_the_loop_sees_the_whole_pass_also_after_a_resume(tmp_path):
    checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=1)
    loop = dict(type='InfoBatchEpochLoop', max_epochs=4)
    first = small_runner(tmp_path, loop, default_hooks=dict(checkpoint=checkpoint))
    whole = IteratesBeside()
    first.register_hook(whole)
    first.train()
    assert len(whole.seen[0]) == 24 > len(whole.seen[2])
    second = small_runner(tmp_path, loop, load_from=str(tmp_path / 'iter_13.pth'), resume=True)
    again = IteratesBeside()
    second.register_hook(again)
    second.train()
    assert second.train_loop.sampler.start == 0
    assert again.seen == whole.seen[-len(again.seen) :] and len(again.seen) < 4


class Places(Hook):
    """Keep where in its epoch each iteration is, as the log says it, and what ends one."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loader = runner.train_dataloader
        end = self.end_of_epoch(loader, batch_idx)
        self.seen.append((runner.epoch, batch_idx + 1, len(loader), end))


@pytest.mark.parametrize('batch_size, first', [(2, 9), (4, 5), (8, 3), (5, 4)])
def test_an_epoch_that_is_resumed_in_batches_of_another_size_is_counted_to_its_end(
    tmp_path, batch_size, first
):
    checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=8)
    kwargs = dict(default_hooks=dict(checkpoint=checkpoint))
    small_runner(tmp_path, EPOCH, batch_size=2, **kwargs).train()  # 8 of 12 iterations are done
    resumed = small_runner(
        tmp_path, EPOCH, batch_size=batch_size, load_from=str(tmp_path / 'iter_8.pth'), resume=True
    )
    places = Places()
    resumed.register_hook(places)
    resumed.train()
    last = -(-24 // batch_size)
    expected = [(0, place, last, place == last) for place in range(first, last + 1)]
    assert [each for each in places.seen if each[0] == 0] == expected
    assert [each[1] for each in places.seen if each[0] == 1][0] == 1


def test_precise_bn_sees_the_whole_pass_after_a_resume_in_the_middle_of_one(tmp_path):
    """mmpretrain's own hook: its running statistics are those of an uninterrupted run."""
    data = runs.write_classification_data(tmp_path / 'data')

    def config(work_dir):
        cfg = runs.classification_config(
            data, str(tmp_path / work_dir), max_epochs=4, norm_cfg=runs.BN
        )
        cfg.custom_hooks = [dict(type='PreciseBNHook', num_samples=16, interval=1)]
        return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=0.8)

    cfg = config('whole')
    whole = runs.train(cfg)
    passes = whole.column('pass')
    done = next(i for i in range(1, len(passes)) if passes[i - 1] == passes[i] == 2)
    again = runs.train(runs.resumed(cfg, tmp_path / 'whole' / f'iter_{done}.pth', tmp_path / 'b'))
    assert len(again.rows) == len(whole.rows) - done
    runs.assert_same_state(again.state, whole.state)
    assert any('running_mean' in key for key in whole.state)


@pytest.mark.parametrize('length, times', [(4, 1), (3, 1), (2, 2)])
def test_a_batch_of_the_whole_dataset_warns_and_prunes_nothing(tmp_path, length, times):
    """As many iterations are made, so nothing could be saved; steps would grow by N/K."""
    runner = small_runner(tmp_path, dict(ITER), length=length * times)
    warnings = []
    runner.logger.warning = warnings.append
    runner.train()
    (warning,) = (each for each in warnings if 'one iteration' in each)
    assert 'batch_size=4' in warning and f'{length * times} samples' in warning
    report = runs.report_of(tmp_path)
    assert report['totals']['saving'] == 0 and report['totals']['iterations'] == 12


@LOOPS.register_module()
class StepsItself(InfoBatchEpochLoop):
    """Has the ``run_iter`` of a stock loop."""

    def run_iter(self, idx, data_batch):
        EpochBasedTrainLoop.run_iter(self, idx, data_batch)


@LOOPS.register_module()
class StepsAndCounts(InfoBatchEpochLoop):
    """Does something of its own in each iteration."""

    counted = 0

    def run_iter(self, idx, data_batch):
        super().run_iter(idx, data_batch)
        self.counted += len(data_batch['index'])


def test_a_loop_of_ones_own_that_steps_without_weights_is_refused(tmp_path):
    runner = small_runner(tmp_path, dict(type='StepsItself', max_epochs=3))
    with pytest.raises(ValueError, match=r'StepsItself.run_iter calls .*super\(\).run_iter'):
        runner.train()
    assert len(runner.model.seen) == 4  # one batch


def test_a_loop_of_ones_own_may_add_to_an_iteration(tmp_path):
    runner = small_runner(tmp_path, dict(type='StepsAndCounts', max_epochs=4))
    runner.train()
    assert runner.train_loop.counted == len(runner.model.seen) < 4 * 24


@LOOPS.register_module()
class LeavesOut(InfoBatchEpochLoop):
    """Does not train every third batch."""

    def run_iter(self, idx, data_batch):
        if idx % 3 != 2:
            super().run_iter(idx, data_batch)


@LOOPS.register_module()
class TrainsTwice(InfoBatchIterLoop):
    """Trains each batch twice."""

    def run_iter(self, data_batch):
        super().run_iter(data_batch)
        super().run_iter(data_batch)


@pytest.mark.parametrize(
    ('loop', 'times'),
    [(dict(type='LeavesOut', max_epochs=6), 0), (dict(type='TrainsTwice', max_iters=36), 2)],
    ids=lambda value: value['type'] if isinstance(value, dict) else None,
)
def test_a_loop_of_ones_own_that_does_not_train_each_batch_once_is_refused(tmp_path, loop, times):
    runner = small_runner(tmp_path, loop)
    with pytest.raises(ValueError, match=rf'trained a batch {times} times.*super\(\).run_iter'):
        runner.train()
    assert len(runner.model.seen) == 8  # two batches, or one twice


@LOOPS.register_module()
class RunsItself(InfoBatchEpochLoop):
    """Has the ``run`` of a stock loop."""

    def run(self):
        return EpochBasedTrainLoop.run(self)


@LOOPS.register_module()
class BeginsNoPass(InfoBatchEpochLoop):
    """Has the ``run_epoch`` of a stock loop."""

    def run_epoch(self):
        EpochBasedTrainLoop.run_epoch(self)


@LOOPS.register_module()
class LeavesEpoch(InfoBatchEpochLoop):
    """Trains the first batches of each epoch alone, from the dataloader."""

    def run_epoch(self):
        self.runner.call_hook('before_train_epoch')
        self.runner.call_hook('before_train_pass')
        for idx, data_batch in zip(range(2), self.dataloader):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class LeavesPass(InfoBatchIterLoop):
    """Trains the first batches of each pass alone."""

    def run_pass(self):
        for _, data_batch in zip(range(2), self._batches()):
            self.run_iter(data_batch)


@pytest.mark.parametrize(
    ('loop', 'trained', 'reason'),
    [
        (dict(type='RunsItself', max_epochs=6), 0, r'RunsItself.run .*super\(\).run\(\)'),
        (dict(type='BeginsNoPass', max_epochs=6), 0, r'no pass.*super\(\).run_epoch'),
        (dict(type='LeavesEpoch', max_epochs=6), 8, r'after 2 of its 6 .*super\(\).run_epoch'),
        (dict(type='LeavesPass', max_iters=36), 8, r'after 2 of its 6 .*super\(\).run_epoch'),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else None,
)
def test_a_loop_of_ones_own_that_trains_no_whole_pass_is_refused(tmp_path, loop, trained, reason):
    """Scores are merged when a pass ends, so a pass that never ends would prune nothing."""
    runner = small_runner(tmp_path, loop)
    with pytest.raises(ValueError, match=reason):
        runner.train()
    assert len(runner.model.seen) == trained
