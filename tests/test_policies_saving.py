"""TargetSaving: the whole run saves what was asked for, whatever the scores look like."""

import dataclasses
import json
import math

import pytest
import torch
from policies import seeded, skewed
from small_runner import Numbered, small_runner

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.batch_shape import BatchShape
from mm_infobatch.passes.schedule import PassSchedule
from mm_infobatch.policies import Run, TargetSaving

N = 1000
NAN = float('nan')


def bimodal(index, generator):
    return torch.where(torch.rand(N, generator=generator) < 0.9, 0.001, 5.0)


# What the scores of a pass look like, by pass and generator.
DISTRIBUTIONS = {
    'exponential': lambda index, g: skewed(N, index),
    'shrinking': lambda index, g: skewed(N, index) * 0.5**index,
    'all alike': lambda index, g: torch.full((N,), 0.7),
    'all zero': lambda index, g: torch.zeros(N),
    'bimodal': bimodal,
    'most are zero': lambda index, g: (torch.rand(N, generator=g) < 0.02).float(),
    'heavy tail': lambda index, g: torch.rand(N, generator=g).clamp_min(1e-6) ** -2,
    'negative': lambda index, g: torch.randn(N, generator=g) - 5,
    'tiny': lambda index, g: skewed(N, index) * 1e-30,
    'a few values': lambda index, g: torch.randint(3, (N,), generator=g).float(),
}


def train(sampler, num_passes, scores_of, never=0, begin=0):
    """Walk through a run as the hook would, from pass ``begin`` on.

    The last ``never`` samples never get a score.
    """
    generator, trained = seeded(1), 0
    for index in range(begin, num_passes):
        sampler.set_epoch(index)
        kept = sampler.plan.indices
        trained += len(kept)
        weights = float(sampler.plan.weights.double().sum())
        assert abs(weights - N) < 1e-3
        values = scores_of(index, generator)[kept]
        values[kept >= N - never] = NAN
        sampler.scores.update(kept, values)
    return 1 - trained / ((num_passes - begin) * N)


@pytest.mark.parametrize(
    'saving, delta, num_passes',
    [(0.4, 0.875, 16), (0.1, 0.875, 10), (0.25, 0.5, 12), (0.6, 1.0, 30)],
)
@pytest.mark.parametrize('name', DISTRIBUTIONS)
def test_a_run_saves_what_was_asked_for(name, saving, delta, num_passes):
    sampler = InfoBatchSampler(
        Numbered(N), TargetSaving(saving), delta=delta, num_passes=num_passes, seed=0
    )
    saved = train(sampler, num_passes, DISTRIBUTIONS[name])
    # To rounding of a sample a pass, where one point was asked for.
    assert saved == pytest.approx(saving, abs=1 / N)


def test_warm_up_is_a_part_of_the_saving():
    sampler = InfoBatchSampler(
        Numbered(N), TargetSaving(0.3), num_passes=16, warmup_passes=5, seed=0
    )
    saved = train(sampler, 16, DISTRIBUTIONS['exponential'])
    assert saved == pytest.approx(0.3, abs=1 / N)


def test_samples_that_never_get_a_score_are_made_up_for():
    sampler = InfoBatchSampler(Numbered(N), TargetSaving(0.4), num_passes=16, seed=0)
    saved = train(sampler, 16, DISTRIBUTIONS['exponential'], never=200)
    assert saved == pytest.approx(0.4, abs=2 / N)


@pytest.mark.parametrize('begin', [4, 8])
def test_a_run_in_which_it_is_switched_on_late_saves_that_share_of_what_is_left(begin):
    sampler = InfoBatchSampler(Numbered(N), TargetSaving(0.3), num_passes=16, seed=0)
    saved = train(sampler, 16, DISTRIBUTIONS['exponential'], begin=begin)
    assert saved == pytest.approx(0.3, abs=1 / N)


@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
@pytest.mark.parametrize('budget', ['passes', 'iterations'])
def test_a_run_that_continues_without_a_state_saves_that_share_of_what_is_left(tmp_path, budget):
    hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=-1))
    loop = dict(type='InfoBatchIterLoop', val_interval=1000, max_iters=200, budget=budget)
    runner = small_runner(
        tmp_path, dict(loop, max_iters=100), length=80, sampler=dict(delta=0), default_hooks=hooks
    )
    runner.train()
    checkpoint = torch.load(tmp_path / 'iter_100.pth', weights_only=False)
    del checkpoint['infobatch']  # as of a run without InfoBatch
    torch.save(checkpoint, tmp_path / 'without.pth')
    late = small_runner(
        tmp_path,
        loop,
        length=80,
        sampler=dict(policy=dict(type='TargetSaving', saving=0.25)),
        default_hooks=hooks,
        load_from=str(tmp_path / 'without.pth'),
        resume=True,
    )
    late.train()
    totals = json.loads((tmp_path / 'infobatch.json').read_text())['totals']
    assert totals['saving'] == pytest.approx(0.25, abs=0.02)
    assert totals['samples_trained'] == len(late.model.seen)


def test_a_run_that_lost_passes_catches_up():
    """As where scores were missing: the passes left skip more."""
    policy = TargetSaving(0.3)
    run = dict(total=20, pass_length=1, samples_per_pass=N, delta=0.9)
    late, early = (Run(pass_index=index, walked=index, **run) for index in (10, 1))
    assert policy.count_kept(N, late) == round(N - 0.3 * 20 * N / 8)
    assert policy.count_kept(N, early) == round(N - 0.3 * 20 * N / 17)
    done = Run(pass_index=10, walked=10, samples_skipped=6 * N, **run)
    assert policy.count_kept(N, done) == N


@pytest.mark.parametrize('saving', [0.05, 0.2, 0.3, 0.37, 0.5])
def test_with_drop_last_a_pass_keeps_whole_iterations(saving):
    run = Run(1, 10, 200, pass_length=10, samples_per_pass=960, delta=0.9, samples_per_iter=96)
    exact = TargetSaving(saving).count_kept(N, run)
    whole = TargetSaving(saving).count_kept(N, dataclasses.replace(run, drop_last=True))
    assert whole % 96 == 0 and abs(whole - exact) <= 48
    assert exact == 960 - round(960 * 20 * saving / 17) < N


@pytest.mark.parametrize('drop_last, least', [(False, 1), (True, 96)])
def test_a_pass_keeps_an_iteration_even_if_it_cannot_skip_what_is_due(drop_last, least):
    run = Run(18, 180, 200, 10, 960, delta=1.0, samples_per_iter=96, drop_last=drop_last)
    assert run.skips_due(0.5) > 2 * 960
    assert TargetSaving(0.5).count_kept(N, run) == least


def test_a_last_pass_that_the_run_does_not_finish_skips_no_more_than_is_due():
    """However little of it is left: what rounding left over would be multiplied."""
    run = Run(20, 200, 201, 10, N, delta=1.0, samples_skipped=6000)
    assert run.skips_due(0.3) == pytest.approx(30) and run.passes_left(30) == 0.1
    assert TargetSaving(0.3).count_kept(N, run) == N - 30


def test_called_by_itself_a_plan_saves_that_share():
    assert TargetSaving(0.37).plan(skewed(N), seeded()).pruned == 370
    kept = [TargetSaving(saving).count_kept(10, None) for saving in (0.32, 0.38, 0.5, 0.99)]
    assert kept == [7, 6, 5, 1]


@pytest.mark.parametrize('world_size', [1, 3])
@pytest.mark.parametrize('budget', ['passes', 'iterations'])
@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize(
    'total, delta, saving',
    [(2000, 0.875, 0.4), (900, 0.875, 0.3), (450, 0.6, 0.2), (1210, 1.0, 0.5)],
)
def test_a_schedule_in_iterations_saves_what_was_asked_for(
    total, delta, saving, drop_last, budget, world_size
):
    """As InfoBatchIterLoop walks; the schedules end in the middle of a pass."""
    sampler = InfoBatchSampler(
        Numbered(N), TargetSaving(saving), delta=delta, seed=0, rank=0, world_size=world_size
    )
    batch_size = 16 // world_size
    batch = batch_size * world_size
    pass_length = len(sampler) // batch_size if drop_last else -(-len(sampler) // batch_size)
    whole = min(N, pass_length * batch)
    schedule = PassSchedule(total, pass_length, budget, delta)
    sampler.join_run(schedule, BatchShape(batch_size, world_size, drop_last))
    trained = full = 0.0
    while not schedule.finished:
        kept = sampler.begin_pass().kept
        steps = len(sampler) // batch_size if drop_last else -(-len(sampler) // batch_size)
        schedule.begin_pass(steps)
        while not schedule.pass_ended:
            schedule.advance()
        # As RunReport counts.
        mine = min(kept, schedule.pass_iter * batch)
        trained += mine
        full += whole * (mine / kept if schedule.iters_left else 1)
        sampler.scores.update(sampler.plan.indices, skewed(N)[sampler.plan.indices])
    assert 1 - trained / full == pytest.approx(saving, abs=0.01)


@pytest.mark.parametrize(
    'run, least',
    [
        (Run(0, 0, 20, 1, N, 0.875), 0.2),
        (Run(0, 0, 20, 1, N, 1.0), 0.5),
        (Run(0, 0, 20, 1, N, 0.875, first=6), 0.2),
        (Run(0, 0, 1010, 100, N, 0.9, samples_per_iter=10), 0.25),
        (Run(0, 0, 2000, 100, N, 0.875, by_iterations=True, samples_per_iter=10), 0.2),
    ],
)
def test_what_is_out_of_reach_is_refused_with_what_is_within(run, least):
    most = run.most_saving(least)
    assert 0.3 < most < 0.9
    TargetSaving(most - 1e-3, 1 / least).begin_run(run)
    with pytest.raises(ValueError) as error:
        TargetSaving(most + 1e-3, 1 / least).begin_run(run)
    assert f'{math.floor(most * 1000) / 1000:g}' in str(error.value)
    for word in ('saving=', 'delta', 'max_weight', 'policy.saving'):
        assert word in str(error.value)


def test_the_most_a_run_can_save_is_what_it_saves():
    most = Run(0, 0, 16, 1, N, 0.875).most_saving(0.2)
    assert most == pytest.approx(13 / 16 * 0.8)
    sampler = InfoBatchSampler(Numbered(N), TargetSaving(most - 1e-9), num_passes=16, seed=0)
    saved = train(sampler, 16, DISTRIBUTIONS['exponential'])
    assert saved == pytest.approx(most, abs=33 / N)


def test_the_counts_of_a_run_are_a_part_of_its_state():
    first = InfoBatchSampler(Numbered(N), TargetSaving(0.3), num_passes=10, seed=0)
    train(first, 4, DISTRIBUTIONS['exponential'])
    second = InfoBatchSampler(Numbered(N), TargetSaving(0.3), num_passes=10, seed=5)
    second.load_state_dict(first.state_dict(consumed=first.plan.kept))
    fresh = InfoBatchSampler(Numbered(N), TargetSaving(0.3), num_passes=10, seed=0)
    fresh.scores.load_state_dict(first.scores.state_dict())
    second.scores.load_state_dict(first.scores.state_dict())
    for sampler in (first, second, fresh):
        sampler.set_epoch(4)
    assert torch.equal(first.plan.indices, second.plan.indices)
    assert first.plan.kept != fresh.plan.kept  # control


def test_a_run_that_resumes_in_other_batches_can_still_save_what_it_could(tmp_path):
    """Six passes of 16 iterations are three of 32, which could save less."""

    def runner(name, batch_size):
        return small_runner(
            tmp_path / name,
            dict(type='InfoBatchIterLoop', max_iters=96),
            length=32,
            batch_size=batch_size,
            sampler=dict(policy=dict(type='TargetSaving', saving=0.6)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=20, by_epoch=False)),
        )

    runner('whole', 2).train()
    resumed = runner('resumed', 1)
    resumed.resume(str(tmp_path / 'whole' / 'iter_20.pth'))
    resumed.train()
    assert resumed.train_loop.sampler.counter.saving == pytest.approx(0.6, abs=0.01)
    with pytest.raises(ValueError, match='saving=0.6 is out of reach.*at most 0.533'):
        runner('new', 1).train()
