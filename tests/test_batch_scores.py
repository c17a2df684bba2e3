"""Scores that depend on the batch: on one rank and several, resumed, and in a run."""

import io
import math

import pytest
import toolbox_runs as runs
import torch
from policies import skewed
from small_runner import Numbered, begin, state_of
from test_scores import Ranks, loss_of

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.batch_scores import batch_scores
from mm_infobatch.policies import Plan, SoftPruning

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
NAN = float('nan')


@pytest.mark.parametrize('length', [1, 2, 7, 256])
def test_the_scores_of_a_batch_are_those_of_their_formula(length):
    losses = skewed(length, length)
    mean = sum(losses.tolist()) / length
    assert batch_scores(None, losses) is losses
    assert batch_scores('mean', losses).tolist() == pytest.approx([mean] * length, rel=1e-6)
    expected = [loss - mean for loss in losses.tolist()]
    assert batch_scores('excess', losses).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('value', [0.1, 1 / 3, 2.3, 1e-20, 1e20])
@pytest.mark.parametrize('length', [1, 3, 1000, 4097])
def test_the_mean_of_equal_losses_is_that_loss(value, length):
    losses = torch.full((length,), value)
    assert torch.equal(batch_scores('mean', losses), losses)
    assert torch.equal(batch_scores('excess', losses), torch.zeros(length))


@pytest.mark.parametrize('kind', ['mean', 'excess'])
@pytest.mark.parametrize('bad', [NAN, math.inf, -math.inf])
@pytest.mark.parametrize('place', [0, 2])
def test_a_batch_with_a_loss_that_is_not_finite_gets_no_score(kind, bad, place):
    losses = torch.tensor([1.0, 2.0, 3.0])
    losses[place] = bad
    assert not bool(torch.isfinite(batch_scores(kind, losses)).any())


def slow_scores(kind, batches):
    """By loops: the score of each sample."""
    scores = {}
    for batch in batches:
        losses = [float(loss_of(torch.tensor(index))) for index in batch]
        mean = sum(losses) / len(losses)
        for index, loss in zip(batch, losses):
            # A sample that fills up the last round keeps its first score.
            scores.setdefault(index, mean if kind == 'mean' else loss - mean)
    return scores


@pytest.mark.parametrize('kind', ['mean', 'excess'])
@pytest.mark.parametrize('worlds', [(1,), (3,), (2, 2), (1, 2, 4, 3, 1), (3, 5)])
def test_the_batches_of_each_rank_reach_the_table_whatever_happens_in_between(
    monkeypatch, kind, worlds
):
    """A step on each number of ranks, then the rest: resumed, each time from a file."""
    state, batches = None, []
    for world_size in worlds:
        ranks = Ranks(monkeypatch, world_size, state=state, batch_score=kind)
        ranks.train(2, steps=1)
        batches += filter(None, ranks.batches)  # the pass may be done
        for one in ranks.passes:
            one.gather()
        file = io.BytesIO()
        torch.save(state_of(ranks.passes[0].sampler, ranks.passes[0]), file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    ranks = Ranks(monkeypatch, worlds[-1], state=state, batch_score=kind)
    ranks.train(2)
    batches += filter(None, ranks.batches)
    table, expected = ranks.merge(), slow_scores(kind, batches)
    kept = ranks.passes[0].sampler.plan.indices.tolist()
    assert set(expected) == set(kept) and len(kept) == 18
    assert table[kept].tolist() == pytest.approx([expected[index] for index in kept], rel=1e-5)


def test_batch_loss_scores_are_the_average_of_its_paper():
    """s <- 0.9 s + 0.1 * mean; the first one is the mean, where the published code starts at 0."""
    sampler = InfoBatchSampler(Numbered(6), seed=0, score_smoothing=0.9, batch_score='mean')
    expected = [NAN] * 6
    for step in range(4):
        losses = skewed(6, step)
        for batch in ([0, 3, 5], [1, 2, 4]):
            indices = torch.tensor(batch)
            sampler.scores.update(indices, batch_scores('mean', losses[indices]))
            mean = sum(losses[index].item() for index in batch) / 3
            for index in batch:
                old = expected[index]
                expected[index] = mean if math.isnan(old) else 0.9 * old + 0.1 * mean
    assert sampler.scores.values.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    'policy, batch_score, words',
    [
        ('SoftPruning', 'median', "batch_score='median' has to be None"),
        ('SoftPruning', 1, 'batch_score=1 has to be None'),
        ('RePB', 'mean', "batch_score='mean' does not fit RePB, which needs .* 'excess'"),
        ('KAKURENBO', 'mean', "batch_score='mean' does not fit KAKURENBO"),
        ('IES', 'excess', "batch_score='excess' does not fit IES"),
    ],
)
def test_a_kind_of_score_that_cannot_work_is_refused(policy, batch_score, words):
    with pytest.raises(ValueError, match=words):
        InfoBatchSampler(Numbered(6), dict(type=policy), seed=0, batch_score=batch_score)


def test_moving_averages_are_refused_where_a_score_has_to_be_the_latest_loss():
    """KAKURENBO takes exp(-score) for the probability of the label."""
    with pytest.raises(ValueError, match='score_smoothing=0.9 does not fit KAKURENBO, .*average'):
        InfoBatchSampler(Numbered(6), dict(type='KAKURENBO'), seed=0, score_smoothing=0.9)
    InfoBatchSampler(Numbered(6), dict(type='KAKURENBO'), seed=0, score_smoothing=0)


@pytest.mark.parametrize('policy', ['UCB', 'IES'])
def test_moving_averages_are_refused_where_the_policy_keeps_the_losses_itself(policy):
    with pytest.raises(ValueError, match=f'score_smoothing=0.9 does not fit {policy}, .*no effect'):
        InfoBatchSampler(Numbered(6), dict(type=policy), seed=0, score_smoothing=0.9)


def test_a_policy_gets_the_scores_that_it_needs():
    assert InfoBatchSampler(Numbered(6), dict(type='RePB'), seed=0).batch_score == 'excess'
    sampler = InfoBatchSampler(Numbered(6), dict(type='RePB'), seed=0, batch_score='excess')
    assert sampler.batch_score == 'excess'
    assert InfoBatchSampler(Numbered(6), seed=0).batch_score is None


@pytest.mark.parametrize('one, other', [('SoftPruning', 'RePB'), ('RePB', 'SoftPruning')])
def test_scores_of_another_kind_are_not_resumed(one, other):
    states = [InfoBatchSampler(Numbered(6), dict(type=each), seed=0) for each in (one, other)]
    with pytest.raises(ValueError, match='batch_score=.*cannot be compared.*resume=False'):
        states[1].load_state_dict(states[0].state_dict())
    states[0].load_state_dict(states[0].state_dict())  # control


# ------------------------------------------------------------- a policy knows its passes


class Counts(SoftPruning):
    """Remembers the passes that began."""

    def __init__(self):
        super().__init__()
        self.begun = []

    def begin_pass(self, plan):
        assert plan is None or isinstance(plan, Plan)
        self.begun.append(None if plan is None else plan.kept)


def test_a_policy_is_told_of_each_pass_once_and_with_the_plan_that_is_trained():
    policy = Counts()
    sampler = InfoBatchSampler(Numbered(30), policy, seed=0, warmup_passes=1)
    for index in range(3):
        begin(sampler, index, batch_size=8, drop_last=True)
        sampler.scores.update(torch.arange(30), skewed(30, index))
    begin(sampler, 3, progress=0.9)  # annealing
    assert policy.begun[0] is None and policy.begun[3] is None
    assert policy.begun[1:3] == [16, 16]  # whole batches
    other = Counts()
    resumed = InfoBatchSampler(Numbered(30), other, seed=0)
    resumed.load_state_dict(sampler.state_dict(8))
    resumed.scores.update(torch.arange(30), skewed(30, 9))
    resumed.set_epoch(3)
    assert resumed.plan.kept and other.begun == []
    resumed.set_epoch(4)
    assert resumed.plan.kept and len(other.begun) == 1


# ------------------------------------------------------------------------- in a run


@pytest.fixture(scope='module')
def cls_data(tmp_path_factory):
    return runs.write_classification_data(tmp_path_factory.mktemp('cls'), num_images=24)


@pytest.mark.parametrize('kind', ['mean', 'excess'])
def test_the_scores_of_a_run_are_those_of_its_batches(cls_data, tmp_path, kind):
    cfg = runs.switch_on(runs.classification_config(cls_data, str(tmp_path), max_epochs=2))
    cfg.train_dataloader.sampler.update(
        batch_score=kind, policy=dict(type='SoftPruning', prune_ratio=0)
    )
    recorder = runs.train(cfg)
    table = recorder.passes[1][0]
    for row in recorder.rows:
        if row['pass'] == 0:
            found = table[row['indices']]
            if kind == 'mean':  # the loss that is logged
                assert torch.allclose(found, torch.full_like(found, row['loss']['loss']), rtol=1e-5)
            else:
                assert abs(float(found.sum())) < 1e-5 and len(found.unique()) > 1


def test_the_log_says_what_a_run_is_biased_towards(cls_data, tmp_path):
    cfg = runs.switch_on(runs.classification_config(cls_data, str(tmp_path), max_epochs=3), delta=1)
    cfg.train_dataloader.sampler.policy = dict(type='RePB')
    runs.train(cfg)
    (log,) = tmp_path.glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'InfoBatch pass' in line]
    biased = ['biased in this pass, which the weights' in line for line in lines]
    assert biased == [False, True, True]
