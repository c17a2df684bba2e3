"""The schedule: how far a pruned run has walked, and when it is at its end."""

import importlib
import io
import itertools
import json
import math
import random
import warnings

import pytest
import torch
from small_runner import small_runner

from mm_infobatch import InfoBatchHook, InfoBatchSampler
from mm_infobatch.passes.schedule import PassSchedule

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolbox says when imported is not about us
    importlib.import_module('mmpretrain.models')


def run(schedule, steps_of, stop_after=None):
    """Train to the end, or for some iterations; the record of it.

    ``steps_of(schedule)`` says how many iterations the pass that begins has. Before and after each
    iteration it looks at what hooks ask for (``runner.iter + 1 == runner.max_iters``).
    """
    record = dict(passes=0, moved=[], last_before=[], last_after=[], expected=[], walked=[])
    while not schedule.finished:
        if not schedule.iters_left:
            schedule.begin_pass(steps_of(schedule))
            record['passes'] += 1
        while not schedule.pass_ended:
            if stop_after is not None and len(record['moved']) == stop_after:
                return record
            iters = schedule.iters  # runner.iter, which the loop counts up after the hooks
            record['last_before'].append(iters + 1 == schedule.expected_iters)
            record['moved'].append(schedule.advance())
            record['last_after'].append(iters + 1 == schedule.expected_iters)
            record['expected'].append(schedule.expected_iters)
            record['walked'].append(schedule.walked)
    return record


def kept_shares(schedule, delta, rng, least=1):
    """Passes of random length until delta of the run, then whole ones."""

    def steps_of(schedule):
        if schedule.progress >= delta:
            return schedule.pass_length
        return rng.randint(least, schedule.pass_length)

    return steps_of


SCHEDULES = [
    (total, length)
    for total in (1, 2, 5, 10, 24, 25, 77, 160)
    for length in (1, 2, 3, 7, 10, 24, 200)
]


@pytest.mark.parametrize('budget', ['passes', 'iterations'])
@pytest.mark.parametrize('total, length', SCHEDULES)
def test_a_pruned_run_walks_the_schedule_to_its_end(total, length, budget):
    for seed, delta in itertools.product(range(5), (0, 0.5, 0.875, 1)):
        schedule = PassSchedule(total, length, budget, delta)
        record = run(schedule, kept_shares(schedule, delta, random.Random(seed)))
        iters = len(record['moved'])
        assert schedule.walked == total == sum(record['moved'])
        assert schedule.finished and schedule.progress == 1
        assert all(moved >= 0 for moved in record['moved'])
        assert schedule.iters == iters <= total
        if budget == 'passes':
            # as many passes as the unpruned run, which begins one every `length` iterations
            assert record['passes'] == schedule.pass_index + 1 == math.ceil(total / length)
        else:
            assert iters == total and set(record['moved']) == {1}
            assert record['passes'] >= math.ceil(total / length)
            assert set(record['expected']) == {total}


@pytest.mark.parametrize('budget', ['passes', 'iterations'])
@pytest.mark.parametrize('total, length', SCHEDULES)
def test_the_last_iteration_is_announced_once_and_is_the_last(total, length, budget):
    for seed, delta in itertools.product(range(5), (0, 0.5, 0.875, 1)):
        schedule = PassSchedule(total, length, budget, delta)
        record = run(schedule, kept_shares(schedule, delta, random.Random(seed)))
        only_the_last = [False] * (len(record['moved']) - 1) + [True]
        assert record['last_before'] == only_the_last
        assert record['last_after'] == only_the_last


@pytest.mark.parametrize('total, length', SCHEDULES)
def test_the_expected_end_is_exact_in_the_last_pass(total, length):
    for seed in range(5):
        schedule = PassSchedule(total, length, delta=1)
        rng, in_last = random.Random(seed), []

        def steps_of(schedule, rng=rng):
            return rng.randint(1, schedule.pass_length)

        while not schedule.finished:
            schedule.begin_pass(steps_of(schedule))
            while not schedule.pass_ended:
                if schedule.state_dict()['pass_to'] >= total:
                    in_last.append(schedule.expected_iters)
                schedule.advance()
        assert in_last and set(in_last) == {schedule.iters}


@pytest.mark.parametrize('pass_iters', [1, 3, 8, 20])
def test_every_pass_has_an_iteration_that_is_compared(pass_iters):
    schedule = PassSchedule(total=20 * pass_iters, pass_length=pass_iters, delta=1.0)
    compared = []
    for _ in range(16):
        schedule.begin_pass(pass_iters)
        compared.append(schedule.compared_iter)
        for _ in range(pass_iters):
            schedule.advance()
    assert compared == [number % min(8, pass_iters) for number in range(16)]


def test_without_pruning_a_step_is_an_iteration():
    for total, length in SCHEDULES:
        schedule = PassSchedule(total, length)
        record = run(schedule, lambda schedule: schedule.pass_length)
        assert record['moved'] == [1] * total
        assert set(record['expected']) == {total}
        assert record['walked'] == list(range(1, total + 1))


def test_a_pass_walks_its_length_evenly():
    schedule = PassSchedule(40, 10, delta=1)
    record = run(schedule, lambda schedule: 6)
    assert record['moved'] == [1, 2, 2, 1, 2, 2] * 4
    assert record['walked'][5::6] == [10, 20, 30, 40]
    for step, walked in enumerate(record['walked']):
        assert abs(walked - (step + 1) * 10 / 6) < 1


def test_a_last_pass_that_is_cut_off_is_cut_off_at_the_same_share():
    # 25 steps in passes of 10: half of the third pass, in 3 of its 6 iterations.
    schedule = PassSchedule(25, 10, delta=1)
    record = run(schedule, lambda schedule: 6)
    assert record['passes'] == 3 and len(record['moved']) == 15
    assert schedule.walked == 25 and record['expected'][-1] == 15
    # 4 of 5 iterations reach 8 of 10 steps, 3 reach 6: the least that reaches 7.
    schedule = PassSchedule(17, 10, delta=1)
    assert len(run(schedule, lambda schedule: 5)['moved']) == 9


def test_before_its_last_pass_the_end_is_estimated_from_the_pass_that_runs():
    schedule = PassSchedule(80, 10, delta=0.5)
    assert schedule.expected_iters == 80
    schedule.begin_pass(6)
    # 4 passes of 8 begin before 0.5, as long as this one; 4 are whole
    assert schedule.expected_iters == 4 * 6 + 4 * 10
    for _ in range(6):
        schedule.advance()
    schedule.begin_pass(5)
    assert schedule.expected_iters == 6 + 3 * 5 + 4 * 10


@pytest.mark.parametrize('full', [2, 3, 5, 16, 40])
def test_on_another_number_of_ranks_whole_passes_are_expected_to_take_its_iterations(full):
    # 35 steps: passes that begin at 0 and 10 prune, and those at 20 and (half of one) at 30 do not.
    first = PassSchedule(35, 10, delta=0.5)
    first.begin_pass(10)
    for _ in range(4):
        first.advance()
    second = PassSchedule(35, full, delta=0.5)
    left = math.ceil(0.6 * full)
    second.load_state_dict(first.state_dict(), left)
    for _ in range(left):
        second.advance()
    pruned = max(1, full // 2)
    second.begin_pass(pruned)
    end = 4 + left + pruned + full + math.ceil(full / 2)
    assert second.expected_iters == end
    record = run(second, lambda schedule: full)
    assert record['expected'] == [end] * (pruned + full + math.ceil(full / 2))
    assert second.iters == end


@pytest.mark.parametrize('total, length', SCHEDULES)
def test_the_estimate_is_the_end_where_later_passes_are_as_long_as_this_one(total, length):
    """A part of an iteration counts as one: 4 of 10 steps take 3 of 6 iterations."""
    for pass_iters in range(1, length + 1):
        schedule = PassSchedule(total, length, delta=1)
        schedule.begin_pass(pass_iters)
        estimate = schedule.expected_iters
        while not schedule.finished:
            schedule.advance()
            if not schedule.iters_left and not schedule.finished:
                schedule.begin_pass(pass_iters)
            assert schedule.expected_iters == estimate
        assert schedule.iters == estimate


def test_the_estimate_of_a_cut_off_pass_is_rounded_up():
    schedule = PassSchedule(24, 10, delta=1)
    schedule.begin_pass(6)
    assert schedule.expected_iters == 6 + 6 + 3  # 2.4 of 6


@pytest.mark.parametrize(
    'total, length, delta, prunes',
    [
        (20, 10, 0.5, False),  # the second pass begins at delta, so it anneals
        (20, 10, 0.51, True),
        (20, 10, 0.49, False),
        (80, 10, 0.125, False),
        (80, 10, 0.875, True),
        (10, 10, 1, False),
        (11, 10, 1, True),
        (80, 10, 0, False),
    ],
)
def test_a_run_in_which_no_pass_can_prune_is_known_beforehand(total, length, delta, prunes):
    schedule = PassSchedule(total, length, delta=delta)
    assert schedule.will_prune is prunes
    assert ('so nothing will be skipped' in (schedule.warning() or '')) == (
        delta > 0 and not prunes
    )
    begun = []
    run(schedule, lambda schedule: begun.append(schedule.anneals) or schedule.pass_length)
    assert any(not anneals for anneals in begun[1:]) is prunes


@pytest.mark.parametrize('total, words', [(10, '1 pass'), (11, '1.1 passes'), (20, '2 passes')])
def test_the_warning_says_how_many_passes_there_are(total, words):
    warning = PassSchedule(total, 10, delta=0.5).warning()
    assert warning.startswith(f'this run makes {words} over the dataset')


def test_a_budget_of_iterations_follows_iterations():
    schedule = PassSchedule(100, 10, 'iterations', delta=0.5)
    begun = []

    def steps_of(schedule):
        begun.append(schedule.walked)
        return 10 if schedule.progress >= 0.5 else 7

    record = run(schedule, steps_of)
    assert begun == [0, 7, 14, 21, 28, 35, 42, 49, 56, 66, 76, 86, 96]
    assert record['walked'] == list(range(1, 101))
    assert schedule.walked == 100 and schedule.pass_iter == 4  # the last pass is not finished


def test_progress_is_done_over_all():
    schedule = PassSchedule(40, 10)
    schedule.begin_pass(5)
    assert schedule.progress == 0
    schedule.advance()
    assert schedule.progress == 2 / 40
    for _ in range(4):
        schedule.advance()
    assert schedule.progress == 0.25 and not schedule.iters_left and not schedule.finished


@pytest.mark.parametrize(
    'total, length, delta, anneals',
    [
        (80, 10, 0.875, True),
        (80, 10, 0.8, True),
        (70, 10, 0.875, False),
        (75, 10, 0.9, True),
        (5, 10, 0.875, False),
        (5, 10, 0, True),
        (80, 10, 1, False),
    ],
)
def test_a_run_in_which_no_pass_anneals_is_known_beforehand(total, length, delta, anneals):
    schedule = PassSchedule(total, length, delta=delta)
    assert schedule.will_anneal is anneals
    begun = []
    run(schedule, lambda schedule: begun.append(schedule.progress) or schedule.pass_length)
    assert any(progress >= delta for progress in begun) is anneals


@pytest.mark.parametrize(
    'total, delta, may',
    [(100, 1.0, False), (100, 0.995, False), (100, 0.99, True), (9, 0.5, False)],
)
def test_a_run_of_so_many_iterations_in_which_no_pass_can_anneal_is_known_beforehand(
    total, delta, may
):
    schedule = PassSchedule(total, 10, 'iterations', delta)
    assert schedule.will_anneal is may
    found = set()
    for kept in range(1, 11):  # of the iterations of a pass, in each pass after the first
        schedule, begun = PassSchedule(total, 10, 'iterations', delta), []

        def steps_of(schedule, begun=begun, kept=kept):
            begun.append(schedule.progress)
            return kept if len(begun) > 1 else 10

        run(schedule, steps_of)
        found.add(any(progress >= delta for progress in begun))
    assert (True in found) is may
    warning = PassSchedule(100, 10, 'iterations', delta).warning()
    assert (warning is not None and 'none anneals' in warning) is (delta == 0.995)


@pytest.mark.parametrize('budget', ['iters', None, 'Passes', 1])
def test_an_unknown_budget_is_refused_with_the_line_to_change(budget):
    with pytest.raises(ValueError) as error:
        PassSchedule(10, 5, budget)
    assert f'budget={budget!r}' in str(error.value) and 'train_cfg.budget' in str(error.value)


# -------------------------------------------------------------------- state


@pytest.mark.parametrize('budget', ['passes', 'iterations'])
def test_a_run_goes_on_from_any_iteration_as_if_never_interrupted(budget):
    def steps_of(schedule):  # a function of the pass, as a plan is
        return 10 if schedule.progress >= 0.8 else 4 + schedule.pass_index % 3

    for total in (47, 50):
        whole = run(PassSchedule(total, 10, budget, 0.8), steps_of)
        for stop in range(len(whole['moved'])):
            first = PassSchedule(total, 10, budget, 0.8)
            began = run(first, steps_of, stop)
            file = io.BytesIO()
            torch.save(first.state_dict(), file)
            file.seek(0)
            second = PassSchedule(total, 10, budget, 0.8)
            second.load_state_dict(
                torch.load(file, weights_only=True), first.pass_iters - first.pass_iter
            )
            assert second.expected_iters == first.expected_iters
            assert second.state_dict() == first.state_dict()
            rest = run(second, steps_of)
            for key in ('moved', 'last_before', 'last_after', 'expected', 'walked'):
                assert began[key] + rest[key] == whole[key]
            assert began['passes'] + rest['passes'] == whole['passes']


def test_a_state_holds_plain_integers_and_the_budget():
    schedule = PassSchedule(40, 10)
    schedule.begin_pass(6)
    schedule.advance()
    state = schedule.state_dict()
    assert state.pop('budget') == 'passes'
    assert {type(value) for value in state.values()} == {int}


def test_on_another_number_of_ranks_the_pass_walks_the_same_steps():
    # A pass of 40 samples, batch 1, all data: 40 steps on 1 rank. After 10 of 24 kept, 14 are left:
    # 7 iterations on 2 ranks, 4 on 4.
    for world_size, left in ((2, 7), (4, 4), (1, 14)):
        first = PassSchedule(120, 40, delta=1)
        first.begin_pass(24)
        for _ in range(10):
            first.advance()
        second = PassSchedule(120, -(-40 // world_size), delta=1)
        second.load_state_dict(first.state_dict(), left)
        assert (second.walked, second.iters) == (16, 10)
        moved = [second.advance() for _ in range(left)]
        assert not second.iters_left and second.walked == 40 and sum(moved) == 24
        assert second.iters == 10 + left and second.pass_index == 0
        record = run(second, lambda schedule, steps=-(-24 // world_size): steps)
        assert second.walked == 120 and second.pass_index == 2
        assert record['last_after'] == [False] * (len(record['moved']) - 1) + [True]


def test_a_pass_taken_up_twice_still_walks_the_same_steps():
    schedule = PassSchedule(40, 40)
    schedule.begin_pass(20)
    for steps, left in ((5, 8), (3, 11), (2, 3)):  # 15, 5, 9 would be left on the same ranks
        for _ in range(steps):
            schedule.advance()
        state, schedule = schedule.state_dict(), PassSchedule(40, 40)
        schedule.load_state_dict(state, left)
        assert schedule.expected_iters == schedule.iters + left
    run(schedule, None)
    assert schedule.walked == 40 and schedule.iters == 5 + 3 + 2 + 3


def test_a_budget_of_iterations_keeps_its_end_on_another_number_of_ranks():
    first = PassSchedule(100, 40, 'iterations')
    first.begin_pass(24)
    for _ in range(10):
        first.advance()
    second = PassSchedule(100, 20, 'iterations')
    second.load_state_dict(first.state_dict(), 7)
    record = run(second, lambda schedule: 12)
    assert second.iters == second.walked == 100 and set(record['moved']) == {1}


def test_a_pass_that_has_no_batch_left_on_the_new_ranks_is_at_its_end():
    # With drop_last, 3 of the samples still due make no batch of 4: the steps that the pass still
    # had are walked nonetheless, or the run would make a pass more.
    first = PassSchedule(20, 10, delta=1)
    first.begin_pass(10)
    for _ in range(7):
        first.advance()
    second = PassSchedule(20, 10, delta=1)
    second.load_state_dict(first.state_dict(), 0)
    assert not second.iters_left
    record = run(second, lambda schedule: 5)
    assert record['passes'] == 1 and second.pass_index == 1 and second.walked == 20


def test_an_epoch_run_keeps_its_progress_on_another_number_of_ranks(tmp_path, monkeypatch):
    # InfoBatchEpochLoop counts the batches of this run's ranks: 5 epochs of 24 samples in fours are
    # 30 steps on 1 rank and 15 on 2. After 2 epochs 0.4 of the run is done on either.
    epochs = dict(type='InfoBatchEpochLoop', max_epochs=5)
    scheduler = dict(
        type='LinearLR', start_factor=1.0, end_factor=0.2, end=5, convert_to_iter_based=True
    )
    first = small_runner(
        tmp_path,
        epochs,
        param_scheduler=dict(scheduler),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
    )
    first.train()
    begun, begin_pass = [], InfoBatchSampler.begin_pass

    def recorded(self):
        begun.append((self._schedule.pass_index + 1, self._schedule.progress))
        return begin_pass(self)

    monkeypatch.setattr(InfoBatchSampler, 'begin_pass', recorded)
    # rank 0 of 2, as if the other had seen the same losses
    monkeypatch.setattr(
        'mm_infobatch.passes.running_pass.gather_in_order',
        lambda losses: losses.repeat_interleave(2),
    )
    second = small_runner(
        tmp_path,
        epochs,
        sampler=dict(rank=0, world_size=2),
        param_scheduler=dict(scheduler),
        load_from=str(tmp_path / 'epoch_2.pth'),
        resume=True,
    )
    second.train()
    assert begun == [(2, 0.4), (3, 0.6), (4, 0.8)]
    assert second.train_loop.schedule.progress == 1
    assert second.train_loop.max_iters == second.iter
    rates = [runner.optim_wrapper.get_lr()['lr'][0] for runner in (first, second)]
    assert rates[1] == pytest.approx(rates[0], rel=1e-6)
    assert rates[0] == pytest.approx(0.02, rel=0.3)  # it is near the end of the ramp from 0.1


@pytest.mark.parametrize(
    'loop',
    [
        dict(type='InfoBatchEpochLoop', max_epochs=3),
        dict(type='InfoBatchIterLoop', max_iters=18, val_interval=100),
    ],
    ids=lambda loop: loop['type'],
)
def test_losses_of_a_pass_that_has_no_batch_left_on_the_new_ranks_are_scores_nonetheless(
    tmp_path, monkeypatch, loop
):
    # 24 samples in fours on 1 rank; after 5 of 6 iterations 4 are due, which make no batch of four
    # for each of 2 ranks. The losses of the other 20 were seen.
    first = small_runner(
        tmp_path,
        loop,
        drop_last=True,
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=5, by_epoch=False)),
    )
    first.train()
    unseen, begin_pass = {}, InfoBatchSampler.begin_pass

    def recorded(self):
        unseen[self._schedule.pass_index + 1] = int(self.scores.values.isnan().sum())
        return begin_pass(self)

    monkeypatch.setattr(InfoBatchSampler, 'begin_pass', recorded)
    monkeypatch.setattr(
        'mm_infobatch.passes.running_pass.gather_in_order',
        lambda losses: losses.repeat_interleave(2),
    )
    second = small_runner(
        tmp_path,
        loop,
        drop_last=True,
        sampler=dict(rank=0, world_size=2),
        load_from=str(tmp_path / 'iter_5.pth'),
        resume=True,
    )
    second.train()
    assert unseen == {1: 4, 2: 0}
    assert second.train_loop.schedule.progress == 1


def test_the_report_is_there_from_the_first_step(tmp_path, monkeypatch):
    (tmp_path / 'infobatch.json').write_text('of an earlier run')
    totals, after = [], InfoBatchHook.after_train_iter

    def read(hook, runner, *args, **kwargs):
        totals.append(json.loads((tmp_path / 'infobatch.json').read_text())['totals'])
        after(hook, runner, *args, **kwargs)

    monkeypatch.setattr(InfoBatchHook, 'after_train_iter', read)
    small_runner(tmp_path, dict(type='InfoBatchIterLoop', max_iters=12)).train()
    assert totals[0]['passes'] == 1 and totals[0]['samples_trained'] == totals[0]['saving'] == 0
    assert totals[6]['passes'] == 1 and totals[6]['samples_trained'] == 24


@pytest.mark.parametrize('max_iters', [15, 13, 20])
def test_the_saving_counts_the_share_of_a_pass_in_which_the_run_ends(tmp_path, max_iters):
    # 24 samples in fours: the unpruned run trains 4 a step, and ends within a pass.
    loop = dict(type='InfoBatchIterLoop', max_iters=max_iters, val_interval=100)
    runner = small_runner(tmp_path, loop, sampler=dict(delta=1.0))
    runner.train()
    report = json.loads((tmp_path / 'infobatch.json').read_text())
    trained, totals = len(runner.model.seen), report['totals']
    assert totals['samples_trained'] == trained < 4 * max_iters
    kept = report['passes'][-1]['kept']
    share = report['passes'][-1]['trained'] / kept
    assert 0 < share < 1
    assert totals['samples_full'] == 4 * max_iters
    assert totals['saving'] == pytest.approx(1 - trained / totals['samples_full'])


@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
@pytest.mark.parametrize(
    'long, short',
    [
        (dict(type='InfoBatchEpochLoop', max_epochs=6), dict(max_epochs=2)),
        (dict(type='InfoBatchIterLoop', max_iters=36, val_interval=100), dict(max_iters=12)),
    ],
)
def test_a_run_that_is_resumed_with_a_shorter_schedule_counts_what_it_trained(
    tmp_path, long, short
):
    by_epoch = 'max_epochs' in long
    hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch, interval=-1))
    small_runner(tmp_path / 'long', long, default_hooks=hooks).train()
    path = (tmp_path / 'long' / 'last_checkpoint').read_text()
    kwargs = dict(default_hooks=hooks, load_from=path, resume=True)
    small_runner(tmp_path / 'short', dict(long, **short), **kwargs).train()
    long_totals, totals = (
        json.loads((tmp_path / name / 'infobatch.json').read_text())['totals']
        for name in ('long', 'short')
    )
    for key in ('samples_trained', 'samples_full', 'saving', 'iterations'):
        assert totals[key] == long_totals[key], key


def test_a_schedule_written_in_passes_is_one_written_in_steps():
    for total, length in ((6, 1), (12, 3), (70, 10)):
        in_steps = PassSchedule(total, length)
        in_passes = PassSchedule(None, length, passes=total // length)
        assert in_passes.total == total
        records = [
            run(schedule, kept_shares(schedule, 0.875, random.Random(0)))
            for schedule in (in_steps, in_passes)
        ]
        assert records[0] == records[1]
        assert in_steps.state_dict() == in_passes.state_dict()


def test_a_run_that_began_without_infobatch_goes_on_where_it_is():
    schedule = PassSchedule(100, 10)
    schedule.skip_to(40, 4)
    assert schedule.progress == 0.4 and not schedule.iters_left and not schedule.finished
    record = run(schedule, lambda schedule: 6)
    assert record['passes'] == 6 and schedule.pass_index == 9
    assert schedule.walked == 100 and schedule.iters == 40 + 6 * 6
    finished = PassSchedule(100, 10)
    finished.skip_to(100, 10)
    assert finished.finished


def test_the_report_of_a_run_of_many_short_passes_encodes_each_pass_a_few_times(
    tmp_path, monkeypatch
):
    """All of them anew at the end of each pass would take longer than to train a small dataset."""
    encoded, dumps = [], json.dumps

    def spy(value, **kwargs):
        encoded.extend([value['pass']] if 'pass' in value else [])
        return dumps(value, **kwargs)

    monkeypatch.setattr('mm_infobatch.training.report.json.dumps', spy)
    checkpoint = dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=1)
    runner = small_runner(
        tmp_path,
        dict(type='InfoBatchIterLoop', max_iters=60),
        length=8,
        default_hooks=dict(checkpoint=checkpoint),
    )
    runner.train()
    assert set(encoded) == set(range(30)) and max(map(encoded.count, encoded)) <= 8
    (path,) = tmp_path.glob('iter_*.pth')
    state = torch.load(path, weights_only=False)['infobatch']
    assert json.loads((tmp_path / 'infobatch.json').read_text())['passes'] == state['records']
