"""How often each sample was trained, and the mean and spread of its losses."""

import io
import math
import threading

import numpy as np
import pytest
import torch
from small_runner import Numbered, begin, running_pass, small_runner

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.scores import ScoreTable
from mm_infobatch.passes.tracking import FARTHEST, MOST, SampleTracker
from mm_infobatch.policies import Plan

NAN = float('nan')


def tracked(num_samples, *passes, **kwargs):
    """A score table that took these losses by index, one dict a pass."""
    scores = ScoreTable(num_samples, track=True, **kwargs)
    for losses in passes:
        scores.update(torch.tensor(list(losses)), torch.tensor(list(losses.values())))
    return scores


def assert_same(left, right):
    """Two states of trackers are the same, bit for bit."""
    assert left.keys() == right.keys() == {'trained', 'mean', 'squares', 'passes', 'unfinished'}
    assert left['passes'] == right['passes']
    for key in ('trained', 'mean', 'squares', 'unfinished'):
        assert left[key].dtype == right[key].dtype
        np.testing.assert_array_equal(left[key].numpy(), right[key].numpy(), key)


# ----------------------------------------------------------------------- arithmetic


def test_every_sample_begins_unseen():
    tracker = SampleTracker(3)
    assert tracker.trained.tolist() == tracker.skipped().tolist() == [0, 0, 0]
    assert tracker.mean.isnan().all() and tracker.spread().isnan().all()
    assert tracker.passes == 0


def test_a_sample_has_the_mean_and_the_spread_of_its_losses():
    tracker = tracked(3, {0: 1.0, 2: 5.0}, {2: 5.0}, {0: 4.0}, {0: 7.0}).tracker
    assert tracker.trained.tolist() == [3, 0, 2]
    assert tracker.mean[[0, 2]].tolist() == [4, 5] and tracker.mean[1].isnan()
    spread = tracker.spread()
    assert spread[[0, 2]].tolist() == [pytest.approx(math.sqrt(6)), 0] and spread[1].isnan()


KINDS = {
    'falling': lambda rng, n, k: np.exp(rng.normal(1 - 0.02 * k, 0.5, n)),
    'all over': lambda rng, n, k: np.exp(rng.normal(0, 3, n)),
    'nearly the same': lambda rng, n, k: 2.3 + 1e-3 * rng.normal(size=n),
    'negative': lambda rng, n, k: rng.normal(-4, 1, n),
}


@pytest.mark.parametrize('kind', KINDS)
def test_300_passes_do_not_drift_from_float64(kind, monkeypatch):
    monkeypatch.setattr('mm_infobatch.passes.tracking.BLOCK', 300)
    rng, length = np.random.default_rng(0), 1000
    scores = ScoreTable(length, track=True)
    given = np.full((300, length), np.nan)
    for index in range(300):
        losses = KINDS[kind](rng, length, index).astype(np.float32)
        kept = rng.permutation(length)[: round(length * rng.uniform(0.3, 1))]
        scores.update(torch.from_numpy(kept), torch.from_numpy(losses[kept]))
        given[index, kept] = losses[kept]
    tracker = scores.tracker
    np.testing.assert_array_equal(tracker.trained, np.isfinite(given).sum(axis=0))
    mean = np.nanmean(given, axis=0)
    np.testing.assert_allclose(tracker.mean, mean, rtol=5e-6)
    np.testing.assert_allclose(tracker.spread(), np.nanstd(given, axis=0), rtol=2e-4)


def test_a_plain_sum_of_squares_would_have_lost_a_small_spread():
    """The control of the test above: float32 sums of losses and of their squares."""
    rng = np.random.default_rng(0)
    given = KINDS['nearly the same'](rng, (300, 100), 0).astype(np.float32)
    total = squares = np.zeros(100, np.float32)
    for losses in given:
        total, squares = total + losses, squares + losses**2
    spread = np.sqrt(np.abs(squares / np.float32(300) - (total / np.float32(300)) ** 2))
    assert np.abs(spread / given.std(axis=0, dtype=np.float64) - 1).max() > 0.01


@pytest.mark.parametrize('bad', [NAN, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_not_counted(bad):
    tracker = tracked(2, {0: 1.0, 1: 3.0}, {0: bad, 1: 5.0}).tracker
    assert tracker.trained.tolist() == [1, 2]
    assert tracker.mean.tolist() == [1, 4] and tracker.spread().tolist() == [0, 1]


def test_a_sample_that_is_named_twice_at_once_is_counted_once():
    scores = ScoreTable(2, track=True)
    scores.update(torch.tensor([1, 1]), torch.tensor([3.0, 3.0]))
    assert scores.tracker.trained.tolist() == [0, 1] and scores.tracker.mean[1] == 3


@pytest.mark.parametrize('losses', [(3e38, -3e38, 3e38), (0.0, 1e30, 3e38), (3.4e38,) * 3])
def test_the_largest_losses_leave_finite_numbers(losses):
    tracker = tracked(1, *({0: loss} for loss in losses)).tracker
    state = tracker.state_dict()
    assert state['mean'].isfinite().all() and state['squares'].isfinite().all()
    assert MOST * FARTHEST**2 < torch.finfo(torch.float32).max


def test_a_count_stays_at_its_largest_with_mean_and_spread():
    scores = tracked(2, {0: 1.0}, {0: 3.0})
    state = scores.tracker.state_dict()
    state['trained'][0] = MOST - 1
    scores.tracker.load_state_dict(state)
    scores.update(torch.tensor([0, 1]), torch.tensor([2.0, 2.0]))
    before = scores.tracker.state_dict()
    assert before['trained'].tolist() == [MOST, 1]
    scores.update(torch.tensor([0, 1]), torch.tensor([100.0, 4.0]))
    after = scores.tracker.state_dict()
    assert after['trained'].tolist() == [MOST, 2] and after['mean'][1] == 3
    assert after['mean'][0] == before['mean'][0] and after['squares'][0] == before['squares'][0]


def test_smoothed_scores_leave_the_losses_that_are_tracked_as_they_are():
    passes = [{0: 1.0, 1: 2.0}, {1: 4.0}, {0: 9.0, 1: 6.0}]
    smoothed, latest = tracked(3, *passes, smoothing=0.5), tracked(3, *passes)
    assert smoothed.values[0] == 5 and latest.values[0] == 9
    assert_same(smoothed.tracker.state_dict(), latest.tracker.state_dict())


# --------------------------------------------------------------- beside the planning


class Watched:
    """A policy that looks at the tracker and the threads while it plans."""

    def __init__(self, fails=False):
        self.threads, self.fails = [], fails

    def plan(self, scores, generator):
        self.threads += [
            each for each in threading.enumerate() if 'mm_infobatch.tracking' in each.name
        ]
        if self.fails:
            raise ValueError('no plan')
        scores.fill_(7)  # what is kept is a copy
        return Plan(torch.arange(len(scores)), torch.ones(len(scores)), len(scores))


def test_losses_are_taken_in_a_thread_that_ends_with_the_planning():
    sampler = InfoBatchSampler(Numbered(4), policy=Watched(), seed=0)
    train(begin(sampler, 0))
    indices, losses = torch.arange(4), torch.ones(4)
    sampler.scores.update(indices, losses)
    indices.fill_(0)
    losses.fill_(9)  # nor do the caller's tensors matter any more
    begin(sampler, 1)
    tracker = sampler.scores.tracker
    assert tracker._pending is None and tracker._trained.tolist() == [2] * 4
    assert tracker.mean.tolist() == [0.5, 1, 1.5, 2]
    assert sampler.policy.threads and not any(each.is_alive() for each in sampler.policy.threads)


def test_the_thread_ends_where_the_policy_fails():
    sampler = InfoBatchSampler(Numbered(4), policy=Watched(fails=True), seed=0)
    sampler.scores.update(torch.arange(4), torch.ones(4))
    with pytest.raises(ValueError, match='no plan'):
        begin(sampler, 1)
    assert sampler.policy.threads and not any(each.is_alive() for each in sampler.policy.threads)
    assert sampler.scores.tracker.trained.tolist() == [1] * 4


def test_what_fails_in_the_thread_is_raised(monkeypatch):
    sampler = InfoBatchSampler(Numbered(4), seed=0)
    sampler.scores.update(torch.arange(4), torch.ones(4))
    monkeypatch.setattr('mm_infobatch.passes.tracking.BLOCK', 0)
    with pytest.raises(RuntimeError, match='split'):
        begin(sampler, 1)


# -------------------------------------------------------------------------- passes


def train(sampler, batch_size=1):
    """Train the pass of a sampler to its end; the loss of sample i in pass p is i + p."""
    running = running_pass(sampler)
    for _ in range(sampler.shape.rank_iters(len(running._weights))):
        running.add(torch.tensor(running.indices(batch_size)) + float(sampler.epoch))
    running.merge()
    running.merge()  # there is nothing left
    return running


def train_passes(sampler, count):
    """Train passes to their end; how many of them each sample was in."""
    trained = torch.zeros(len(sampler.scores))
    for epoch in range(count):
        train(begin(sampler, epoch))
        trained[sampler.order.indices.long()] += 1
    return trained


def test_a_pass_that_prunes_is_one_that_others_skip():
    sampler = InfoBatchSampler(Numbered(40), seed=0)
    trained = train_passes(sampler, 4)
    tracker = sampler.scores.tracker
    assert tracker.passes == 4 and trained.min() < 4
    assert torch.equal(tracker.trained.float(), trained)
    assert torch.equal(tracker.skipped(), (4 - trained).int())


def test_a_pass_is_counted_when_it_was_trained_to_its_end():
    sampler = begin(InfoBatchSampler(Numbered(8), seed=0), 0)
    running = running_pass(sampler)
    running.add(torch.ones(5))
    running.merge()  # a run that ends in a pass, and may go on
    assert sampler.scores.tracker.passes == 0
    assert (
        sampler.scores.tracker.trained.sum() == 5 and (sampler.scores.tracker.skipped() == 0).all()
    )
    running.add(torch.ones(3))
    running.merge()
    assert sampler.scores.tracker.passes == 1 and (sampler.scores.tracker.trained == 1).all()


def test_a_pass_that_has_not_ended_skips_nothing_and_hides_no_skip():
    sampler = InfoBatchSampler(Numbered(40), seed=0)
    finished = train_passes(sampler, 3)
    running = running_pass(begin(sampler, 3))
    for part in (4, 5):  # a run that ends in a pass, and a longer one that does too
        running.add(torch.ones(part))
        running.merge()
        state, table = sampler.state_dict(), ScoreTable(40, track=True)
        assert len(state['tracked']['unfinished']) == running.rank_trained
        table.load_state_dict(dict(values=state['scores'], tracked=state['tracked']))
        for tracker in (sampler.scores.tracker, table.tracker):
            assert tracker.passes == 3 and torch.equal(tracker.skipped(), (3 - finished).int())
    assert (finished < 3).any()
    running.add(torch.ones(len(sampler.order.indices) - 9))
    running.merge()
    finished[sampler.order.indices.long()] += 1
    assert torch.equal(sampler.scores.tracker.skipped(), (4 - finished).int())


def test_what_drop_last_leaves_out_is_skipped():
    sampler = begin(InfoBatchSampler(Numbered(10), seed=0), 0, batch_size=4, drop_last=True)
    train(sampler, batch_size=4)
    tracker = sampler.scores.tracker
    assert tracker.passes == 1
    assert tracker.trained.sum() == 8 and tracker.skipped().sum() == 2


# ---------------------------------------------------------------------- checkpoints


def test_the_state_survives_a_checkpoint_that_is_loaded_weights_only():
    first = tracked(4, {0: 0.1, 1: 2.0}, {0: 0.7, 3: 5.0})
    first.tracker.end_pass()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = ScoreTable(4, track=True)
    second.load_state_dict(torch.load(file, weights_only=True))
    for scores in (first, second):
        scores.update(torch.tensor([0, 2]), torch.tensor([0.3, 0.4]))
    assert_same(first.tracker.state_dict(), second.tracker.state_dict())


def test_a_state_is_a_copy_both_ways():
    first, second = tracked(2, {0: 1.0, 1: 2.0}), ScoreTable(2, track=True)
    state = first.state_dict()
    second.load_state_dict(state)
    first.update(torch.tensor([0]), torch.tensor([9.0]))
    assert second.tracker.mean.tolist() == [1, 2]
    for key in ('trained', 'mean', 'squares'):
        state['tracked'][key].fill_(7)
    assert second.tracker.mean.tolist() == [1, 2] and first.tracker.mean.tolist() == [5, 2]
    assert second.tracker.trained.tolist() == [1, 1] and first.tracker.trained.tolist() == [2, 1]


def test_a_state_takes_10_bytes_a_sample():
    tensors = [each for each in SampleTracker(1000).state_dict().values() if torch.is_tensor(each)]
    assert sum(each.numel() * each.element_size() for each in tensors) == 10_000


def test_without_tracking_nothing_is_kept():
    sampler = InfoBatchSampler(Numbered(4), seed=0, track=False)
    sampler.scores.update(torch.arange(4), torch.ones(4))
    assert sampler.scores.tracker is None and 'tracked' not in sampler.state_dict()


@pytest.mark.parametrize('before, now', [(True, False), (False, True)])
def test_a_state_loads_where_tracking_was_switched(before, now):
    first, second = (InfoBatchSampler(Numbered(4), seed=0, track=each) for each in (before, now))
    for sampler in (first, second):
        sampler.scores.update(torch.arange(4), torch.ones(4))
    second.load_state_dict(first.state_dict())
    if now:  # not the losses of another run
        assert_same(second.scores.tracker.state_dict(), SampleTracker(4).state_dict())


def test_tracking_changes_nothing_that_is_trained(tmp_path):
    ends = []
    for track in (True, False):
        runner = small_runner(
            tmp_path / str(track),
            dict(type='InfoBatchIterLoop', max_iters=48),
            sampler=dict(track=track),
        )
        runner.train()
        ends.append((runner.model.seen, runner.model.head.weight.tolist()))
    assert ends[0] == ends[1] and len(ends[0][0]) < 4 * 48


# A run of 24 samples in batches of 4: passes of 6 iterations, or fewer.
def run(work_dir, sampler=None, **kwargs):
    return small_runner(
        work_dir,
        dict(type='InfoBatchIterLoop', max_iters=36),
        sampler=dict(delta=0.8, **(sampler or {})),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1, save_last=True)
        ),
        **kwargs,
    )


def train_and_listen(runner):
    """Train, and return the warnings."""
    lines = []
    runner.logger.warning = lines.append
    runner.train()
    return lines


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('whole')
    runner = run(work_dir)
    runner.train()
    return work_dir, runner


def test_a_run_ends_with_what_its_model_saw(whole):
    _, runner = whole
    tracker = runner.train_loop.sampler.scores.tracker
    counts = torch.bincount(torch.tensor(runner.model.seen), minlength=24)
    assert torch.equal(tracker.trained.long(), counts) and tracker.passes == 6
    assert tracker.skipped().sum() == 6 * 24 - len(runner.model.seen) > 0


@pytest.mark.parametrize('done', [1, 5, 6, 7, 10, 13, 18, 25])
def test_a_resumed_run_ends_with_the_same_bit_for_bit(whole, tmp_path, done):
    work_dir, runner = whole
    path = work_dir / f'iter_{done}.pth'
    again = run(tmp_path, load_from=str(path), resume=True)
    again.train()
    ends = [each.train_loop.sampler.scores.tracker.state_dict() for each in (again, runner)]
    assert_same(*ends)


def without_tracking(checkpoint, path):
    """The checkpoint of an earlier mm_infobatch."""
    content = torch.load(checkpoint, weights_only=False)
    del content['infobatch']['sampler']['tracked'], content['infobatch']['settings']['track']
    torch.save(content, path)
    return path


def test_an_earlier_checkpoint_is_tracked_from_there_on_and_the_log_says_so_once(whole, tmp_path):
    work_dir, runner = whole
    path = without_tracking(work_dir / 'iter_8.pth', tmp_path / 'old.pth')
    state = torch.load(path, weights_only=False)['infobatch']
    assert state['merged'] == 0 < len(state['losses'])  # it lies in the second pass
    again = run(tmp_path, load_from=str(path), resume=True)
    warnings = train_and_listen(again)
    assert again.model.head.weight.tolist() == runner.model.head.weight.tolist()
    tracker = again.train_loop.sampler.scores.tracker
    # All but the first pass: what was not in the score table yet is in the checkpoint.
    assert tracker.passes == 5
    counts = torch.bincount(torch.tensor(runner.model.seen[24:]), minlength=24)
    assert torch.equal(tracker.trained.long(), counts)
    assert sum('they are tracked from here on' in line for line in warnings) == 1


def test_a_checkpoint_with_them_resumes_without_and_back(whole, tmp_path):
    work_dir, runner = whole
    off = run(
        tmp_path / 'off', dict(track=False), load_from=str(work_dir / 'iter_8.pth'), resume=True
    )
    off_said = train_and_listen(off)
    assert off.model.head.weight.tolist() == runner.model.head.weight.tolist()
    assert sum('are dropped' in line for line in off_said) == 1
    on = run(tmp_path / 'on', load_from=str(tmp_path / 'off' / 'iter_12.pth'), resume=True)
    on_said = train_and_listen(on)
    assert on.model.head.weight.tolist() == runner.model.head.weight.tolist()
    assert sum('are tracked from here on' in line for line in on_said) == 1
    plain = run(tmp_path / 'plain', load_from=str(work_dir / 'iter_8.pth'), resume=True)
    plain_said = train_and_listen(plain)
    assert not any('trained, ' in line for line in plain_said)
