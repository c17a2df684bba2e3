"""Hooks that follow the schedule: learning rates, averaged weights, whatever a subclass does."""

import importlib
import math
import warnings

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook, Hook, ParamSchedulerHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from small_runner import Classifier, Flat, Points, Validated, small_runner
from torch import nn

from mm_infobatch import InfoBatchHook
from mm_infobatch.training.by_steps import StepwiseHook

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolbox says when imported is not about us
    importlib.import_module('mmpretrain.models')
    hooks = importlib.import_module('mmpretrain.engine.hooks')

# Schedulers by iteration step at the end of an epoch, before a resumed process has trained.
pytestmark = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
# 24 samples in fours: eight passes of six iterations, the last of them annealing.
LOOPS = [
    dict(type='InfoBatchEpochLoop', max_epochs=8),
    dict(type='InfoBatchIterLoop', max_iters=48, val_interval=100),
]
TOTAL, PASS = 48, 6
LINEAR = dict(type='LinearLR', start_factor=1, end_factor=0.5, begin=0, end=TOTAL, by_epoch=False)


def linear(step, end=TOTAL):
    """The factor of that scheduler, which mmengine has arrive one step before its end."""
    return 1 - 0.5 * min(1, step / (end - 1))


loops = pytest.mark.parametrize('loop', LOOPS, ids=lambda loop: loop['type'])
on = pytest.mark.parametrize('prune_ratio', [0.0, 0.5], ids=['unpruned', 'pruned'])


class Trace(Hook):
    """Keep of each iteration: the step that it begins, the learning rates, what a probe says."""

    priority = 'LOWEST'

    def __init__(self, probe=lambda: None):
        self.steps, self.lrs, self.probed, self.probe = [], [], [], probe

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.steps.append(runner.train_loop.schedule.walked)
        self.lrs.append({key: value[0] for key, value in runner.optim_wrapper.get_lr().items()})
        self.probed.append(self.probe())


def build(work_dir, loop, *registered, prune_ratio=0.5, trace=None, **kwargs):
    """A runner with hooks, and the trace of it, which is the last of them."""
    sampler = dict(policy=dict(type='SoftPruning', prune_ratio=prune_ratio), delta=0.8)
    runner = small_runner(work_dir, dict(loop), sampler=sampler, **kwargs)
    trace = trace or Trace()
    for hook in (*registered, trace):
        runner.register_hook(hook)
    return runner, trace


def train(work_dir, loop, *registered, **kwargs):
    runner, trace = build(work_dir, loop, *registered, **kwargs)
    runner.train()
    expected = TOTAL if kwargs.get('prune_ratio') == 0 else range(TOTAL // 2, TOTAL - 3)
    assert len(trace.steps) == expected or len(trace.steps) in expected
    return trace


class ByIteration(ParamSchedulerHook):
    """Set the learning rate from the iteration, as hooks of other toolboxes do.

    It warms up over an epoch by the length of the dataloader, decays by the length of the run,
    drops where the iteration is some number, and counts its calls.
    """

    priority = 9  # mmyolo's run before all others

    def __init__(self):
        self.calls, self.drop = [], 1.0

    @staticmethod
    def lr_at(step):
        return min(1, (step + 1) / PASS) * (1 - step / TOTAL) * (0.5 if step >= 13 else 1)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.calls.append(('before', runner.iter))
        if runner.iter == 13:
            self.drop = 0.5
        warm_up = min(1, (runner.iter + 1) / len(runner.train_dataloader))
        decay = 1 - runner.train_loop.iter / runner.max_iters
        for group in runner.optim_wrapper.param_groups:
            group['lr'] = warm_up * decay * self.drop

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(('after', runner.iter))
        super().after_train_iter(runner, batch_idx, data_batch, outputs)


@loops
@on
@pytest.mark.parametrize('priority', [9, 'LOW'])
def test_a_learning_rate_that_a_subclass_sets_by_iteration_follows_the_schedule(
    tmp_path, loop, prune_ratio, priority
):
    hook = ByIteration()
    hook.priority = priority
    trace = train(tmp_path, loop, hook, prune_ratio=prune_ratio)
    expected = [ByIteration.lr_at(step) for step in trace.steps]
    assert [lr['lr'] for lr in trace.lrs] == pytest.approx(expected, rel=1e-12)
    # It is called for each step as in the unpruned run, in the same order.
    assert hook.calls == [(when, step) for step in range(TOTAL) for when in ('before', 'after')]


@loops
@pytest.mark.parametrize('done', [8, 17, 25])
def test_a_resumed_run_goes_on_with_the_learning_rate_of_a_subclass(tmp_path, loop, done):
    saving = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
    whole = train(tmp_path, loop, ByIteration(), default_hooks=saving)
    hook = ByIteration()
    hook.drop = 0.5 if whole.steps[done] > 13 else 1.0
    runner, resumed = build(
        tmp_path / 'resumed', loop, hook, load_from=str(tmp_path / f'iter_{done}.pth'), resume=True
    )
    runner.train()
    assert resumed.steps == whole.steps[done:]
    assert resumed.lrs == whole.lrs[done:]
    assert [step for when, step in hook.calls if when == 'after'] == list(
        range(whole.steps[done], TOTAL)
    )


@loops
@on
@pytest.mark.parametrize('priority', ['VERY_HIGH', 'LOW'])
def test_schedulers_step_in_time_whatever_the_priority_of_their_hook(
    tmp_path, loop, prune_ratio, priority
):
    trace = train(
        tmp_path,
        loop,
        prune_ratio=prune_ratio,
        default_hooks=dict(param_scheduler=dict(type='ParamSchedulerHook', priority=priority)),
        param_scheduler=dict(LINEAR),
    )
    expected = [0.1 * linear(step) for step in trace.steps]
    assert [lr['lr'] for lr in trace.lrs] == pytest.approx(expected, rel=1e-9)


# ------------------------------------------------------------------- everything else of a hook

POINTS = [
    'before_run', 'after_run', 'before_train', 'after_train', 'before_train_epoch',
    'after_train_epoch', 'before_train_pass', 'before_val', 'after_val', 'before_val_epoch',
    'after_val_epoch', 'before_val_iter', 'after_val_iter', 'after_load_checkpoint',
    'before_save_checkpoint',
]  # fmt: skip


def recorded(point):
    def method(self, runner, *args, **kwargs):
        self.points.append((point, runner.iter))
        return getattr(super(self.BASE, self), point, lambda *_, **__: None)(
            runner, *args, **kwargs
        )

    return method


class OfSchedulers(ParamSchedulerHook):
    """Keep every call of a hook point but those of iterations."""

    def __init__(self):
        self.points = []


class OfNothing(Hook):
    """Likewise, in a hook that nothing takes the place of."""

    priority = 'LOW'

    def __init__(self):
        self.points = []


for cls in (OfSchedulers, OfNothing):
    cls.BASE = cls
    for point in POINTS:
        setattr(cls, point, recorded(point))


def validating(loop, interval):
    """More of a runner, which validates."""
    loop['val_interval'] = interval
    return dict(
        model=Validated(),
        val_dataloader=dict(
            dataset=Points(8),
            batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        val_cfg=dict(type='ValLoop'),
        val_evaluator=Evaluator(Flat()),
    )


@loops
def test_every_other_hook_point_of_a_subclass_is_called_as_of_any_hook(tmp_path, loop):
    loop = dict(loop)
    every = 3 if 'max_epochs' in loop else 10
    kwargs = dict(
        validating(loop, every),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=7, by_epoch=False)),
    )
    train(tmp_path, loop, **kwargs)
    for name in ('whole', 'resumed'):
        more = dict(load_from=str(tmp_path / 'iter_14.pth'), resume=True) if name != 'whole' else {}
        ours, other = OfSchedulers(), OfNothing()
        runner, _ = build(tmp_path / name, loop, ours, other, **kwargs, **more)
        runner.train()
        assert ours.points == other.points
        assert {point for point, _ in ours.points} == set(POINTS) - (
            set() if more else {'after_load_checkpoint'}
        )


@loops
def test_what_stands_in_for_a_hook_is_an_instance_of_its_class_and_shares_its_attributes(
    tmp_path, loop
):
    hook = ByIteration()
    hook.done, hook.schedule = 'of the hook', 'likewise'
    runner, _ = build(tmp_path, loop, hook)
    runner.train()
    (found,) = (each for each in runner.hooks if isinstance(each, ByIteration))
    assert isinstance(found, StepwiseHook) and type(found).__name__ == 'ByIteration'
    assert type(found).__module__ == ByIteration.__module__
    assert found.priority == 9 and found.lr_at(0) == ByIteration.lr_at(0)
    assert (found.done, found.schedule) == ('of the hook', 'likewise')
    found.drop, hook.added = 3.0, 4.0
    assert hook.drop == 3.0 and found.added == 4.0 and vars(found) is vars(hook)


class Seen(ParamSchedulerHook):
    """Keep what the runner looks like in its iterations."""

    def __init__(self):
        self.lengths, self.totals = set(), set()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.runner = runner
        runner.note = runner.iter
        runner.train_loop.note = runner.iter
        self.lengths |= {len(runner.train_dataloader), len(runner.train_loop.dataloader)}
        self.totals |= {runner.max_iters, runner.train_loop.max_iters}


@loops
def test_what_a_hook_sets_on_the_runner_that_it_sees_is_set_on_the_runner(tmp_path, loop):
    hook = Seen()
    runner, _ = build(tmp_path, loop, hook)
    runner.train()
    assert isinstance(hook.runner, type(runner)) and hook.runner.model is runner.model
    assert runner.note == runner.train_loop.note == TOTAL - 1
    assert hook.lengths == {PASS} and hook.totals == {TOTAL}
    assert runner.iter < TOTAL - 3 and hook.runner.epoch == runner.epoch


# --------------------------------------------------------------- which hooks, and since when


@loops
def test_several_hooks_step_the_schedulers_as_often_as_in_the_unpruned_run(tmp_path, loop):
    traces = [
        train(
            tmp_path,
            loop,
            ParamSchedulerHook(),
            prune_ratio=prune_ratio,
            param_scheduler=dict(LINEAR, end=2 * TOTAL),
        )
        for prune_ratio in (0.0, 0.5)
    ]
    unpruned = [lr['lr'] for lr in traces[0].lrs]
    assert unpruned[-1] == pytest.approx(0.1 * linear(2 * (TOTAL - 1), 2 * TOTAL))
    assert [lr['lr'] for lr in traces[1].lrs] == [unpruned[step] for step in traces[1].steps]


class Registers(Hook):
    """Register a hook of schedulers while training has started, or at the second pass."""

    def __init__(self, at):
        self.at, self.passes = at, 0

    def before_train(self, runner):
        if self.at == 'before_train':
            runner.register_hook(ByIteration(), 'VERY_LOW')  # behind this one, or it is called anew

    def before_train_pass(self, runner):
        self.passes += 1
        if self.at == 'second pass' and self.passes == 2:
            runner.register_hook(ByIteration(), 'VERY_LOW')


@loops
def test_a_hook_that_is_registered_in_training_follows_the_schedule(tmp_path, loop):
    trace = train(tmp_path, loop, Registers('before_train'))
    expected = [ByIteration.lr_at(step) for step in trace.steps]
    assert [lr['lr'] for lr in trace.lrs] == pytest.approx(expected, rel=1e-12)


@loops
def test_a_hook_that_is_registered_as_a_pass_begins_follows_from_the_next_one_on(tmp_path, loop):
    runner, trace = build(tmp_path, loop, Registers('second pass'))
    runner.train()
    (hook,) = (each for each in runner.hooks if isinstance(each, ByIteration))
    third = 2 * PASS
    calls = [step for when, step in hook.calls if when == 'before' and step >= third]
    assert calls == list(range(third, TOTAL))
    assert trace.lrs[-1]['lr'] == pytest.approx((1 - trace.steps[-1] / TOTAL) * hook.drop)


class StopAfter(Hook):
    """Stop training after so many steps, once."""

    def __init__(self, steps):
        self.steps = steps

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.train_loop.schedule.walked >= self.steps > 0:
            runner.train_loop.stop_training, self.steps = True, 0


@loops
def test_a_runner_that_trains_again_goes_on_with_the_learning_rate(tmp_path, loop):
    scheduler = dict(LINEAR, end=10 * TOTAL)
    whole = train(tmp_path / 'whole', loop, ByIteration(), param_scheduler=dict(scheduler))
    hook = ByIteration()
    runner, trace = build(tmp_path, loop, hook, StopAfter(3 * PASS), param_scheduler=scheduler)
    runner.train()
    assert trace.steps[-1] < 3 * PASS and len(trace.steps) < len(whole.steps)
    schedulers = [each for each in runner.hooks if isinstance(each, ParamSchedulerHook)]
    runner.train_loop.stop_training = False
    runner.train()
    assert trace.steps == whole.steps and trace.lrs == whole.lrs
    assert [step for when, step in hook.calls if when == 'before'] == list(range(TOTAL))
    again = [each for each in runner.hooks if isinstance(each, ParamSchedulerHook)]
    assert again == schedulers and len(again) == 2
    assert all(type(each).__mro__.count(StepwiseHook) == 1 for each in again)
    (scheduler,) = runner.param_schedulers
    assert scheduler.last_step == 2 * TOTAL  # of two hooks


class Interrupts(Hook):
    """Interrupt training within an iteration, once: before the hooks that come later."""

    def __init__(self, at, when):
        self.at, self.when = at, when

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.interrupt(runner, 'before')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.interrupt(runner, 'after')

    def interrupt(self, runner, when):
        if runner.iter == self.at and when == self.when:
            self.at = -1
            raise KeyboardInterrupt


@pytest.mark.default_cases('3-9-before-*', '10-LOW-after-*', '14-9-after-*')
@loops
@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize('priority', [9, 'LOW'])
@pytest.mark.parametrize('at', [3, 10, 14])
def test_a_runner_that_was_interrupted_goes_on_with_the_learning_rate(
    tmp_path, loop, at, priority, when
):
    hook = ByIteration()
    hook.priority = priority
    runner, trace = build(tmp_path, loop, hook, Interrupts(at, when))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert len(trace.steps) in (at, at + 1) and trace.steps[-1] < TOTAL
    runner.train()
    assert runner.train_loop.schedule.finished and trace.steps == sorted(trace.steps)
    expected = [ByIteration.lr_at(step) for step in trace.steps]
    assert [lr['lr'] for lr in trace.lrs] == pytest.approx(expected, rel=1e-12)
    assert hook.calls == [(when, step) for step in range(TOTAL) for when in ('before', 'after')]


@loops
def test_a_runner_that_trains_again_with_another_loop_follows_that_ones_schedule(tmp_path, loop):
    hook = ByIteration()
    runner, trace = build(tmp_path, loop, hook)
    runner.train()
    iters, calls, hook.drop = len(trace.steps), list(hook.calls), 1.0
    runner._train_loop = dict(loop)
    runner.train()
    assert hook.calls == 2 * calls
    expected = [ByIteration.lr_at(step) for step in trace.steps[iters:]]
    assert expected and trace.steps[iters] == 0
    assert [lr['lr'] for lr in trace.lrs[iters:]] == pytest.approx(expected, rel=1e-12)


class TwoOptimizers(Classifier):
    """Its loss is trained by two optimizers, of the weight and of the bias."""

    def train_step(self, data, optim_wrapper):
        losses = self(**data, mode='loss')
        parsed, log_vars = self.parse_losses(losses)
        for wrapper in optim_wrapper.values():
            wrapper.zero_grad()
        parsed.backward()
        for wrapper in optim_wrapper.values():
            wrapper.step()
        return log_vars


@loops
def test_schedulers_of_several_optimizers_and_of_momentum_follow_the_schedule(tmp_path, loop):
    model = TwoOptimizers()
    wrappers = {
        name: OptimWrapper(torch.optim.SGD([parameter], lr=0.1, momentum=0.8))
        for name, parameter in model.head.named_parameters()
    }
    momentum = dict(LINEAR, type='LinearMomentum')
    trace = Trace(lambda: wrappers['bias'].get_momentum()['momentum'][0])
    train(
        tmp_path,
        loop,
        trace=trace,
        model=model,
        optim_wrapper=OptimWrapperDict(**wrappers),
        param_scheduler=dict(weight=[dict(LINEAR)], bias=[dict(LINEAR, end=TOTAL // 2), momentum]),
    )
    whole = [linear(step) for step in trace.steps]
    half = [linear(step, TOTAL // 2) for step in trace.steps]
    lrs = [[lr[f'{name}.lr'] for lr in trace.lrs] for name in ('weight', 'bias')]
    assert lrs[0] == pytest.approx([0.1 * share for share in whole], rel=1e-9)
    assert lrs[1] == pytest.approx([0.1 * share for share in half], rel=1e-9)
    assert trace.probed == pytest.approx([0.8 * share for share in whole], rel=1e-9)


@pytest.mark.filterwarnings('ignore:The metric `accuracy`')
def test_a_scheduler_that_waits_for_a_metric_counts_the_same_epochs(tmp_path):
    by_epoch = []
    for prune_ratio in (0.0, 0.5):
        loop = dict(LOOPS[0])
        kwargs = validating(loop, 1)
        scheduler = dict(type='ReduceOnPlateauLR', monitor='accuracy', rule='greater', patience=1)
        trace = train(tmp_path, loop, prune_ratio=prune_ratio, param_scheduler=scheduler, **kwargs)
        by_epoch.append({step // PASS: lr['lr'] for step, lr in zip(trace.steps, trace.lrs)})
    assert by_epoch[0] == by_epoch[1]
    assert len(set(by_epoch[0].values())) == 4


# ------------------------------------------------------------------------- averaged weights


class Reference(Hook):
    """Average weights by hand: once for each step, by a momentum of that step."""

    priority = 'VERY_HIGH'  # before the weights change

    def __init__(self, momentum_at, begin):
        self.momentum_at, self.begin, self.average, self.walked = momentum_at, begin, None, 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.catch_up(runner)

    def after_train(self, runner):
        self.catch_up(runner)

    def catch_up(self, runner):
        """Average what the iteration before has trained, for each of the steps that it walked."""
        weight = runner.model.head.weight.detach().double()
        for step in range(self.walked, runner.train_loop.schedule.walked):
            updates = step + 1 - max(self.begin, 1)  # those before
            if self.average is None or updates <= 0:
                self.average = weight.clone()
            else:
                self.average += self.momentum_at(updates) * (weight - self.average)
        self.walked = runner.train_loop.schedule.walked


def cosine(updates):
    return 0.01 - (0.01 - 0.3) * (math.cos(math.pi * updates / TOTAL) + 1) / 2


AVERAGES = {
    'ExponentialMovingAverage': (dict(momentum=0.1), lambda updates: 0.1),
    'MomentumAnnealingEMA': (
        dict(momentum=0.01, gamma=4),
        lambda updates: max(0.01, 4 / (4 + updates)),
    ),
    'StochasticWeightAverage': (dict(), lambda updates: 1 / (updates + 1)),
    'mmpretrain.CosineEMA': (dict(momentum=0.3, end_momentum=0.01), cosine),
}


@pytest.mark.default_cases(
    'ExponentialMovingAverage-*-pruned-*',
    'MomentumAnnealingEMA-20-*-InfoBatchIterLoop',
    'mmpretrain.CosineEMA-0-pruned-*',
)
@loops
@on
@pytest.mark.parametrize('begin', [0, 20])
@pytest.mark.parametrize('kind', AVERAGES)
def test_averaged_weights_follow_the_schedule(tmp_path, loop, prune_ratio, kind, begin):
    kwargs, momentum_at = AVERAGES[kind]
    hook, reference = EMAHook(kind, begin_iter=begin, **kwargs), Reference(momentum_at, begin)
    train(tmp_path, loop, hook, reference, prune_ratio=prune_ratio)
    assert int(hook.ema_model.steps) == TOTAL - max(begin - 1, 0)
    average = hook.ema_model.module.head.weight.double()
    assert torch.allclose(average, reference.average, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(average, hook.src_model.head.weight.double(), rtol=1e-3, atol=1e-4)


@loops
def test_an_average_by_steps_begins_in_a_resumed_run_where_it_would_have_begun(tmp_path, loop):
    def ema():
        return EMAHook(begin_iter=40, momentum=0.1)

    saving = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=12))
    whole = ema()
    train(tmp_path, loop, whole, default_hooks=saving)
    hook = ema()
    runner, _ = build(
        tmp_path / 'resumed', loop, hook, load_from=str(tmp_path / 'iter_12.pth'), resume=True
    )
    runner.train()
    assert int(hook.ema_model.steps) == TOTAL - 39
    for left, right in zip(hook.ema_model.parameters(), whole.ema_model.parameters()):
        assert torch.equal(left, right)


# ------------------------------------------------------- other hooks, and those that are named


@loops
@on
def test_a_parameter_that_warms_up_follows_the_schedule(tmp_path, loop, prune_ratio):
    model = Classifier()
    model.factor = 2.0
    epochs = 3 if 'max_epochs' in loop else 0.5  # by iteration the whole run is one epoch
    hook = hooks.WarmupParamHook('factor', '_forward_module', epochs)
    hook.module_getter = lambda model: model
    trace = Trace(lambda: model.factor)
    train(tmp_path, loop, hook, prune_ratio=prune_ratio, model=model, trace=trace)
    length = 3 * PASS if 'max_epochs' in loop else TOTAL / 2
    assert trace.probed == pytest.approx([2 * min(1, step / length) for step in trace.steps])


@loops
@on
def test_a_loss_that_begins_at_an_iteration_begins_at_that_step(tmp_path, loop, prune_ratio):
    model = Classifier()
    model.loss_lambda = 0.5
    trace = train(
        tmp_path,
        loop,
        hooks.DenseCLHook(start_iters=20),
        prune_ratio=prune_ratio,
        model=model,
        trace=Trace(lambda: model.loss_lambda),
    )
    assert trace.probed == [0.5 if step >= 20 else 0.0 for step in trace.steps]


@loops
@on
def test_layers_that_are_frozen_for_some_iterations_are_frozen_for_those_steps(
    tmp_path, loop, prune_ratio
):
    model = Classifier()
    model.head.loss_module = nn.Module()
    hook = hooks.SwAVHook(4, frozen_layers_cfg=dict(weight=20))
    trace = Trace(lambda: model.head.weight.requires_grad)
    train(tmp_path, loop, hook, prune_ratio=prune_ratio, model=model, trace=trace)
    assert trace.probed == [step >= 20 for step in trace.steps]


class WarmUp(Hook):
    """A hook of a user's own."""

    def __init__(self, warmup_iters):
        self.warmup_iters, self.factor = warmup_iters, 0.0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.factor = min(1, runner.iter / self.warmup_iters)


@loops
@on
def test_a_hook_that_is_named_is_called_by_steps(tmp_path, loop, prune_ratio):
    hook = WarmUp(30)
    ours = [dict(type='InfoBatchHook', by_steps=['WarmUp'])]
    trace = train(
        tmp_path,
        loop,
        hook,
        prune_ratio=prune_ratio,
        custom_hooks=ours,
        trace=Trace(lambda: hook.factor),
    )
    assert trace.probed == [min(1, step / 30) for step in trace.steps]


@pytest.mark.parametrize('by_steps', ['WarmUp', 3, [WarmUp], None])
def test_what_is_no_list_of_names_is_refused(by_steps):
    with pytest.raises(TypeError, match=r"by_steps=.* has to be a list.*by_steps=\['MyHook'\]"):
        InfoBatchHook(by_steps=by_steps)


@loops
@pytest.mark.parametrize(
    'name, reason',
    [
        ('WarmDown', "names 'WarmDown', but the hooks of this run are .*WarmUp"),
        ('CheckpointHook', 'which logs or saves iterations of the run'),
        ('Hook', 'which logs or saves iterations of the run'),
    ],
)
def test_a_name_of_a_hook_that_cannot_be_called_by_steps_is_refused(tmp_path, loop, name, reason):
    ours = [dict(type='InfoBatchHook', by_steps=[name])]
    runner, trace = build(tmp_path, loop, WarmUp(3), custom_hooks=ours)
    with pytest.raises(ValueError, match=reason + '.*by_steps'):
        runner.train()
    assert trace.steps == []
