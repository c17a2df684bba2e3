"""Accumulated gradients: each update has the mean over its group, to the end of any run."""

import importlib
import warnings
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS
from small_runner import small_runner

from mm_infobatch.passes.schedule import PassSchedule
from mm_infobatch.training.accumulation import Accumulation

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolbox says when imported is not about us
    importlib.import_module('mmpretrain.models')

# Schedulers by iteration step before the first group is full, in stock runs too.
pytestmark = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
EPOCHS, ITERS = 'InfoBatchEpochLoop', 'InfoBatchIterLoop'
loops = pytest.mark.parametrize('kind', [EPOCHS, ITERS])


@OPTIM_WRAPPERS.register_module()
class SpiedOptimWrapper(OptimWrapper):
    """Keep of each update how many iterations it has, and by what their gradients were divided."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.groups, self.open = [], []

    def scale_loss(self, loss):
        (gradient,) = torch.autograd.grad(loss, [self.weight], retain_graph=True)
        self.open.append(gradient)
        return super().scale_loss(loss)

    def step(self, **kwargs):
        divisor = sum(self.open).norm() / self.weight.grad.norm()
        self.groups.append((len(self.open), round(divisor.item(), 3)))
        self.open = []
        super().step(**kwargs)

    @property
    def weight(self):
        return self.param_groups[0]['params'][0]


class Steps(Hook):
    """Where each pass begins, in iterations."""

    priority = 'LOWEST'

    def __init__(self):
        self.begins = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.train_loop.schedule.pass_iter == 0:
            self.begins.append(runner.iter)


def build(work_dir, kind, total, counts, prune_ratio=0.5, delta=0.8, sampler=None, **kwargs):
    """A runner that accumulates; ``total`` is in epochs or iterations."""
    policy = dict(type='SoftPruning', prune_ratio=prune_ratio)
    sampler = dict(policy=policy, delta=delta, seed=0, **(sampler or {}))
    loop = dict(type=kind, max_epochs=total)
    if 'Iter' in kind:
        loop = dict(type=kind, max_iters=total, val_interval=1000)
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9)
    wrapper = dict(type='SpiedOptimWrapper', accumulative_counts=counts, optimizer=optimizer)
    return small_runner(work_dir, loop, sampler=sampler, optim_wrapper=wrapper, **kwargs)


def train(*args, **kwargs):
    runner = build(*args, **kwargs)
    steps = Steps()
    runner.register_hook(steps)
    runner.train()
    runner.begins = [*steps.begins, runner.iter]
    return runner


def parameters(runner):
    return torch.cat([each.detach().flatten() for each in runner.model.parameters()])


def groups_of(iters, counts):
    """The groups of so many iterations in a row."""
    sizes = [counts] * (iters // counts) + [iters % counts] * bool(iters % counts)
    return [(size, size) for size in sizes]


# ------------------------------------------------------------------- from the start to the end


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)


@pytest.mark.default_cases('*-5-2-8', '*-6-7-4', '*-15-3-24', '*-18-7-8')
@pytest.mark.parametrize('num_samples', [4, 8, 24])
@pytest.mark.parametrize('counts', [2, 3, 4, 7])
@pytest.mark.parametrize(
    'kind, stock, total',
    [
        (EPOCHS, 'EpochBasedTrainLoop', 5),
        (EPOCHS, 'EpochBasedTrainLoop', 6),
        (ITERS, 'IterBasedTrainLoop', 15),
        (ITERS, 'IterBasedTrainLoop', 18),
    ],
)
def test_without_pruning_groups_are_those_of_the_stock_run_bit_for_bit(
    tmp_path, no_pause, num_samples, counts, kind, stock, total
):
    ours = train(tmp_path, kind, total, counts, prune_ratio=0.0, length=num_samples)
    theirs = build(tmp_path, stock, total, counts, length=num_samples, custom_hooks=[])
    theirs.train()
    assert ours.optim_wrapper.groups == theirs.optim_wrapper.groups
    assert ours.optim_wrapper.groups[-1] == groups_of(ours.iter, counts)[-1]
    assert torch.equal(parameters(ours), parameters(theirs))


@pytest.mark.parametrize('total', [24, 26, 29, 31, 37])
@pytest.mark.parametrize('counts', [2, 3, 4, 7])
def test_a_pruned_run_by_iteration_has_full_groups_and_updates_at_its_end(tmp_path, counts, total):
    runner = train(tmp_path, ITERS, total, counts, delta=1.0, batch_size=3)
    assert runner.iter < total
    assert runner.optim_wrapper.groups == groups_of(runner.iter, counts)


@pytest.mark.parametrize('total', [17, 18, 19, 25, 26, 27])
def test_a_last_pass_that_is_shorter_than_a_group_gets_the_mean_all_the_same(tmp_path, total):
    # Passes of 8 iterations of which a pruned one has about 6; the last one has 1, 2 or 3.
    for counts in (5, 6, 7):
        runner = train(tmp_path / str(counts), ITERS, total, counts, delta=1.0, batch_size=3)
        assert runner.optim_wrapper.groups == groups_of(runner.iter, counts)


def test_a_budget_of_iterations_ends_where_the_stock_run_ends(tmp_path):
    for counts in (4, 5):
        runner = build(tmp_path / str(counts), ITERS, 22, counts)
        runner._train_loop['budget'] = 'iterations'
        runner.train()
        assert runner.optim_wrapper.groups == groups_of(22, counts)


@pytest.mark.parametrize('counts', [2, 3, 6])
def test_by_epoch_groups_end_with_each_pass_where_those_of_the_unpruned_run_do(tmp_path, counts):
    runner = train(tmp_path, EPOCHS, 6, counts)
    lengths = [end - begin for begin, end in zip(runner.begins, runner.begins[1:])]
    assert min(lengths) < max(lengths) == 6
    expected = [group for length in lengths for group in groups_of(length, counts)]
    assert runner.optim_wrapper.groups == expected


@pytest.mark.parametrize('counts', [4, 5])
def test_by_epoch_groups_go_on_over_passes_where_those_of_the_unpruned_run_do(tmp_path, counts):
    runner = train(tmp_path, EPOCHS, 7, counts)
    assert runner.iter < 42
    assert runner.optim_wrapper.groups == groups_of(runner.iter, counts)


# ------------------------------------------------------------------------------ resumed


def saving(by_epoch=False, interval=1):
    return dict(checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch, interval=interval))


def resume(work_dir, checkpoint, *args, **kwargs):
    return train(work_dir, *args, load_from=str(checkpoint), resume=True, **kwargs)


@pytest.fixture
def as_of_two_ranks(monkeypatch):
    """As if the other rank had seen the same losses."""

    def gather(losses):
        return losses.repeat_interleave(2)

    def change(on):
        if on:
            monkeypatch.setattr('mm_infobatch.passes.running_pass.gather_in_order', gather)
        else:
            monkeypatch.undo()

    return change


@pytest.mark.parametrize('counts', [2, 3, 4])
@pytest.mark.parametrize('done', [2, 4, 5, 7, 9])
def test_on_fewer_ranks_than_before_groups_are_full_to_the_new_end(
    tmp_path, as_of_two_ranks, counts, done
):
    # 24 samples on 2 ranks are passes of 3 iterations in fours, and 12 steps are 4 passes. The rest
    # of them takes more iterations on 1 rank than there were steps in all.
    as_of_two_ranks(True)
    ranks = dict(rank=0, world_size=2)
    train(tmp_path, ITERS, 12, counts, sampler=dict(ranks), default_hooks=saving())
    as_of_two_ranks(False)
    runner = resume(tmp_path / 'resumed', tmp_path / f'iter_{done}.pth', ITERS, 12, counts)
    assert runner.iter > 12 or done > 7
    lost = done % counts
    expected = groups_of(runner.iter, counts)[done // counts :]
    if lost:  # the rest of the group, divided by its whole length
        size, _ = expected[0]
        expected[0] = size - lost, size
    assert runner.optim_wrapper.groups == expected


@pytest.mark.parametrize('kind, total', [(EPOCHS, 5), (ITERS, 30)])
@pytest.mark.parametrize('batch_size', [1, 2, 3, 8])
def test_with_another_batch_size_than_before_groups_are_full_to_the_new_end(
    tmp_path, kind, total, batch_size
):
    train(tmp_path, kind, total, 4, default_hooks=saving())
    runner = resume(
        tmp_path / 'resumed', tmp_path / 'iter_8.pth', kind, total, 4, batch_size=batch_size
    )
    assert runner.iter > 30 or batch_size > 2
    assert runner.optim_wrapper.groups == groups_of(runner.iter - 8, 4)


@pytest.mark.parametrize('world_size', [1, 2])
def test_on_more_ranks_than_before_groups_that_end_with_passes_do_so(
    tmp_path, as_of_two_ranks, world_size
):
    train(tmp_path, EPOCHS, 5, 3, default_hooks=saving(by_epoch=True))
    as_of_two_ranks(world_size == 2)
    ranks = dict(rank=0, world_size=world_size)
    runner = resume(
        tmp_path / 'resumed', tmp_path / 'epoch_2.pth', EPOCHS, 5, 3, sampler=ranks
    )  # fmt: skip
    lengths = [end - begin for begin, end in zip(runner.begins, runner.begins[1:])]
    expected = [group for length in lengths for group in groups_of(length, 3)]
    assert runner.optim_wrapper.groups == expected


@pytest.mark.parametrize('counts', [2, 3, 6])
def test_a_run_resumed_at_an_epoch_is_the_uninterrupted_one_bit_for_bit(tmp_path, counts):
    whole = train(tmp_path, EPOCHS, 6, counts, default_hooks=saving(by_epoch=True))
    ends = [end for end in whole.begins[1:-1] if end % counts]
    assert ends or counts == 2
    for epoch in range(1, 6):
        path = tmp_path / f'epoch_{epoch}.pth'
        resumed = resume(tmp_path / str(epoch), path, EPOCHS, 6, counts)
        assert torch.equal(parameters(resumed), parameters(whole))
        assert whole.optim_wrapper.groups[-len(resumed.optim_wrapper.groups) :] == (
            resumed.optim_wrapper.groups
        )


def test_the_control_in_which_groups_go_on_over_passes_is_another_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Accumulation, '_with_passes', False)
    whole = train(tmp_path, EPOCHS, 6, 3, default_hooks=saving(by_epoch=True))
    same = [
        torch.equal(
            parameters(
                resume(tmp_path / str(epoch), tmp_path / f'epoch_{epoch}.pth', EPOCHS, 6, 3)
            ),
            parameters(whole),
        )
        for epoch in range(1, 6)
    ]
    assert not all(same)


@pytest.mark.parametrize('kind, total', [(EPOCHS, 5), (ITERS, 30)])
@pytest.mark.parametrize('counts', [4, 5])
def test_where_groups_are_counted_over_the_run_a_multiple_of_them_resumes_bit_for_bit(
    tmp_path, kind, total, counts
):
    whole = train(tmp_path, kind, total, counts, default_hooks=saving(interval=counts))
    for done in range(counts, whole.iter, counts):
        path = tmp_path / f'iter_{done}.pth'
        resumed = resume(tmp_path / str(done), path, kind, total, counts)
        assert torch.equal(parameters(resumed), parameters(whole))


@pytest.mark.parametrize(
    'done, counts, text',
    [
        (8, 2, None),
        (8, 3, 'after 2 of the 3 iterations of a group of accumulated gradients'),
        (9, 2, 'after 1 of the 2 iterations'),
        (6, 3, None),
    ],
)
def test_a_checkpoint_in_the_middle_of_a_group_says_what_is_lost(tmp_path, done, counts, text):
    train(tmp_path, EPOCHS, 5, counts, default_hooks=saving())
    runner = build(
        tmp_path / 'resumed',
        EPOCHS,
        5,
        counts,
        load_from=str(tmp_path / f'iter_{done}.pth'),
        resume=True,
    )
    warnings_ = []
    runner.logger.warning = warnings_.append
    runner.train()
    found = [line for line in warnings_ if 'gradients' in line]
    assert [text in line for line in found] == ([] if text is None else [True])


# ----------------------------------------------------------------------- other wrappers


def test_wrappers_that_mmengine_tells_of_no_end_are_left_alone():
    schedule = PassSchedule(12, 6)
    schedule.begin_pass(3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    inner = OptimWrapper(optimizer, accumulative_counts=4)
    without_counts = object()  # DeepSpeed's
    for wrapper in (OptimWrapperDict(a=inner), without_counts, OptimWrapper(optimizer)):
        accumulation = Accumulation(SimpleNamespace(optim_wrapper=wrapper), schedule)
        accumulation.fit()
        assert accumulation.warning() is None
    assert (inner._inner_count, inner._max_counts) == (0, -1)
    alone = OptimWrapper(optimizer, accumulative_counts=4)
    Accumulation(SimpleNamespace(optim_wrapper=alone), schedule).fit()  # the control
    assert alone._max_counts == 4 and alone._remainder_counts == 0


class ChangesGroups(Hook):
    """Changes how many iterations a group has."""

    def __init__(self, counts, at):
        self.counts, self.at = counts, at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            runner.optim_wrapper._accumulative_counts = self.counts


@pytest.mark.parametrize(
    'kind, stock, total', [(EPOCHS, 'EpochBasedTrainLoop', 5), (ITERS, 'IterBasedTrainLoop', 30)]
)
@pytest.mark.parametrize('before, after', [(2, 3), (3, 2), (1, 3), (2, 1)])
def test_a_hook_may_change_the_groups(tmp_path, no_pause, kind, stock, total, before, after):
    runs = []
    for name, kwargs in ((kind, dict(prune_ratio=0.0)), (stock, dict(custom_hooks=[]))):
        runner = build(tmp_path, name, total, before, **kwargs)
        runner.register_hook(ChangesGroups(after, 12))
        runner.train()
        runs.append(runner)
    ours, theirs = runs
    assert ours.optim_wrapper.groups == theirs.optim_wrapper.groups
    assert torch.equal(parameters(ours), parameters(theirs))


class ReplacesWrapper(Hook):
    """Replaces the optimizer wrapper in iteration 12."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 12:
            optimizer = runner.optim_wrapper.optimizer
            runner.optim_wrapper = SpiedOptimWrapper(optimizer, accumulative_counts=4)


@pytest.mark.parametrize('total', [29, 31])
def test_a_wrapper_that_a_hook_puts_in_has_full_groups_to_the_end(tmp_path, total):
    runner = build(tmp_path, ITERS, total, 4, delta=1.0, batch_size=3)
    runner.register_hook(ReplacesWrapper())
    runner.train()
    assert (runner.iter - 12) % 4
    assert runner.optim_wrapper.groups == groups_of(runner.iter - 12, 4)


def test_a_runner_that_trains_again_goes_on_with_its_groups(tmp_path):
    whole = train(tmp_path / 'whole', ITERS, 30, 4)
    runner = build(tmp_path, ITERS, 30, 4)
    runner.register_hook(StopAt(11))
    runner.train()
    stopped = runner.iter
    runner.train_loop.stop_training = False
    runner.train()
    assert stopped < runner.iter == whole.iter
    assert runner.optim_wrapper.groups == whole.optim_wrapper.groups
    assert torch.equal(parameters(runner), parameters(whole))


class StopAt(Hook):
    """Stop at the first end of a pass after so many iterations, once."""

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.train_loop.schedule.pass_ended and runner.iter >= self.at > 0:
            runner.train_loop.stop_training, self.at = True, 0
