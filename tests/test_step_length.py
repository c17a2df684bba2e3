"""How long steps are: the arithmetic, the peak of every scheduler, optimizers, and whole runs."""

import importlib
import math
import warnings
from types import SimpleNamespace

import pytest
import toolbox_runs as runs
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict, ZeroRedundancyOptimizer
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
from small_runner import Classifier, Flat, Points, Validated, small_runner
from torch import nn

import mm_infobatch
from mm_infobatch import CannotConvert, InfoBatchHook, InfoBatchLoss, convert
from mm_infobatch.losses.model_losses import ModelLosses
from mm_infobatch.passes.schedule import PassSchedule
from mm_infobatch.training.gradient_response import follows_rate, is_proportional
from mm_infobatch.training.peak_rates import effective_rate, keep_first_rates, peak_rates
from mm_infobatch.training.step_length import StepLength, require_step_length, step_length

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolbox says when imported is not about us
    importlib.import_module('mmpretrain.engine.optimizers')

pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
    # At the end of an epoch, a scheduler steps before a resumed process has trained.
    pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step'),
]

# ------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize(
    'setting, mean_weight, room, expected',
    [
        ('paper', 1.5, 1.0, 1.5),
        ('normalized', 1.5, 9.0, 1.0),
        (1.2, 1.5, 9.0, 1.2),
        (1.2, 1.1, 9.0, 1.1),
        ('capped', 1.5, 9.0, 1.5),
        ('capped', 1.5, 1.3, 1.3),
        ('capped', 1.5, 1.0, 1.0),
        ('capped', 1.5, 0.5, 1.0),  # a hook sets a rate above the schedule's
        ('capped', 1.0, 9.0, 1.0),  # nothing is pruned, or the policy's weights are 1
        ('normalized', 1.0, 9.0, 1.0),
        (1.2, 1.0, 9.0, 1.0),
    ],
)
def test_the_length_of_steps(setting, mean_weight, room, expected):
    assert step_length(setting, mean_weight, room) == expected


@pytest.mark.parametrize(
    'value, error',
    [
        ('longer', ValueError),
        (0.9, ValueError),
        (0, ValueError),
        (math.inf, ValueError),
        (math.nan, ValueError),
        (True, TypeError),
        (None, TypeError),
        ([1.2], TypeError),
    ],
)
def test_a_setting_that_cannot_be_is_refused(value, error):
    with pytest.raises(error, match='step_length'):
        require_step_length(value)
    with pytest.raises(error, match='step_length'):
        InfoBatchHook(step_length=value)


# ----------------------------------------------------------------------- peaks

STEPS, EPOCH = 48, 6


def cosine(start, end, share):
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


ONE_CYCLE = dict(type='OneCycleLR', eta_max=0.4, total_steps=48, by_epoch=False)
# The peak of the cycle lies at step 0.3 * 48 - 1 = 13.4, between two steps.
ONE_CYCLE_PEAK = max(cosine(0.4 / 25, 0.4, 13 / 13.4), cosine(0.4, 0.4 / 25e4, 0.6 / 33.6))
WARM_UP = dict(type='LinearLR', start_factor=0.1, begin=0, end=9, by_epoch=False)
PLATEAU = dict(type='ReduceOnPlateauLR', monitor='accuracy', patience=0, by_epoch=True)
# name: schedulers, peak by iteration, peak by epoch where it is another one
PEAKS = {
    'none': ([], 0.1, None),
    'poly': ([dict(type='PolyLR', power=0.9, end=48, by_epoch=False)], 0.1, None),
    'warm-up, poly': (
        [WARM_UP, dict(type='PolyLR', power=0.9, begin=9, end=48, by_epoch=False)],
        0.1,
        None,
    ),
    'a warm-up that the run does not finish': (
        [dict(WARM_UP, end=96)],
        0.1 * (0.1 + 0.9 * 47 / 95),
        None,
    ),
    'a constant factor from first to last': (
        [dict(type='ConstantLR', factor=0.25, end=1000, by_epoch=False)],
        0.025,
        None,
    ),
    'a constant factor at first': (
        [dict(type='ConstantLR', factor=0.25, end=5, by_epoch=False)],
        0.1,
        None,
    ),
    'one cycle': ([ONE_CYCLE], ONE_CYCLE_PEAK, None),
    'one cycle, linear, by epoch': (
        [dict(ONE_CYCLE, total_steps=8, pct_start=0.5, anneal_strategy='linear', by_epoch=True)],
        0.4 / 25,  # an iteration loop does not step it
        0.4,
    ),
    'multi-step': (
        [dict(type='MultiStepLR', milestones=[8, 30], gamma=0.1, by_epoch=False)],
        0.1,
        None,
    ),
    'multi-step, upwards, by epoch': (
        [dict(type='MultiStepLR', milestones=[2, 4], gamma=3, by_epoch=True)],
        0.1,
        0.9,
    ),
    'cosine with a stronger restart': (
        [
            dict(type='CosineRestartLR', periods=[10, 20, 18], restart_weights=[0.5, 1.5, 0.25],
                 eta_min=0.0, by_epoch=False)
        ],
        0.15,
        None,
    ),
    'a warm-up by iteration, steps by epoch': (
        [WARM_UP, dict(type='StepLR', step_size=3, gamma=0.5, by_epoch=True)],
        0.1,
        # In the epoch of its end, step 6 to 11, nothing has dropped yet.
        0.1,
    ),
    'a metric': ([PLATEAU], 0.1, None),
    'a metric, warm-up': ([PLATEAU, WARM_UP], 0.1, None),
}  # fmt: skip


def wrapper_of(groups=((0.1, 1.0),), **kwargs):
    made = [
        dict(params=[nn.Parameter(torch.ones(1))], lr=lr, weight_decay=0.1 * decay)
        for lr, decay in groups
    ]
    return OptimWrapper(torch.optim.SGD(made, lr=0.1, **{'momentum': 0.0, **kwargs}))


def built(schedulers, wrapper):
    return [
        PARAM_SCHEDULERS.build(dict(one), default_args=dict(optimizer=wrapper, epoch_length=EPOCH))
        for one in schedulers
    ]


def walk(wrapper, schedulers, steps, by_epoch):
    for step in range(1, steps + 1):
        wrapper.optimizer.step()
        wrapper._global_step = 0
        for one in schedulers:
            if not one.by_epoch or (by_epoch and step % EPOCH == 0):
                one.step(*([dict(accuracy=1.0)] if getattr(one, 'need_val_args', False) else []))


@pytest.mark.parametrize('by_epoch', [False, True])
@pytest.mark.parametrize('name', PEAKS)
def test_the_peak_of_a_schedule(name, by_epoch):
    configs, by_iteration, of_epochs = PEAKS[name]
    expected = of_epochs if by_epoch and of_epochs is not None else by_iteration
    wrapper = wrapper_of()
    schedulers = built(configs, wrapper)
    before = [dict(group) for group in wrapper.param_groups]
    epoch = EPOCH if by_epoch else None
    (peak,) = first = peak_rates(wrapper.param_groups, schedulers, STEPS, epoch)
    assert peak == pytest.approx(expected, rel=1e-9)
    assert [dict(group) for group in wrapper.param_groups] == before
    # Whatever has been walked, it is the same to the last bit, as after a resume.
    for steps in (7, 25):
        walk(wrapper, schedulers, steps, by_epoch)
        assert peak_rates(wrapper.param_groups, schedulers, STEPS, epoch) == first


def test_the_rate_before_a_cycle_that_begins_later_counts():
    wrapper = wrapper_of([(0.5, 1), (0.1, 1)])
    schedulers = built([dict(ONE_CYCLE, begin=9, total_steps=39)], wrapper)
    keep_first_rates(wrapper.param_groups)
    for steps in (0, 7, 25):
        walk(wrapper, schedulers, steps, by_epoch=False)
        found = peak_rates(wrapper.param_groups, schedulers, STEPS)
        assert found == pytest.approx([0.5, 0.4, 0.4], rel=5e-3)  # one of mmengine's


def test_the_first_rates_are_numbers_in_the_groups():
    """Whatever saves an optimizer takes numbers; not all take a dict."""
    groups = [dict(lr=torch.tensor(0.5), momentum=None), dict(lr=0.25, momentum=0.9)]
    keep_first_rates(groups)
    assert groups[0] == dict(lr=torch.tensor(0.5), momentum=None, first_lr=0.5)
    assert groups[1] == dict(lr=0.25, momentum=0.9, first_lr=0.25, first_momentum=0.9)


def test_each_group_has_its_own_peak():
    wrapper = wrapper_of([(0.1, 1), (0.01, 1), (0.1, 0), (0.1, 1)])
    schedulers = built([WARM_UP, dict(type='PolyLR', begin=9, end=48, by_epoch=False)], wrapper)
    found = peak_rates(wrapper.param_groups, schedulers, STEPS)
    assert found == pytest.approx([0.1, 0.01, 0.1, 0.1, 0.1])  # and one of mmengine's
    wrapper = wrapper_of([(0.1, 1), (0.1, 1)])
    schedulers = built([dict(ONE_CYCLE, eta_max=[0.4, 0.04, 0.4])], wrapper)
    found = peak_rates(wrapper.param_groups, schedulers, STEPS)
    assert found == pytest.approx([ONE_CYCLE_PEAK, ONE_CYCLE_PEAK / 10, ONE_CYCLE_PEAK])


class EachItsOwn(PARAM_SCHEDULERS.get('ConstantLR')):
    """A scheduler of a user's, with a factor for each group that is in no group."""

    def __init__(self, *args, factors, **kwargs):
        self.factors = factors
        super().__init__(*args, **kwargs)

    def _get_value(self):
        return [base * factor for base, factor in zip(self.base_values, self.factors)]


def test_a_scheduler_of_a_users_may_know_groups_apart_that_look_alike():
    wrapper = wrapper_of([(0.1, 1), (0.1, 1)])
    scheduler = EachItsOwn(wrapper, factors=[1, 3, 2], by_epoch=False)
    for group in wrapper.param_groups:
        group['lr'] = 0.1
    assert peak_rates(wrapper.param_groups, [scheduler], 5) == pytest.approx([0.1, 0.3, 0.2])


def test_a_scheduler_that_logs_its_values_logs_none_that_is_not_trained(monkeypatch):
    wrapper, printed = wrapper_of(), []
    monkeypatch.setattr(
        'mmengine.optim.scheduler.param_scheduler.print_log',
        lambda text, **kwargs: printed.append(text),
    )
    schedulers = built([dict(WARM_UP, verbose=True)], wrapper)
    before = len(printed)
    peak_rates(wrapper.param_groups, schedulers, STEPS)
    assert len(printed) == before == 1 and schedulers[0].verbose


def test_momentum_makes_steps_longer_where_it_adds_gradients_up():
    assert effective_rate(dict(lr=0.1, momentum=0.9)) == pytest.approx(1.0)
    assert effective_rate(dict(lr=0.1, betas=(0.9, 0.99), momentum=0.9)) == 0.1
    assert effective_rate(dict(lr=0.1)) == 0.1
    wrapper = wrapper_of(momentum=0.9)
    cycle = [ONE_CYCLE, dict(type='OneCycleMomentum', total_steps=48, by_epoch=False)]
    (peak,) = peak_rates(wrapper.param_groups, built(cycle, wrapper), STEPS)
    rates = []
    for step in range(STEPS):
        low, high = (0, 13.4) if step <= 13.4 else (13.4, 47)
        ends = (
            [(0.4 / 25, 0.4), (0.95, 0.85)] if step <= 13.4 else [(0.4, 0.4 / 25e4), (0.85, 0.95)]
        )
        lr, momentum = (cosine(*pair, (step - low) / (high - low)) for pair in ends)
        rates.append(lr / (1 - momentum))
    assert peak == pytest.approx(max(rates), rel=1e-9) and peak < 0.4 / (1 - 0.9)


# ------------------------------------------------------------------ optimizers

PROPORTIONAL = {
    'SGD': [dict(), dict(momentum=0.9), dict(momentum=0.9, nesterov=True, weight_decay=0.1)],
    'ASGD': [dict()],
}
OTHERS = ['Adam', 'AdamW', 'RAdam', 'Adagrad', 'RMSprop', 'Lamb', 'LARS', 'LBFGS', 'Rprop']
MOMENTUM = {  # what else to measure, as mmpretrain's configs have it
    'LARS': [dict(), dict(momentum=0.9), dict(momentum=0.9, nesterov=True)],
    'RMSprop': [dict(), dict(momentum=0.9)],
}
OWN_STEP_SIZES = ['ASGD', 'Rprop']  # which do not follow the learning rate from step to step
if 'TorchAdafactor' in OPTIMIZERS:  # with PyTorch 2.5 or newer, and the forks
    OTHERS.append('TorchAdafactor')
    OWN_STEP_SIZES.append('TorchAdafactor')


@pytest.mark.parametrize('name', [*PROPORTIONAL, *OTHERS])
def test_what_a_step_is_proportional_to_is_measured(name):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        cls = OPTIMIZERS.get(f'mmpretrain.{name}') or OPTIMIZERS.get(name)
    for kwargs in {**PROPORTIONAL, **MOMENTUM}.get(name, [dict()]):
        parameter = nn.Parameter(torch.ones(2, 2))
        optimizer = cls([parameter], lr=0.01, **kwargs)
        assert is_proportional(optimizer) == (name in PROPORTIONAL)
        assert follows_rate(optimizer) == (name not in OWN_STEP_SIZES)
        assert parameter.eq(1).all() and parameter.grad is None
        assert all('momentum_buffer' not in state for state in optimizer.state.values())
        assert optimizer.param_groups[0]['lr'] == 0.01


def test_one_group_that_divides_by_the_gradient_decides():
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, 2))
    lars = OPTIMIZERS.get('mmpretrain.LARS')
    groups = [dict(params=[first], lars_exclude=True), dict(params=[second])]
    assert is_proportional(lars(groups[:1], lr=0.1, momentum=0.9))
    assert not is_proportional(lars(groups, lr=0.1, momentum=0.9))


@pytest.mark.parametrize('kind, proportional', [('SGD', True), ('Adam', False)])
def test_an_optimizer_whose_state_the_ranks_divide_is_measured_by_the_one_inside(
    kind, proportional
):
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        optimizer = ZeroRedundancyOptimizer([nn.Parameter(torch.ones(2, 2))], kind, lr=0.01)
        assert is_proportional(optimizer) == proportional
        assert optimizer.param_groups[0]['params'][0].eq(1).all()
    finally:
        torch.distributed.destroy_process_group()


class NoOptimizer:
    """Takes steps, but has none of the hooks of PyTorch's optimizers."""

    param_groups = [dict(params=[], lr=0.1)]


def test_an_optimizer_whose_rate_cannot_be_set_for_a_step_is_refused(tmp_path):
    runner, _ = build(tmp_path, LOOPS[0])
    runner.optim_wrapper.optimizer = NoOptimizer()
    with pytest.raises(ValueError, match='NoOptimizer.*step_length=.paper'):
        StepLength('capped').begin_run(runner, 'schedule')
    assert 'do not change' in StepLength('paper').begin_run(runner, 'schedule')


@pytest.mark.parametrize('setting', ['normalized', 'capped', 1.2])
def test_an_optimizer_that_does_not_follow_its_rate_is_refused(tmp_path, setting):
    runner, _ = build(tmp_path, LOOPS[0], optimizer=dict(type='Rprop', lr=0.01), length=setting)
    with pytest.raises(ValueError, match=f'step_length={setting!r} cannot be set for Rprop'):
        runner.train()
    runner, _ = build(tmp_path, LOOPS[0], optimizer=dict(type='Rprop', lr=0.01))
    runner.train()


@PARAM_SCHEDULERS.register_module()
class LooksAtParameters(PARAM_SCHEDULERS.get('ConstantLR')):
    """A scheduler of a user's, which the copies that walk the schedule cannot be."""

    def _get_value(self):
        assert self.optimizer.param_groups[0]['params'][0].requires_grad
        return super()._get_value()


def test_a_scheduler_that_cannot_be_walked_is_refused_where_the_peak_is_needed(tmp_path):
    scheduler = dict(type='LooksAtParameters', factor=0.5, begin=0, end=3, by_epoch=False)
    runner, _ = build(tmp_path, LOOPS[0], 'capped', param_scheduler=scheduler)
    with pytest.raises(ValueError, match='a copy of the param_scheduler.*KeyError.*=paper'):
        runner.train()
    runner, _ = build(tmp_path, LOOPS[0], 'normalized', param_scheduler=scheduler)
    runner.train()


# ------------------------------------------------------------------------ runs

LOOPS = [
    dict(type='InfoBatchEpochLoop', max_epochs=8),
    dict(type='InfoBatchIterLoop', max_iters=48, val_interval=100),
    dict(type='InfoBatchIterLoop', max_iters=48, val_interval=100, budget='iterations'),
]
loops = pytest.mark.parametrize('loop', LOOPS, ids=['epochs', 'iterations', 'budget'])
FALLING = dict(type='LinearLR', start_factor=1, end_factor=0.25, end=48, by_epoch=False)
SGD = dict(type='SGD', lr=0.1, momentum=0.9)
ADAM = dict(type='AdamW', lr=0.1)


class Trace(Hook):
    """Keep of each iteration the weights as they reach the loss, the rate that is seen, and the
    rates with which the optimizer took its steps."""

    priority = 'LOWEST'

    def __init__(self):
        self.rows = []

    def before_train(self, runner):
        self.steps = []
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if optimizer is not None:
            plain = type(optimizer).step.__wrapped__

            def step(*args, **kwargs):
                self.steps.append(optimizer.param_groups[0]['lr'])
                return plain(*args, **kwargs)

            # What Optimizer.step runs between its hooks.
            cls = type(optimizer.__class__.__name__, (type(optimizer),), dict(step=step))
            cls.step.hooked = None
            optimizer.__class__ = cls
            optimizer._patch_step_function()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        group = (
            next(iter(runner.optim_wrapper.values()))
            if isinstance(runner.optim_wrapper, OptimWrapperDict)
            else runner.optim_wrapper
        ).param_groups[0]
        self.steps = []  # without those of a copy that was measured
        self.row = dict(
            step=runner.train_loop.schedule.walked,
            indices=data_batch['index'].tolist(),
            lr=group['lr'],
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        order = runner.train_loop.sampler.order
        of = dict(zip(order.indices.tolist(), order.weights.tolist()))
        self.row['mean'] = order.weights.double().mean().item()
        self.row['policy'] = [of[index] for index in self.row['indices']]
        used, self.steps = self.steps, []
        hub = runner.message_hub.log_scalars
        self.rows.append(
            dict(
                self.row,
                weights=runner.model.weights,
                used=used,
                loss=outputs['loss'].item(),
                all_data=hub['train/loss_all_data'].current(),
            )
        )


def build(work_dir, loop, length='paper', optimizer=SGD, prune_ratio=0.5, wrapper=None, **kwargs):
    kwargs.setdefault('param_scheduler', [dict(FALLING)])
    runner = small_runner(
        work_dir,
        dict(loop),
        sampler=dict(policy=dict(type='SoftPruning', prune_ratio=prune_ratio), delta=0.8),
        optim_wrapper=wrapper or dict(optimizer=dict(optimizer)),
        custom_hooks=[dict(type='InfoBatchHook', step_length=length)],
        **kwargs,
    )
    trace = Trace()
    runner.register_hook(trace)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    return runner, trace


def train(*args, **kwargs):
    runner, trace = build(*args, **kwargs)
    runner.train()
    return trace.rows, runner


def same(left, right):
    return all(torch.equal(left[key], right[key]) for key in left)


def pruned(rows):
    found = [row for row in rows if row['mean'] > 1]
    assert len(found) > 12
    return found


def expected_length(length, row):
    peak = 0.1 / row['lr']
    return {
        'paper': row['mean'],
        'normalized': 1.0,
        'capped': min(row['mean'], max(1.0, peak)),
    }.get(length, length)


@loops
@pytest.mark.parametrize('length', ['normalized', 'capped', 1.1])
def test_the_weights_of_sgd_are_scaled_to_the_length_of_the_steps(tmp_path, loop, length):
    rows, runner = train(tmp_path, loop, length)
    for row in pruned(rows):
        scale = expected_length(length, row) / row['mean']
        assert row['weights'] == pytest.approx([one * scale for one in row['policy']], rel=1e-6)
        assert row['used'] == [row['lr']]
        assert row['all_data'] == pytest.approx(row['loss'] / row['mean'] / scale, rel=1e-5)
    assert all(set(row['weights']) == {1.0} for row in rows if row['mean'] == 1)
    lengths = {round(expected_length(length, row), 3) for row in pruned(rows)}
    assert (len(lengths) > 3) == (length == 'capped')


@loops
@pytest.mark.parametrize('length', ['normalized', 'capped', 1.1])
def test_the_learning_rate_of_adam_is_multiplied_while_it_takes_a_step(tmp_path, loop, length):
    rows, runner = train(tmp_path, loop, length, ADAM)
    for row in pruned(rows):
        (used,) = row['used']
        assert used == pytest.approx(row['lr'] * expected_length(length, row), rel=1e-12)
        expected = [one / row['mean'] for one in row['policy']]
        assert row['weights'] == pytest.approx(expected, rel=1e-6)
    # What schedulers and logs see is the schedule, also at the end.
    for row in rows:
        expected = 0.1 * (1 - 0.75 * row['step'] / 47)
        assert row['lr'] == pytest.approx(expected, rel=1e-9)
        assert row['mean'] > 1 or row['used'] == [row['lr']]
    optimizer = runner.optim_wrapper.optimizer
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize('optimizer', [SGD, ADAM], ids=['SGD', 'AdamW'])
def test_the_papers_length_is_the_default_and_changes_nothing(tmp_path, optimizer):
    rows, runner = train(tmp_path / 'a', LOOPS[0], 'paper', optimizer)
    default = small_runner(
        tmp_path / 'b',
        dict(LOOPS[0]),
        sampler=dict(policy=dict(type='SoftPruning', prune_ratio=0.5), delta=0.8),
        optim_wrapper=dict(optimizer=dict(optimizer)),
        param_scheduler=[dict(FALLING)],
    )
    trace = Trace()
    default.register_hook(trace)
    default.optim_wrapper = default.build_optim_wrapper(default.optim_wrapper)
    default.train()
    assert trace.rows == rows and same(default.model.state_dict(), runner.model.state_dict())
    assert all(row['used'] == [row['lr']] for row in rows)
    assert {1.0} < {weight for row in pruned(rows) for weight in row['weights']}


@pytest.mark.parametrize('optimizer', [SGD, ADAM], ids=['SGD', 'AdamW'])
@pytest.mark.parametrize('length', ['normalized', 'capped', 1.3])
def test_a_run_that_prunes_nothing_is_the_same_at_every_length(tmp_path, length, optimizer):
    one, first = train(tmp_path, LOOPS[0], 'paper', optimizer, prune_ratio=0)
    two, second = train(tmp_path, LOOPS[0], length, optimizer, prune_ratio=0)
    assert one == two and same(first.model.state_dict(), second.model.state_dict())


def test_normalized_steps_are_those_of_normalized_weights(tmp_path):
    rows, runner = train(tmp_path, LOOPS[0], 'normalized')
    other = small_runner(
        tmp_path,
        dict(LOOPS[0]),
        sampler=dict(
            policy=dict(type='SoftPruning', prune_ratio=0.5, rescale='normalized'), delta=0.8
        ),
        optim_wrapper=dict(optimizer=dict(SGD)),
        param_scheduler=[dict(FALLING)],
    )
    other.train()
    for key, value in other.model.state_dict().items():
        assert torch.allclose(value, runner.model.state_dict()[key], rtol=1e-4, atol=1e-6)


class Lengths(Hook):
    """Keep what the hook under test does in each iteration."""

    priority = 'LOWEST'

    def __init__(self, hook, optimizer=None):
        self.hook, self.optimizer, self.rows = hook, optimizer, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now = effective_rate(
            (self.optimizer or runner.optim_wrapper.optimizer).param_groups[0]
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        steps = self.hook._step_length
        self.rows.append((self.hook._pass.mean_weight, steps.length, steps.scale, self.now))


@pytest.mark.parametrize('optimizer', [SGD, ADAM], ids=['SGD', 'AdamW'])
def test_a_capped_step_is_never_longer_than_the_longest_of_the_schedule(tmp_path, optimizer):
    hook = InfoBatchHook(step_length='capped')
    runner = small_runner(
        tmp_path,
        dict(LOOPS[0]),
        sampler=dict(delta=0.8),
        optim_wrapper=dict(optimizer=dict(optimizer)),
        param_scheduler=[
            dict(type='OneCycleLR', eta_max=0.3, total_steps=48, by_epoch=False),
            dict(type='OneCycleMomentum', total_steps=48, by_epoch=False),
        ],
        custom_hooks=[hook],
    )
    watch = Lengths(hook)
    runner.register_hook(watch)
    runner.train()
    ((peak,),) = hook._step_length._peaks
    assert all(length * now <= peak * (1 + 1e-12) for _, length, _, now in watch.rows)
    assert any(1 < length < mean for mean, length, *_ in watch.rows)
    assert any(1 < length == mean for mean, length, *_ in watch.rows)


@loops
@pytest.mark.parametrize('optimizer', [SGD, ADAM], ids=['SGD', 'AdamW'])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, loop, optimizer):
    kwargs = dict(
        param_scheduler=[
            dict(type='OneCycleLR', eta_max=0.3, total_steps=48, by_epoch=False),
            dict(type='OneCycleMomentum', total_steps=48, by_epoch=False),
        ]
    )
    saving = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
    rows, whole = train(tmp_path, loop, 'capped', optimizer, default_hooks=saving, **kwargs)
    for done in (9, 20):
        more = dict(kwargs, load_from=str(tmp_path / f'iter_{done}.pth'), resume=True)
        resumed, runner = train(tmp_path / f'from{done}', loop, 'capped', optimizer, **more)
        assert resumed == rows[done:]
        assert same(runner.model.state_dict(), whole.model.state_dict())


class Halved(Hook):
    """Sets the rate itself, where no scheduler does."""

    def before_train_epoch(self, runner):
        runner.optim_wrapper.param_groups[0]['lr'] = 0.1 / 2**runner.epoch


class Falls(Flat):
    """An accuracy that only falls."""

    def compute_metrics(self, results):
        self.last = getattr(self, 'last', 1.0) - 0.1
        return dict(accuracy=self.last)


@pytest.mark.filterwarnings('ignore:Due to inconsistent:UserWarning')
@pytest.mark.parametrize('by', ['hook', 'metric'])
def test_a_run_whose_rate_no_schedule_tells_is_resumed_with_the_same_room(tmp_path, by):
    def rows(work_dir, **kwargs):
        hook = InfoBatchHook(step_length='capped')
        runner = small_runner(
            work_dir,
            dict(LOOPS[0], val_interval=1),
            model=Validated(),
            custom_hooks=[hook, *([Halved()] if by == 'hook' else [])],
            param_scheduler=dict(PLATEAU, rule='greater', factor=0.7) if by == 'metric' else None,
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
            val_dataloader=dict(dataset=Points(4), collate_fn=dict(type='default_collate'),
                                sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(),
            val_evaluator=Evaluator(Falls()),
            **kwargs,
        )  # fmt: skip
        watch = Lengths(hook)
        runner.register_hook(watch)
        runner.train()
        return watch.rows

    whole = rows(tmp_path)
    resumed = rows(tmp_path / 'on', load_from=str(tmp_path / 'iter_20.pth'), resume=True)
    assert resumed == whole[20:] and any(length > 1 for _, length, *_ in resumed)


def test_accumulated_gradients_make_one_longer_step(tmp_path):
    settings = dict(type='OptimWrapper', accumulative_counts=2, optimizer=dict(ADAM))
    rows, _ = train(tmp_path, LOOPS[0], 1.2, wrapper=settings)
    assert {len(row['used']) for row in rows} == {0, 1}
    for row in pruned(rows):
        assert all(used == pytest.approx(1.2 * row['lr']) for used in row['used'])


class TwoOptimizers(Classifier):
    """A classifier whose bias has an optimizer of its own."""

    def train_step(self, data, optim_wrapper):
        losses = self(**self.data_preprocessor(data, True), mode='loss')
        parsed, log_vars = self.parse_losses(losses)
        parsed.backward()
        for wrapper in optim_wrapper.values():
            wrapper.step()
            wrapper.zero_grad()
        return log_vars


@pytest.mark.parametrize('kinds', [('SGD', 'SGD'), ('SGD', 'AdamW')])
def test_of_several_optimizers_the_one_with_least_room_decides(tmp_path, kinds):
    model = TwoOptimizers()
    wrappers = {
        name: OptimWrapper(getattr(torch.optim, kind)([parameter], lr=0.1))
        for kind, (name, parameter) in zip(kinds, model.head.named_parameters())
    }
    schedulers = dict(weight=[dict(FALLING)], bias=[dict(FALLING, end_factor=0.9)])
    hook = InfoBatchHook(step_length='capped')
    watch = Lengths(hook, wrappers['bias'].optimizer)
    runner = small_runner(
        tmp_path,
        dict(LOOPS[0]),
        model=model,
        optim_wrapper=OptimWrapperDict(**wrappers),
        param_scheduler=schedulers,
        custom_hooks=[hook],
    )
    runner.register_hook(watch)
    runner.train()
    for mean, length, scale, bias in watch.rows:
        assert length == pytest.approx(min(mean, 0.1 / bias) if mean > 1 else 1)
        assert scale == pytest.approx(length / mean if kinds[1] == 'SGD' else 1 / mean)
    assert any(1 < length < mean for mean, length, *_ in watch.rows)


@pytest.mark.parametrize('optimizer', [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_the_log_says_that_clipping_sets_the_length_of_clipped_steps_of_sgd(optimizer, clip):
    wrapper = OptimWrapper(optimizer([nn.Parameter(torch.ones(1))], lr=0.1), clip_grad=clip)
    line = StepLength().begin_run(SimpleNamespace(optim_wrapper=wrapper), PassSchedule(10, 5))
    assert ('clip_grad' in line) is (clip is not None and optimizer is torch.optim.SGD)


@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
def test_the_decay_of_sgd_is_that_of_all_data_and_that_of_adamw_grows_with_the_rate(kind):
    parameter = nn.Parameter(torch.ones(1))
    optimizer = getattr(torch.optim, kind)([parameter], lr=0.1, weight_decay=0.5)
    steps = StepLength(1.5)
    steps.begin_run(SimpleNamespace(optim_wrapper=OptimWrapper(optimizer)), PassSchedule(10, 5))
    scale = steps.begin_iter(2.0)
    parameter.grad = torch.zeros(1) * scale
    optimizer.step()
    assert parameter.item() == pytest.approx(1 - 0.1 * 0.5 * (1.5 if kind == 'AdamW' else 1))


class NextOptimizer(Hook):
    """Trains with another optimizer from the third epoch on, or from its third iteration on, and
    keeps the rates of its steps, each beside the mean weight of the pass."""

    def __init__(self, batch_idx):
        self.at, self.rates = (2, batch_idx), set()

    def before_train_epoch(self, runner):
        if self.at == (runner.epoch, 0):
            self.replace(runner)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx and self.at == (runner.epoch, batch_idx):
            self.replace(runner)

    def replace(self, runner):
        optimizer = torch.optim.Adam(runner.model.parameters(), lr=0.01)

        def keep(*_):
            pruned = runner.train_loop.sampler.order.weights.mean() > 1
            self.rates.add((bool(pruned), round(optimizer.param_groups[0]['lr'], 6)))

        optimizer.register_step_post_hook(keep)
        runner.optim_wrapper = OptimWrapper(optimizer)


@pytest.mark.parametrize('batch_idx', [0, 2])
def test_an_optimizer_that_a_hook_puts_in_takes_steps_of_the_length_that_is_set(
    tmp_path, batch_idx
):
    hook = NextOptimizer(batch_idx)
    runner = small_runner(
        tmp_path, dict(LOOPS[0]), custom_hooks=[dict(type='InfoBatchHook', step_length=1.1), hook]
    )
    runner.train()
    assert hook.rates == {(True, 0.011), (False, 0.01)}


def test_a_mixed_batch_is_scaled_once():
    model = nn.Module()
    model.loss = InfoBatchLoss(dict(type='mmpretrain.CrossEntropyLoss'))
    losses = ModelLosses(model)
    weights = torch.tensor([1.0, 2.0, 1.0, 2.0])
    half = 0.5 * (torch.eye(4) + torch.eye(4).flip(0))
    for mixes in (False, True):
        given = []
        for scale in (1.0, 0.6):
            losses.begin_batch(weights, False, 1.5, {}, scale)
            if mixes:
                losses._mix(half)
            given.append(model.loss._weights)
        assert torch.allclose(given[1], 0.6 * given[0]) and not torch.equal(*given)


# ------------------------------------------------------- toolboxes, config, report


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return {
        'mmseg': runs.write_segmentation_data(tmp_path_factory.mktemp('seg')),
        'mmpretrain': runs.write_classification_data(tmp_path_factory.mktemp('cls')),
    }


@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_convert_sets_the_length_of_a_run_and_the_run_says_it(data, tmp_path, toolbox):
    make = dict(mmseg=runs.segmentation_config, mmpretrain=runs.classification_config)[toolbox]
    cfg = convert(make(data[toolbox], tmp_path), step_length='normalized', delta=1.0)
    (hook,) = cfg.custom_hooks
    assert hook == dict(type='InfoBatchHook', step_length='normalized')
    found = runs.train(cfg)
    report = runs.report_of(tmp_path)
    assert report['settings']['step_length'] == 'normalized'
    some = [record for record in report['passes'] if record['pruned']]
    assert some and all(record['step_length'] == 1 for record in report['passes'])
    weights = found.by_pass('weights')
    for record in some:
        count = record['kept'] + record['pruned']
        assert record['mean_weight'] == pytest.approx(count / record['kept'])
        mine = weights[record['pass']]
        assert len(mine) < record['kept'] or sum(mine) == pytest.approx(len(mine), rel=1e-5)
    assert runs.log_of(tmp_path).count('step length normalized: steps of SGD are as long') == 1


def test_convert_changes_nothing_but_the_length_where_infobatch_is_on(data, tmp_path):
    cfg = convert(runs.classification_config(data['mmpretrain'], tmp_path))
    assert cfg.custom_hooks == [dict(type='InfoBatchHook', step_length='capped')]
    changed = convert(cfg, step_length=1.25)
    assert changed.custom_hooks == [dict(type='InfoBatchHook', step_length=1.25)]
    changed.custom_hooks = cfg.custom_hooks
    assert changed.to_dict() == cfg.to_dict()
    for wrong, error in ((0.5, ValueError), ('cap', ValueError), ([], TypeError)):
        with pytest.raises(error, match='step_length'):
            convert(cfg, step_length=wrong)
    cfg.custom_hooks[0]['step_length'] = 'cap'
    with pytest.raises(CannotConvert, match="step_length='cap'"):
        convert(cfg)
    objects = Config(dict(cfg.to_dict(), custom_hooks=[]))
    objects.custom_hooks = [InfoBatchHook()]
    with pytest.raises(ValueError, match='is an object'):
        convert(objects, step_length='capped')


def test_a_resumed_run_says_that_its_length_has_changed(tmp_path):
    saving = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=20))
    train(tmp_path, LOOPS[0], 'capped', default_hooks=saving)
    runner, _ = build(
        tmp_path / 'b', LOOPS[0], 1.1, load_from=str(tmp_path / 'iter_20.pth'), resume=True
    )
    lines = []
    runner.logger.warning = lines.append
    runner.train()
    assert any('step_length capped -> 1.1 (at once)' in line for line in lines)


def test_the_peak_of_a_long_schedule_is_found_quickly():
    wrapper = wrapper_of([(0.1, index % 2) for index in range(300)])
    schedulers = built([WARM_UP], wrapper)
    calls = []
    step = type(schedulers[0])._get_value

    class Counted(type(schedulers[0])):
        def _get_value(self):
            calls.append(len(self.optimizer.param_groups))
            return step(self)

    Counted.__module__ = 'mmengine.optim'
    schedulers[0].__class__ = Counted
    peak_rates(wrapper.param_groups, schedulers, 160)
    assert len(calls) == 9 and set(calls) == {3}  # groups, of 301: those that differ


def test_the_package_has_the_names():
    assert PARAM_SCHEDULERS.get('OneCycleMomentum') is mm_infobatch.OneCycleMomentum


@pytest.mark.parametrize('length', ['paper', 'normalized'])
def test_what_a_loss_counts_over_the_run_does_not_depend_on_the_length_of_the_steps(
    tmp_path, length
):
    """SeesawLoss counts the samples of each class: in each pass as many as the dataset has."""
    model = Classifier()
    model.loss = InfoBatchLoss(dict(type='mmpretrain.SeesawLoss', num_classes=3))
    runner = small_runner(
        tmp_path,
        dict(type='InfoBatchEpochLoop', max_epochs=4),
        sampler=dict(delta=1.0),
        model=model,
        custom_hooks=[dict(type='InfoBatchHook', step_length=length)],
    )
    runner.train()
    assert runner.train_loop.sampler.counter.trained < 4 * 24
    assert float(model.loss.loss.cum_samples.sum()) == pytest.approx(4 * 24)
