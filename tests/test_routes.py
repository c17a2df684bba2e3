"""A run goes on exactly by whichever route: resume(path), strategies, a second train()."""

import contextlib

import pytest
import toolbox_runs as runs
import torch
from mmengine._strategy import SingleDeviceStrategy
from mmengine.hooks import Hook
from mmengine.registry import STRATEGIES
from mmengine.runner._flexible_runner import FlexibleRunner
from small_runner import small_runner

# At the end of an epoch, a scheduler steps before this process has trained anything.
pytestmark = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')

LOOPS = {
    'iter': dict(type='InfoBatchIterLoop', max_iters=120),
    'epoch': dict(type='InfoBatchEpochLoop', max_epochs=10),
}
SCHEDULERS = {
    'iter': dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=120, by_epoch=False),
    'epoch': dict(type='LinearLR', start_factor=1, end_factor=0.1, end=10, by_epoch=True),
}


class Trained(Hook):
    """What each iteration trains; may interrupt the run in one of them."""

    priority = 'LOWEST'

    def __init__(self, interrupt=None, at=None):
        self.rows, self.interrupt, self.at = [], interrupt, at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.raise_at(runner, 'before')
        self.row = dict(
            iter=runner.iter,
            indices=data_batch['index'].tolist(),
            lr=runner.optim_wrapper.get_lr()['lr'][0],
            max_iters=runner.max_iters,
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rows.append(dict(self.row, weights=runner.model.weights, loss=outputs['loss'].item()))
        self.raise_at(runner, 'after')

    def raise_at(self, runner, moment):
        if self.interrupt == moment and runner.iter == self.at:
            self.interrupt = None
            raise KeyboardInterrupt


def checkpoints(by_epoch=False, interval=1):
    return dict(
        checkpoint=dict(
            type='CheckpointHook', by_epoch=by_epoch, interval=interval, save_last=False
        )
    )


def run(work_dir, loop, hook=None, **kwargs):
    runner = small_runner(
        work_dir, dict(LOOPS[loop]), param_scheduler=[dict(SCHEDULERS[loop])], **kwargs
    )
    hook = hook or Trained()
    runner.register_hook(hook)
    return runner, hook


@pytest.fixture(scope='module', params=LOOPS)
def whole(request, tmp_path_factory):
    """An uninterrupted run, with a checkpoint of each iteration."""
    work_dir = tmp_path_factory.mktemp(request.param)
    runner, trained = run(work_dir, request.param, default_hooks=checkpoints())
    runner.train()
    assert 60 < len(trained.rows) < 120 or request.param == 'epoch'
    return request.param, work_dir, trained.rows, runner


def assert_goes_on(runner, trained, whole, done=0):
    _, _, rows, first = whole
    assert trained.rows[-len(rows) + done :] == rows[done:]
    runs.assert_same_state(runner.model.state_dict(), first.model.state_dict())
    runs.assert_same_tracking(runner, first)


@pytest.mark.parametrize('done', [13, 30])
def test_resume_with_a_path_before_train_goes_on_exactly(whole, tmp_path, done):
    loop, work_dir, *_ = whole
    runner, trained = run(tmp_path, loop)
    runner.resume(str(work_dir / f'iter_{done}.pth'))
    runner.train()
    assert trained.rows[0]['iter'] == done
    assert_goes_on(runner, trained, whole, done)


def test_load_checkpoint_before_train_takes_the_weights_alone(whole, tmp_path):
    loop, work_dir, rows, _ = whole
    runner, trained = run(tmp_path, loop)
    runner.load_checkpoint(str(work_dir / 'iter_30.pth'))
    before = runner.model.head.weight.clone()
    assert before.any()
    runner.train()
    assert [row['iter'] for row in trained.rows][:3] == [0, 1, 2]
    assert trained.rows[0]['indices'] == rows[0]['indices']
    assert {weight for row in trained.rows[:6] for weight in row['weights']} == {1.0}


def test_a_state_of_another_iteration_than_the_loop_is_refused(whole, tmp_path):
    loop, work_dir, *_ = whole
    runner, _ = run(tmp_path, loop)
    runner.resume(str(work_dir / 'iter_13.pth'))
    runner.load_checkpoint(str(work_dir / 'iter_30.pth'))
    with pytest.raises(ValueError, match='it is of iteration 30, but the checkpoint is of .* 13'):
        runner.train()


# --------------------------------------------------------------- a second train()


def test_a_second_train_after_the_end_returns(whole, tmp_path):
    loop, *_ = whole
    runner, trained = run(tmp_path, loop)
    model = runner.train()
    count = len(trained.rows)
    assert runner.train() is model
    assert len(trained.rows) == count
    assert_goes_on(runner, trained, whole)
    assert runs.report_of(tmp_path)['totals']['finished']


@pytest.mark.parametrize('moment', ['before', 'after'])
@pytest.mark.parametrize('at', [0, 3, 6, 13, 29])
def test_a_second_train_after_an_interrupt_goes_on_exactly(whole, tmp_path, moment, at):
    """The batch of an iteration that was scored is not trained again, any other one is."""
    loop, _, rows, _ = whole
    runner, trained = run(tmp_path, loop, Trained(moment, at))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert len(trained.rows) == at + (moment == 'after')
    runner.train()
    assert [row['indices'] for row in trained.rows] == [row['indices'] for row in rows]
    assert len(trained.rows) == len(rows)
    assert_goes_on(runner, trained, whole)


def test_a_run_interrupted_twice_goes_on_exactly(whole, tmp_path):
    loop, _, rows, _ = whole
    runner, trained = run(tmp_path, loop, Trained('before', 13))
    for at in (15, 30):
        with pytest.raises(KeyboardInterrupt):
            runner.train()
        trained.interrupt, trained.at = 'after', at
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    runner.train()
    assert len(trained.rows) == len(rows)
    assert_goes_on(runner, trained, whole)


@pytest.mark.parametrize('at, done', [(30, 13), (30, 30), (None, 13)])
def test_resume_with_a_path_after_train_goes_on_exactly(whole, tmp_path, at, done):
    """Back, where it was interrupted, and after its end."""
    loop, work_dir, *_ = whole
    runner, trained = run(tmp_path, loop, Trained('after', at))
    with contextlib.nullcontext() if at is None else pytest.raises(KeyboardInterrupt):
        runner.train()
    before = len(trained.rows)
    runner.resume(str(work_dir / f'iter_{done}.pth'))
    runner.train()
    assert trained.rows[before]['iter'] == done
    assert_goes_on(runner, trained, whole, done)
    totals, expected = (runs.report_of(each)['totals'] for each in (tmp_path, work_dir))
    assert dict(totals, seconds_choosing=0) == dict(expected, seconds_choosing=0)


@pytest.mark.parametrize('saved', [13, 30])  # where the loop stands, and elsewhere
def test_load_checkpoint_after_an_interrupt_takes_the_weights_alone(whole, tmp_path, saved):
    loop, work_dir, rows, first = whole
    runner, trained = run(tmp_path, loop, Trained('after', 13))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    runner.load_checkpoint(str(work_dir / f'iter_{saved}.pth'))
    runner.train()
    assert [row['iter'] for row in trained.rows[13:16]] == [13, 14, 15]
    assert not runner.model.head.weight.equal(first.model.head.weight)


def test_a_checkpoint_without_state_is_refused_by_a_runner_that_has_trained(whole, tmp_path):
    loop, work_dir, *_ = whole
    checkpoint = torch.load(work_dir / 'iter_30.pth', weights_only=False)
    del checkpoint['infobatch']
    torch.save(checkpoint, tmp_path / 'stock.pth')
    runner, _ = run(tmp_path, loop, Trained('after', 13))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    runner.resume(str(tmp_path / 'stock.pth'))
    with pytest.raises(ValueError, match='has trained already.* build a new runner'):
        runner.train()


# ------------------------------------------------------------------- strategies


@STRATEGIES.register_module()
class SilentStrategy(SingleDeviceStrategy):
    """Calls no hook for a checkpoint, as ``DeepSpeedStrategy``."""

    def save_checkpoint(self, filename, *, callback=None, **kwargs):
        super().save_checkpoint(filename, **kwargs)

    def resume(self, filename, *, callback=None, **kwargs):
        return super().resume(filename, **kwargs)

    def load_checkpoint(self, filename, *, callback=None, **kwargs):
        return super().load_checkpoint(filename, **kwargs)


def flexible(work_dir, loop, strategy, **kwargs):
    return run(
        work_dir, loop, runner=FlexibleRunner, strategy=dict(type=strategy.__name__), **kwargs
    )


@pytest.mark.default_cases('iter-13-*', 'epoch-13-*')
@pytest.mark.parametrize('strategy', [SingleDeviceStrategy, SilentStrategy])
@pytest.mark.parametrize('done', [6, 13, 30])
def test_every_strategy_resumes_exactly(whole, tmp_path, strategy, done):
    loop, *_ = whole
    first, trained = flexible(tmp_path, loop, strategy, default_hooks=checkpoints())
    first.train()
    assert_goes_on(first, trained, whole)
    path = str(tmp_path / f'iter_{done}.pth')
    again, trained = flexible(tmp_path / 'again', loop, strategy, load_from=path, resume=True)
    again.train()
    assert trained.rows[0]['iter'] == done
    assert_goes_on(again, trained, whole, done)


def test_a_checkpoint_of_an_epoch_resumes_exactly_under_a_silent_strategy(tmp_path):
    first, whole = flexible(tmp_path, 'epoch', SilentStrategy, default_hooks=checkpoints(True))
    first.train()
    path = str(tmp_path / 'epoch_4.pth')
    again, trained = flexible(
        tmp_path / 'again', 'epoch', SilentStrategy, load_from=path, resume=True
    )
    again.train()
    assert trained.rows == whole.rows[-len(trained.rows) :] and trained.rows[0]['iter'] > 12
    runs.assert_same_state(again.model.state_dict(), first.model.state_dict())
    runs.assert_same_tracking(again, first)


class SavesUnannounced(Hook):
    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter in (3, 12):
            runner.save_checkpoint(runner.work_dir, f'mine_{runner.iter + 1}.pth', by_epoch=False)


@pytest.mark.parametrize('done, reason', [(4, 'it has no schedule'), (13, 'of iteration 10, but')])
def test_a_checkpoint_that_a_silent_strategy_saved_unannounced_is_refused(tmp_path, done, reason):
    first, _ = flexible(tmp_path, 'iter', SilentStrategy, default_hooks=checkpoints(interval=10))
    first.register_hook(SavesUnannounced())
    first.train()
    again, _ = flexible(
        tmp_path / 'again', 'iter', SilentStrategy,
        load_from=str(tmp_path / f'mine_{done}.pth'), resume=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match=reason):
        again.train()
