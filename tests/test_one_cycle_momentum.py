"""The momentum of a cycle, value by value against PyTorch's, in schedulers and in runs."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from small_runner import small_runner
from torch import nn

# The end of an epoch comes before a resumed process has trained.
pytestmark = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')


def optimizer(kind='SGD', groups=1, **kwargs):
    if kind == 'SGD':
        kwargs.setdefault('momentum', 0.9)
    parameters = [dict(params=[nn.Parameter(torch.ones(1))]) for _ in range(groups)]
    return getattr(torch.optim, kind)(parameters, lr=0.1, **kwargs)


def walk(scheduler, optimizer, steps, key):
    """What the groups have in each step."""
    rows = []
    for _ in range(steps):
        rows.append([key(group) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rows


@pytest.mark.parametrize('three_phase', [False, True])
@pytest.mark.parametrize('strategy', ['cos', 'linear'])
@pytest.mark.parametrize(
    'total, pct_start', [(48, 0.3), (10, 0.3), (7, 0.5), (200, 0.05), (20, 0.0), (20, 0.6)]
)
@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
def test_the_momentum_of_each_step_is_that_of_pytorch(
    kind, total, pct_start, strategy, three_phase
):
    theirs, ours = optimizer(kind, 2), optimizer(kind, 2)

    def momentum(group):
        return group['momentum'] if kind == 'SGD' else group['betas'][0]

    shared = dict(
        total_steps=total,
        pct_start=pct_start,
        anneal_strategy=strategy,
        three_phase=three_phase,
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.5, **shared)
    # PyTorch refuses a step after the last, which a training loop takes.
    cycle.total_steps += 1
    settings = dict(shared, type='OneCycleMomentum', by_epoch=False)
    scheduler = PARAM_SCHEDULERS.build(dict(settings, optimizer=OptimWrapper(ours)))
    expected = walk(cycle, theirs, total, momentum)
    found = walk(scheduler, ours, total, momentum)
    assert found == [pytest.approx(row, rel=1e-12) for row in expected]
    if pct_start:
        assert found[0] == [pytest.approx(0.95)] * 2 and min(found)[0] < 0.88
    if pct_start <= 0.5:  # else the second phase of three is longer than the cycle
        assert found[-1] == [pytest.approx(0.95)] * 2
    if kind == 'AdamW':
        assert ours.param_groups[0]['betas'][1] == 0.999


def test_after_the_cycle_the_momentum_stays():
    ours = optimizer()
    scheduler = PARAM_SCHEDULERS.build(
        dict(type='OneCycleMomentum', optimizer=OptimWrapper(ours), total_steps=5, by_epoch=False)
    )
    rows = walk(scheduler, ours, 9, lambda group: group['momentum'])
    assert rows[4:] == [[pytest.approx(0.95)]] * 5


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(base_momentum=1.0), 'base_momentum=1.0'),
        (dict(max_momentum=-0.1), 'max_momentum=-0.1'),
        (dict(pct_start=1.5), 'pct_start=1.5'),
        (dict(anneal_strategy='step'), "anneal_strategy='step'"),
        (dict(total_steps=0), 'total_steps=0'),
        (dict(base_momentum=[0.8]), r'base_momentum has to be a number .* but is \[0.8\]'),
        (dict(three_phase=1), 'three_phase'),
    ],
)
def test_an_argument_out_of_range_is_refused(changed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PARAM_SCHEDULERS.build(
            dict(type='OneCycleMomentum', optimizer=OptimWrapper(optimizer()), **changed)
        )


def test_an_optimizer_without_momentum_is_refused():
    with pytest.raises(ValueError, match='must support momentum'):
        PARAM_SCHEDULERS.build(
            dict(type='OneCycleMomentum', optimizer=OptimWrapper(optimizer('Adagrad')))
        )


# ---------------------------------------------------------------------- runs

EPOCHS, PASS = 8, 6
CYCLE = [
    dict(type='OneCycleLR', eta_max=0.3, total_steps=EPOCHS, convert_to_iter_based=True),
    dict(type='OneCycleMomentum', total_steps=EPOCHS, convert_to_iter_based=True),
]


class Trace(Hook):
    """Keep step, learning rate and momentum of each iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.rows = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        (group,) = runner.optim_wrapper.param_groups
        self.rows.append((runner.train_loop.schedule.walked, group['lr'], group['momentum']))


def train(work_dir, prune_ratio=0.5, **kwargs):
    sampler = dict(policy=dict(type='SoftPruning', prune_ratio=prune_ratio), delta=0.8)
    runner = small_runner(
        work_dir,
        dict(type='InfoBatchEpochLoop', max_epochs=EPOCHS),
        sampler=sampler,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=[dict(one) for one in CYCLE],
        **kwargs,
    )
    trace = Trace()
    runner.register_hook(trace)
    runner.train()
    return trace.rows, runner.model.state_dict()


def test_a_pruned_run_has_at_each_step_what_pytorch_has(tmp_path):
    theirs = optimizer()
    total = EPOCHS * PASS
    cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.3, total_steps=total)
    expected = []
    for _ in range(total):
        (group,) = theirs.param_groups
        expected.append((group['lr'], group['momentum']))
        theirs.step()
        if len(expected) < total:
            cycle.step()
    for prune_ratio in (0.0, 0.5):
        rows, _ = train(tmp_path, prune_ratio)
        assert (len(rows) == total) == (prune_ratio == 0)
        assert rows[-1][0] >= total - 2
        for step, *values in rows:
            assert values == pytest.approx(expected[step], rel=1e-9)


def test_a_resumed_run_goes_on_with_the_momentum(tmp_path):
    saving = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
    rows, state = train(tmp_path, default_hooks=saving)
    for done in (9, 20):
        resumed, end = train(
            tmp_path / f'from{done}', load_from=str(tmp_path / f'iter_{done}.pth'), resume=True
        )
        assert resumed == rows[done:]
        assert all(torch.equal(end[key], state[key]) for key in state)
