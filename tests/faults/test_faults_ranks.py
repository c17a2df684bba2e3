"""On any number of ranks, and on another one after each stop, every sample due is trained once."""

import itertools
import json
import math
import os
import signal

import pytest
import toolbox_runs as runs
import torch
from harness import Ranks, Training, train_lengths
from small_runner import Numbered, begin
from torch.utils.data import BatchSampler

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.schedule import PassSchedule

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

NUM_SAMPLES, BATCH = 56, 2


# ------------------------------------------------------------------------------- elastic


def elastic_config(folder, kind, length):
    """Four passes over 56 images, the last of them annealing; every iteration is saved."""
    if kind == 'segmentation':
        data = runs.write_segmentation_data(folder, num_images=NUM_SAMPLES)
        cfg = runs.segmentation_config(data, '', max_iters=4 * length, batch_size=BATCH)
    else:
        data = runs.write_classification_data(folder, num_images=NUM_SAMPLES)
        cfg = runs.classification_config(data, '', max_epochs=4, batch_size=BATCH)
    return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=0.7)


def interleaved(ranks):
    """What the ranks did, in the order of the pass."""
    return [value for values in zip(*ranks) for value in values]


@pytest.mark.runs
@pytest.mark.case(
    'Elastic',
    '{kind}, {worlds} processes in one pass',
    'each sample due is trained once, the weights sum to N, the scores are the union',
)
@pytest.mark.parametrize(
    'worlds',
    [
        pytest.param((1, 2, 4, 1), id='1-2-4-1'),
        pytest.param((3, 4, 1, 2), id='3-4-1-2', marks=pytest.mark.faults),
    ],
)
@pytest.mark.parametrize(
    'kind', ['classification', pytest.param('segmentation', marks=pytest.mark.faults)]
)
def test_a_pass_on_changing_numbers_of_ranks_trains_each_sample_once(tmp_path, kind, worlds):
    done = math.ceil(math.ceil(NUM_SAMPLES / worlds[0]) / BATCH)  # the first pass
    training = Training(elastic_config(tmp_path / 'data', kind, done), tmp_path / 'run')
    for number, world_size in enumerate(worlds[:-1]):
        done += 2
        moment = dict(kind='after', at=done - 1)
        training.killed(moment, *['--resume'] * (number > 0), world_size=world_size)
        state = training.last['infobatch']
        assert state['schedule']['pass_index'] == 1 and state['schedule']['iters'] == done
    training.finish('--resume', world_size=worlds[-1])

    order, weights = state['sampler']['order'].tolist(), state['sampler']['weights'].tolist()
    before = state['sampler']['scores']
    kept = len(order)
    trained, weighted, losses = [], [], []
    for start, world_size in enumerate(worlds):
        rows = [training.rows(rank)[start] for rank in range(world_size)]
        for values, key in ((trained, 'indices'), (weighted, 'weights')):
            values += interleaved(
                [value for row in rank if row['pass'] == 1 for value in row[key]] for rank in rows
            )
        saw = [training.losses(start, rank) for rank in range(world_size)]
        losses += interleaved(
            [value for index, _, values in rank if index == 1 for value in values] for rank in saw
        )
    assert kept < NUM_SAMPLES and trained[:kept] == order and weighted[:kept] == weights
    assert len(trained) - kept == -(kept - state['sampler']['consumed']) % worlds[-1]
    assert trained[kept:] == order[: len(trained) - kept]
    assert sum(weights) == pytest.approx(NUM_SAMPLES, rel=1e-6)

    after = next(
        found['sampler']['scores']
        for found in map(state_of, checkpoints(training))
        if found['schedule']['pass_index'] == 2
    )
    union = before.clone()
    union[torch.tensor(order)] = torch.tensor(losses[:kept], dtype=torch.float32)
    assert torch.equal(after, union) and torch.isfinite(after).all()

    report = runs.report_of(training.work_dir)
    assert [record['pass'] for record in report['passes']] == [0, 1, 2, 3]
    assert report['passes'][1]['trained'] == kept and report['totals']['finished'] is True
    assert [record['annealing'] for record in report['passes']] == [False] * 3 + [True]


def checkpoints(training):
    return sorted(
        training.work_dir.glob('iter_*.pth'), key=lambda path: int(path.stem.split('_')[1])
    )


def state_of(path):
    return torch.load(path, weights_only=False)['infobatch']


# --------------------------------------------------------------------------- equal steps


def ranks_of(length, world_size, well_learned):
    """The samplers of all ranks in a pass that prunes some of the samples."""
    for rank in range(world_size):
        sampler = InfoBatchSampler(Numbered(length), seed=3, rank=rank, world_size=world_size)
        scores = torch.ones(length)
        scores[:well_learned] = 0
        sampler.scores.update(torch.arange(length), scores)
        yield sampler


def batches(sampler, batch_size, drop_last):
    return list(BatchSampler(sampler, batch_size, drop_last))


@pytest.mark.default_cases('2-False', '3-True')
@pytest.mark.case(
    'Ranks',
    '{world_size} ranks: every length modulo ranks x batch size, no process',
    'the same plan and as many steps on every rank, drop_last or not',
)
@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('world_size', [1, 2, 3, 4])
def test_every_rank_makes_as_many_steps_for_every_length(world_size, drop_last):
    for batch_size in (1, 2, 3, 4):
        group = world_size * batch_size
        for length in range(1, 3 * group + 1):
            if drop_last and length < group:
                continue  # refused at the start
            for well_learned in {0, 1, length // 2, length - 1}:
                samplers = list(ranks_of(length, world_size, well_learned))
                for sampler in samplers:
                    begin(sampler, 1, 0.1, batch_size, drop_last)
                first = samplers[0].plan
                assert all(
                    torch.equal(sampler.plan.indices, first.indices)
                    and torch.equal(sampler.plan.weights, first.weights)
                    for sampler in samplers
                )
                steps = [batches(sampler, batch_size, drop_last) for sampler in samplers]
                (count,) = {len(each) for each in steps}
                assert count >= 1
                (kept,) = {len(sampler) for sampler in samplers}
                assert count == (kept // batch_size if drop_last else -(-kept // batch_size))
                for position in zip(*steps):
                    assert len({len(batch) for batch in position}) == 1
                handed_out = [index for each in steps for batch in each for index in batch]
                if not drop_last:
                    assert set(handed_out) == set(first.indices.tolist())
                assert len(handed_out) - len(set(handed_out)) < world_size or kept < world_size


@pytest.mark.case(
    'Ranks',
    'taken up by another number of ranks, at every position, no process',
    'as many steps on every rank, every sample due handed out, the schedule walked',
)
@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('before, after', list(itertools.permutations((1, 2, 3, 4), 2)))
def test_every_rank_makes_as_many_steps_of_what_is_left(before, after, drop_last):
    batch_size = 2
    for length in range(before * batch_size, 4 * before * batch_size + 1):
        for well_learned in (0, length // 2):
            (saver, *_) = ranks_of(length, before, well_learned)
            begin(saver, 1, 0.25, batch_size, drop_last)
            order = saver.order.indices.tolist()
            steps = len(batches(saver, batch_size, drop_last))
            for step in range(1, steps + 1):
                schedule = PassSchedule(80, 20)
                schedule.begin_pass(steps)
                for _ in range(step):
                    schedule.advance()
                consumed = step * batch_size * before
                state = saver.state_dict(consumed)
                made = []
                for rank in range(after):
                    sampler = InfoBatchSampler(
                        Numbered(length), seed=3, rank=rank, world_size=after
                    )
                    sampler.load_state_dict(state)
                    made.append(batches(sampler, batch_size, drop_last))
                (count,) = {len(each) for each in made}
                if not drop_last:
                    handed_out = {index for each in made for batch in each for index in batch}
                    assert handed_out >= set(order[consumed:])
                    assert len(handed_out - set(order[consumed:])) < after
                taken_up = PassSchedule(80, 20)
                taken_up.load_state_dict(schedule.state_dict(), count)
                for _ in range(count):
                    assert taken_up.iters_left
                    taken_up.advance()
                assert not taken_up.iters_left and taken_up.walked == 20


def lengths(world_size):
    """Every length modulo ranks x batch size (4), in both loops, with drop_last and without."""
    group = 4 * world_size
    cases = []
    for drop_last in (False, True):
        for length in range(group, 2 * group):
            share = math.ceil(length / world_size)
            per_pass = share // 4 if drop_last else math.ceil(share / 4)
            loop = (
                dict(type='InfoBatchEpochLoop', max_epochs=3)
                if length % 2 == drop_last
                else dict(type='InfoBatchIterLoop', max_iters=3 * per_pass)
            )
            cases.append((length, drop_last, loop))
    small = [
        (length, False, dict(type='InfoBatchEpochLoop', max_epochs=3))
        for length in range(1, world_size + 1)
    ]
    return small + cases


@pytest.mark.faults
@pytest.mark.case(
    'Ranks',
    '{world_size} gloo processes: every length modulo ranks x batch size',
    'the same plans, as many steps on every rank, no hang',
)
@pytest.mark.parametrize('world_size', [1, 2, 3, 4])
def test_real_processes_make_the_same_plans_and_as_many_steps(tmp_path, world_size):
    cases = lengths(world_size)
    ranks = Ranks(train_lengths, (cases, str(tmp_path)), world_size, tmp_path / 'out')
    assert ranks.wait() == [0] * world_size, ranks.said()
    done = [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(world_size)]
    assert all(rank == done[0] for rank in done)
    pruned = 0
    for (length, _, _), (*passes, _) in zip(cases, done[0]):
        assert len(passes) == 3
        assert [len(passes[index][1]) for index in (0, 2)] == [length, length]
        for _, _, weights in passes:
            assert sum(weights) == pytest.approx(length, rel=1e-5)
        pruned += len(passes[1][1]) < length
    assert pruned >= 2


# -------------------------------------------------------------------------- a dead rank


def death_config(folder, world_size):
    data = runs.write_segmentation_data(folder, num_images=12)
    cfg = runs.segmentation_config(data, '', max_iters=6 * world_size, batch_size=1)
    cfg.env_cfg.dist_cfg.timeout = 15
    return runs.switch_on(runs.checkpoints_every(cfg, 2), delta=0.8)


def survivors_fail(training, ranks, dead):
    """The ranks that are left end by themselves, with an error."""
    alive = [process for rank, process in enumerate(ranks.processes) if rank != dead]
    for process in alive:
        process.join(120)
    codes = [process.exitcode for process in alive]
    ranks.kill()
    assert None not in codes, f'{codes.count(None)} ranks hang'
    assert all(code > 0 for code in codes), codes


@pytest.mark.runs
@pytest.mark.case(
    'Ranks',
    'rank {dead} of {world_size} is killed {where}',
    'the others end with an error, and the run can be resumed',
)
@pytest.mark.parametrize(
    'world_size, dead, where',
    [
        pytest.param(2, 0, 'before an iteration', marks=pytest.mark.faults),
        pytest.param(2, 1, 'while the others wait for its scores'),
        pytest.param(4, 2, 'before an iteration', marks=pytest.mark.faults),
    ],
)
def test_a_rank_that_dies_ends_the_run(tmp_path, world_size, dead, where):
    training = Training(death_config(tmp_path / 'data', world_size), tmp_path / 'run')
    last = 12 // world_size - 1  # of the first pass, after which the losses are merged
    moment = (
        dict(kind='within', at=last, rank=dead)
        if 'scores' in where
        else dict(kind='before', at=last, rank=dead)
    )
    ranks, marker = training.start(world_size=world_size, moment=moment)
    assert ranks.wait_for(marker), ranks.said()
    ranks.kill([dead])
    survivors_fail(training, ranks, dead)
    training.finish('--resume', world_size=world_size)
    assert runs.report_of(training.work_dir)['totals']['finished'] is True


@pytest.mark.faults
@pytest.mark.case(
    'Ranks',
    'rank 1 of 2 stands still',
    'the other ends with an error at the timeout of the process group',
)
def test_a_rank_that_stands_still_ends_the_run(tmp_path):
    training = Training(death_config(tmp_path / 'data', 2), tmp_path / 'run')
    ranks, marker = training.start(world_size=2, moment=dict(kind='time', at=3))
    assert ranks.wait_for(marker), ranks.said()
    os.killpg(ranks.processes[1].pid, signal.SIGSTOP)
    survivors_fail(training, ranks, 1)
    assert 'imed out' in ranks.said() or 'imeout' in ranks.said()
