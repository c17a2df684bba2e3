"""Settings in iterations mean the same share of the schedule, or are named when training starts."""

import copy
import importlib
import logging
import warnings

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS
from small_runner import Flat, Points, Validated, small_runner
from torch import nn

from mm_infobatch.training.by_steps import BY_STEPS, is_of_class
from mm_infobatch.training.user_code import functions_of

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    for toolbox in ('mmseg', 'mmpretrain'):
        importlib.import_module(f'{toolbox}.utils').register_all_modules(init_default_scope=False)
    hooks = importlib.import_module('mmpretrain.engine.hooks')
    CosineEMA = importlib.import_module('mmpretrain.models.utils.ema').CosineEMA

pytestmark = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
# 32 samples in fours: eight passes of eight iterations, the last of them annealing.
ITERS = dict(type='InfoBatchIterLoop', max_iters=64, val_interval=1000)
EPOCHS = dict(type='InfoBatchEpochLoop', max_epochs=8)
TOTAL, PASS = 64, 8


class Validations(Hook):
    """Keep when a validation took place, in iterations and in steps of the schedule."""

    priority = 'LOWEST'

    def __init__(self):
        self.iters, self.walked, self.epochs, self.steps = [], [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append(runner.train_loop.schedule.walked)

    def before_val(self, runner):
        self.iters.append(runner.iter)
        self.walked.append(runner.train_loop.schedule.walked)
        self.epochs.append(runner.epoch)


class Messages(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        if record.levelno == logging.WARNING and record.getMessage().startswith('InfoBatch: '):
            self.texts.append(record.getMessage())


def build(work_dir, loop, *registered, prune_ratio=0.9, delta=0.8, **kwargs):
    """A runner, its validations, and what it is going to warn of."""
    sampler = dict(policy=dict(type='SoftPruning', prune_ratio=prune_ratio), delta=delta)
    kwargs.setdefault('model', Validated())
    runner = small_runner(
        work_dir,
        dict(loop),
        length=4 * PASS,
        sampler=kwargs.pop('sampler', sampler),
        val_dataloader=dict(
            dataset=Points(8),
            batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        val_cfg=dict(type='ValLoop'),
        val_evaluator=Evaluator(Flat()),
        **kwargs,
    )
    validations, messages = Validations(), Messages()
    for hook in (*registered, validations):
        runner.register_hook(hook)
    runner.logger.addHandler(messages)
    return runner, validations, messages


def train(*args, **kwargs):
    runner, validations, messages = build(*args, **kwargs)
    runner.train()
    return (
        runner,
        validations,
        [text for text in messages.texts if 'iterations of this run' in text],
    )


# ------------------------------------------------------------------------------ our loops


@pytest.mark.parametrize('prune_ratio', [0.0, 0.9])
@pytest.mark.parametrize('begin', [1, 37, 50, 60, 64, 65])
def test_validation_begins_at_its_share_of_the_schedule_and_takes_place_at_the_end(
    tmp_path, begin, prune_ratio
):
    runner, validations, _ = train(
        tmp_path, dict(ITERS, val_begin=begin, val_interval=5), prune_ratio=prune_ratio
    )
    end = runner.iter
    assert end == TOTAL if prune_ratio == 0 else TOTAL // 2 < end < 50
    if prune_ratio == 0:  # as mmengine does it
        due = {*range(5, TOTAL + 1, 5), TOTAL}
        assert validations.iters == sorted(at for at in due if at >= begin)
    assert all(walked >= begin for walked in validations.walked)
    assert all(at % 5 == 0 for at in validations.iters[:-1])
    assert (validations.iters[-1:] == [end]) == (begin <= TOTAL)
    if begin == 37 and prune_ratio:
        assert validations.iters[0] < 37 and len(validations.iters) > 2


@pytest.mark.parametrize('prune_ratio', [0.0, 0.9])
def test_the_interval_of_validation_changes_at_its_share_of_the_schedule(tmp_path, prune_ratio):
    loop = dict(ITERS, val_interval=7, dynamic_intervals=[(24, 4), (50, 1)])
    runner, validations, _ = train(tmp_path, loop, prune_ratio=prune_ratio)
    expected = []
    for at, step in enumerate(validations.steps, 1):
        # As mmengine, which looks at the iteration that follows.
        interval = 1 if step + 1 >= 50 else 4 if step + 1 >= 24 else 7
        if at % interval == 0 or at == runner.iter:
            expected.append(at)
    assert validations.iters == expected
    if prune_ratio == 0:
        assert expected == [7, 14, 21, *range(24, 49, 4), *range(49, 65)]


def test_with_a_budget_of_iterations_steps_are_iterations(tmp_path):
    loop = dict(ITERS, val_begin=50, val_interval=5, budget='iterations')
    runner, validations, named = train(tmp_path, loop, WarmUp(50))
    assert runner.iter == TOTAL and not named
    assert validations.iters == [50, 55, 60, 64]


@pytest.mark.parametrize('prune_ratio', [0.0, 0.9])
def test_settings_in_epochs_mean_the_same_epochs(tmp_path, prune_ratio):
    ema = EMAHook(begin_epoch=4, momentum=0.1)
    stopping = EarlyStoppingHook('accuracy', rule='greater', patience=4)
    checkpoints = dict(type='CheckpointHook', interval=2, save_begin=3, by_epoch=True)
    loop = dict(EPOCHS, val_begin=3, val_interval=2, dynamic_intervals=[(6, 1)])
    runner, validations, named = train(
        tmp_path,
        loop,
        ema,
        stopping,
        prune_ratio=prune_ratio,
        default_hooks=dict(checkpoint=checkpoints),
    )
    assert not named
    assert validations.epochs == [4, 5, 6, 7, 8]
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == [
        f'epoch_{epoch}.pth' for epoch in (3, 5, 7, 8)
    ]
    assert int(ema.ema_model.steps) == 5 * PASS
    assert stopping.wait_count == 4 and runner.train_loop.stop_training


# ----------------------------------------------------------------------- what is named


class WarmUp(Hook):
    def __init__(self, warmup_iters):
        self.warmup_iters = warmup_iters

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.factor = min(1, runner.iter / self.warmup_iters)


class Private(Hook):
    def __init__(self, begin):
        self._begin = begin

    def factor(self, iteration):
        return iteration >= self._begin

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.on = self.factor(runner.iter)


class AnyName(Hook):
    """Where a number lies beside the iteration, its name does not matter."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            self.on = True


class Milestones(Hook):
    def __init__(self, *milestones):
        self.milestones = milestones

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.stage = sum(runner.iter >= each for each in self.milestones)


class Nested(Hook):
    def __init__(self, frozen):
        self.settings = dict(frozen=frozen)
        self.frozen = self.settings

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now = [name for name, until in self.frozen.items() if runner.iter < until]


class Counts(Hook):
    """It counts its own calls."""

    def __init__(self, start_step):
        self.start_step, self.calls = start_step, 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls += 1


class Share(Hook):
    """It has no number at all."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.progress = runner.iter / runner.max_iters


class Epochs(Hook):
    """Epochs, of a length that is that of one pruned pass."""

    def __init__(self, warmup_epochs):
        self.warmup_epochs = warmup_epochs

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.factor = runner.iter / (self.warmup_epochs * len(runner.train_dataloader))


class Hub(Hook):
    def __init__(self, ramp):
        self.ramp = ramp

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.factor = MessageHub.get_current_instance().get_info('iter') / self.ramp


class HandsOn(Hook):
    """It hands the iteration to the model."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.local_iter = runner.iter


class HandsOnBySetattr(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        setattr(runner.model, 'local_iter', runner.iter)  # noqa: B010


class StepsSchedulers(Hook):
    """It counts by its calls, and reads no iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for scheduler in runner.param_schedulers or []:
            scheduler.step()


class Decays(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for group in runner.optim_wrapper.param_groups:
            group['lr'] *= 0.999


class ReadsRates(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        print([group['lr'] for group in runner.optim_wrapper.param_groups])


class Rare(Hook):
    def __init__(self, interval):
        self.interval = interval

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.on = self.every_n_train_iters(runner, self.interval)


class MyCheckpointHook(CheckpointHook):
    """A subclass, with a setting of its own."""

    def __init__(self, switch_at, **kwargs):
        super().__init__(**kwargs)
        self.switch_at = switch_at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.switched = runner.iter >= self.switch_at


class Logs(Hook):
    """It says which iteration it is, every now and then."""

    def __init__(self, interval=10, window_size=50):
        self.interval, self.window_size, self.name = interval, window_size, 'logs'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.every_n_train_iters(runner, self.interval):
            self.line = f'{self.name} {runner.iter}'


@HOOKS.register_module()
class Closure(Hook):
    """Its setting is in its config, not in an attribute."""

    def __init__(self, warmup_iters):
        self.factor = lambda iteration: min(1, iteration / warmup_iters)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now = self.factor(runner.iter)


OURS = dict(type='InfoBatchHook')
PATIENT = dict(type='ReduceOnPlateauLR', monitor='accuracy', rule='greater', patience=3)
NAMED = {
    'WarmUp.warmup_iters=50': [WarmUp(50)],
    'Private.begin=50': [Private(50)],
    'AnyName.at=50': [AnyName(50)],
    'AnyName.at=50.0': [AnyName(5e1)],
    'Milestones.milestones=(20, 50)': [Milestones(20, 50)],
    "Nested.frozen={'frozen': 50}": [Nested(50)],
    'Counts.start_step=50': [Counts(50)],
    'Share.before_train_iter': [Share()],
    'Epochs.before_train_iter': [Epochs(3)],
    'Hub.ramp=50': [Hub(50)],
    'HandsOn.before_train_iter': [HandsOn()],
    'HandsOnBySetattr.before_train_iter': [HandsOnBySetattr()],
    'StepsSchedulers.after_train_iter': [StepsSchedulers()],
    'Decays.after_train_iter': [Decays()],
    'Rare.interval=64': [Rare(64)],
    'MyCheckpointHook.switch_at=50': [MyCheckpointHook(50, by_epoch=False)],
    'MyCheckpointHook.save_begin=50': [MyCheckpointHook(3, by_epoch=False, save_begin=50)],
    'CheckpointHook.save_begin=50': [CheckpointHook(interval=5, by_epoch=False, save_begin=50)],
    'CheckpointHook.interval=64': [CheckpointHook(interval=64, by_epoch=False, save_last=False)],
}
BY_ITERATION_ONLY = {
    'EarlyStoppingHook.patience=30': [EarlyStoppingHook('accuracy', rule='greater', patience=30)],
    'PreciseBNHook.interval=64': [hooks.PreciseBNHook(interval=64)],
}
CASES = [
    *((loop, name, registered) for loop in (ITERS, EPOCHS) for name, registered in NAMED.items()),
    *((ITERS, name, registered) for name, registered in BY_ITERATION_ONLY.items()),
]


@pytest.mark.parametrize('loop, name, registered', CASES, ids=lambda value: str(value)[:40])
def test_a_setting_that_counts_iterations_of_the_run_is_named_when_training_starts(
    tmp_path, loop, name, registered
):
    _, _, named = train(tmp_path, loop, *map(copy.copy, registered))
    assert len(named) == 1 and name in named[0]
    assert 'the end of its schedule' in named[0] and '64' in named[0]
    by_steps = not name.startswith(('MyCheck', 'Check', 'Early', 'Precise'))
    assert named[0].count(name) == 1
    assert (f"by_steps=['{name.split('.')[0]}']" in named[0]) == by_steps


NOT_NAMED = {
    'in the first pass': (ITERS, [WarmUp(8), AnyName(8), Milestones(3, 8)], {}),
    'none is late': (ITERS, [AnyName(None), Counts(0), Milestones(), Nested(True)], {}),
    'an interval': (ITERS, [Rare(32), CheckpointHook(interval=20, by_epoch=False)], {}),
    'it is the last that is saved': (ITERS, [CheckpointHook(interval=64, by_epoch=False)], {}),
    'by epoch': (EPOCHS, [CheckpointHook(interval=3, save_begin=6), hooks.PreciseBNHook(8, 9)], {}),
    'of epochs': (EPOCHS, [EarlyStoppingHook('accuracy', rule='greater', patience=30)], {}),
    'by steps': (ITERS, [EMAHook(begin_iter=50), EMAHook('mmpretrain.CosineEMA')], {}),
    'named': (ITERS, [WarmUp(50)], dict(custom_hooks=[dict(OURS, by_steps=['WarmUp'])])),
    'logs': (ITERS, [Logs(), ReadsRates()], {}),
    'nothing prunes': (ITERS, [WarmUp(50)], dict(delta=0.0)),
    'a scheduler of epochs': (EPOCHS, [], dict(param_scheduler=dict(PATIENT))),
}


@pytest.mark.filterwarnings('ignore:The metric `accuracy`')
@pytest.mark.parametrize('case', NOT_NAMED)
def test_nothing_else_is_named(tmp_path, case):
    loop, registered, kwargs = NOT_NAMED[case]
    assert not train(tmp_path, dict(loop), *registered, **kwargs)[2]


@pytest.mark.parametrize('kind', ['Closure', Closure])
def test_what_is_only_in_the_config_of_a_hook_is_named(tmp_path, kind):
    custom = [dict(type=kind, warmup_iters=50), OURS]
    _, _, named = train(tmp_path, ITERS, custom_hooks=custom, cfg=dict(custom_hooks=custom))
    assert 'Closure.warmup_iters=50' in named[0]


@pytest.mark.filterwarnings('ignore:The metric `accuracy`')
def test_the_patience_of_a_scheduler_that_counts_validations_is_named(tmp_path):
    _, _, named = train(tmp_path, ITERS, param_scheduler=dict(PATIENT))
    assert 'ReduceOnPlateauLR.patience=3, cooldown=0' in named[0]


def test_a_static_policy_prunes_the_first_pass_so_a_setting_in_it_is_named(tmp_path):
    for policy, expected in (('StaticRandom', 1), ('SoftPruning', 0)):
        sampler = dict(policy=dict(type=policy), delta=1.0)
        assert len(train(tmp_path, ITERS, WarmUp(5), sampler=sampler)[2]) == expected


# ------------------------------------------------------------------------------ the model


class FromHub(nn.Module):
    def __init__(self, warmup_iters):
        super().__init__()
        self.warmup_iters = warmup_iters

    def forward(self, loss):
        return loss * min(1, MessageHub.get_current_instance().get_info('iter') / self.warmup_iters)


class FromDict(nn.Module):
    def __init__(self, burn_in_steps):
        super().__init__()
        self.train_cfg = dict(burn_in_steps=burn_in_steps)

    def forward(self, loss):
        at = MessageHub.get_current_instance().get_info('iter')
        return loss * (at > self.train_cfg['burn_in_steps'])


class OwnCounter(nn.Module):
    def __init__(self, begin_iter):
        super().__init__()
        self.begin_iter, self.calls = begin_iter, 0

    def forward(self, loss):
        self.calls += 1
        return loss * (self.calls > self.begin_iter)


class OwnRamp(nn.Module):
    """As the mean teachers of domain adaptation."""

    def __init__(self, max_iters):
        super().__init__()
        self.max_iters, self.local_iter = max_iters, 0

    def forward(self, loss):
        self.local_iter += 1
        return loss * self.local_iter / self.max_iters


class Iterates(nn.Module):
    """It has iterations of its own, within one of the run."""

    num_iters, train_steps = 50, 60

    def __init__(self):
        super().__init__()
        self.num_iterations, self.steps, self.epoch_begin = 50, 60, 70


@pytest.mark.parametrize(
    'part, name',
    [
        (FromHub(50), 'model.part (FromHub).warmup_iters=50'),
        (FromDict(50), 'model.part (FromDict).burn_in_steps=50'),
        (OwnCounter(50), 'model.part (OwnCounter).begin_iter=50'),
        (OwnRamp(64), 'model.part (OwnRamp).max_iters=64'),
        (CosineEMA(nn.Linear(2, 2)), 'model.part (CosineEMA).forward (which reads the iteration)'),
        (MomentumAnnealingEMA(nn.Linear(2, 2), gamma=70), 'gamma=70 (of updates)'),
        (Iterates(), None),
        (OwnRamp(4), None),
        (FromHub(8), None),
        (FromDict(8), None),
        (ExponentialMovingAverage(nn.Linear(2, 2)), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_part_of_the_model_that_counts_iterations_is_named(tmp_path, part, name):
    model = Validated()
    model.part = part
    _, _, named = train(tmp_path, ITERS, model=model)
    assert len(named) == (name is not None)
    assert all(name in text for text in named)
    assert not any('by_steps' in text for text in named)


class WarmedUp(torch.optim.SGD):
    """As optimizers without a schedule."""

    def __init__(self, params, lr, warmup_steps):
        super().__init__(params, lr)
        self.defaults['warmup_steps'] = warmup_steps


@pytest.mark.parametrize('steps, count', [(50, 1), (8, 0)])
def test_an_optimizer_that_counts_its_steps_is_named(tmp_path, steps, count):
    model = Validated()
    wrapper = OptimWrapper(WarmedUp(model.parameters(), 0.1, steps))
    _, _, named = train(tmp_path, ITERS, model=model, optim_wrapper=wrapper)
    assert len(named) == count
    assert all('WarmedUp.warmup_steps=50' in text for text in named)


# ---------------------------------------------------------------------------- the numbers


def texts(messages):
    return [text for text in messages.texts if 'WarmUp.warmup_iters' in text]


def test_when_the_end_can_be_estimated_the_same_share_is_said(tmp_path):
    runner, _, messages = build(tmp_path, ITERS, WarmUp(50), Milestones(3, 40))
    estimates = []
    runner.register_hook(Estimates(estimates), 'LOWEST')
    runner.train()
    first, second = texts(messages)
    assert 'expected end from the second pass on' in first and 'share of iteration' not in first
    end = next(each for each in estimates if each < TOTAL)
    assert f'expected to end at iteration {end}' in second
    assert f'WarmUp.warmup_iters=50 is the share of iteration {50 * end // TOTAL}' in second
    assert ('and is not reached' in second) == (end <= 50) and 'Milestones' not in second


class Estimates(Hook):
    def __init__(self, seen):
        self.seen = seen

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(runner.train_loop.max_iters)


@pytest.mark.parametrize('loop', [ITERS, EPOCHS], ids=lambda loop: loop['type'])
def test_a_run_that_is_resumed_in_the_middle_is_warned_too(tmp_path, loop):
    saving = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
    whole, _, _ = train(tmp_path, loop, WarmUp(50), default_hooks=saving)
    runner, _, messages = build(
        tmp_path / 'resumed', loop, WarmUp(50), load_from=str(tmp_path / 'iter_20.pth'), resume=True
    )
    runner.train()
    assert runner.iter == whole.iter
    (text,) = texts(messages)
    assert 'by_steps' in text and 'expected to end at iteration' in text
    assert 'WarmUp.warmup_iters=50 is the share of iteration' in text


class Stop(Hook):
    """Stop training after five epochs, once."""

    def after_train_epoch(self, runner):
        runner.train_loop.stop_training = runner.epoch == 4


def test_the_message_hub_has_the_length_of_the_schedule_also_when_training_goes_on(tmp_path):
    runner, _, _ = train(tmp_path, EPOCHS, Stop())
    assert runner.epoch == 5 and runner.max_iters < TOTAL
    runner.train_loop.stop_training = False
    runner.train()
    assert runner.epoch == 8
    assert runner.message_hub.get_info('max_iters') == TOTAL > runner.max_iters


def test_an_average_by_the_length_of_the_run_follows_it_in_batches_of_another_size(tmp_path):
    """The length is that of the schedule, whose steps are those of the run that began."""
    checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=5)
    train(tmp_path, EPOCHS, default_hooks=dict(checkpoint=checkpoint))
    hook = EMAHook('mmpretrain.CosineEMA', momentum=0.3, end_momentum=0.01)
    runner, _, _ = train(
        tmp_path,
        EPOCHS,
        hook,
        batch_size=8,
        load_from=str(tmp_path / 'epoch_5.pth'),
        resume=True,
    )
    assert runner.train_loop.schedule.total == TOTAL
    assert runner.message_hub.get_info('max_iters') == TOTAL
    average = hook.ema_model.module.head.weight
    before, weight = average.clone(), runner.model.head.weight
    hook.ema_model.steps.fill_(TOTAL)  # where the momentum is end_momentum
    hook.ema_model.update_parameters(runner.model)
    assert torch.allclose(average, before + 0.01 * (weight - before), atol=1e-6)


# --------------------------------------------------------------- every hook of the toolboxes

# Those that are called by steps are in BY_STEPS; these settings are named where they are late.
SETTINGS = {
    'CheckpointHook': 'save_begin, and an interval without a last checkpoint',
    'EarlyStoppingHook': 'patience, of validations',
    'PreciseBNHook': 'an interval that says when',
}
NOTHING = {
    'ClassNumCheckHook': 'it acts before training',
    'DistSamplerSeedHook': 'by epoch; the sampler ignores it',
    'EmptyCacheHook': 'every iteration, or epoch',
    'InfoBatchHook': 'ours',
    'IterTimerHook': 'the expected end',
    'LoggerHook': 'intervals of the log',
    'NPUProfilerHook': 'it measures iterations',
    'NaiveVisualizationHook': 'validation',
    'PrepareProtoBeforeValLoopHook': 'validation',
    'PrepareTTAHook': 'test',
    'ProfilerHook': 'it measures iterations',
    'RuntimeInfoHook': 'iteration and learning rate, as they are',
    'SegVisualizationHook': 'every so many batches of a validation',
    'SetAdaptiveMarginsHook': 'it acts before training',
    'SimSiamHook': 'the same learning rate in each iteration',
    'SwitchRecipeHook': 'by epoch',
    'SyncBuffersHook': 'every epoch or validation',
    'VisualizationHook': 'every so many batches of a validation',
}


def toolbox_hooks():
    found = {}
    for registry in (HOOKS, *HOOKS.children.values()):
        for cls in registry.module_dict.values():
            if cls.__module__.split('.')[0] in ('mmengine', 'mmseg', 'mmpretrain', 'mm_infobatch'):
                found[cls.__name__] = cls
    return found


@pytest.mark.parametrize('name', sorted(toolbox_hooks()))
def test_what_becomes_of_each_hook_of_the_toolboxes_is_decided(name):
    by_steps = is_of_class(object.__new__(toolbox_hooks()[name]), BY_STEPS)
    assert [by_steps, name in SETTINGS, name in NOTHING].count(True) == 1


def test_the_hooks_that_are_called_by_steps_are_there():
    for name in BY_STEPS:
        module, cls = name.rsplit('.', 1)
        assert getattr(importlib.import_module(module), cls).__name__ == cls


def test_of_the_models_of_the_toolboxes_only_an_average_reads_the_iteration():
    found = set()
    for registry in (MODELS, *MODELS.children.values()):
        for cls in registry.module_dict.values():
            if isinstance(cls, type) and any(reads.hub for _, reads in functions_of(cls)):
                found.add(cls.__name__)
    assert found == {'CosineEMA'}
