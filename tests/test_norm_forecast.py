"""TargetSaving(shrink=True): keep probabilities by what scores foretell of the next losses."""

import math

import pytest
import torch
from policies import all_weights, seeded, skewed, weights_of_plans
from small_runner import Numbered

from mm_infobatch import InfoBatchSampler
from mm_infobatch.policies import TargetSaving
from mm_infobatch.policies.importance import gradient_norms
from mm_infobatch.policies.norm_forecast import NormForecast

N = 400


def learned(scores, losses):
    forecast = NormForecast()
    forecast.learn(scores, losses)
    return forecast


def test_the_slope_is_that_of_squared_norms_and_the_forecast_follows_it():
    # Squared norms 0.2, 0.4, 0.6 were followed by 0.15, 0.15, 0.3. Divided by their means they are
    # 0.5, 1, 1.5 and 0.75, 0.75, 1.5: slope 0.375 / 0.5.
    before, after = (
        -torch.log1p(-torch.tensor(squares).sqrt())
        for squares in ([0.2, 0.4, 0.6], [0.15, 0.15, 0.3])
    )
    forecast = learned(before, after)
    assert forecast.slope == pytest.approx(0.75, rel=1e-5)
    # 0.25 * 0.4 + 0.75 * 0.2 = 0.25, and so on.
    found = forecast.norms(before).square()
    assert found.tolist() == pytest.approx([0.25, 0.4, 0.55], rel=1e-5)


@pytest.mark.parametrize(
    'scores, losses, slope',
    [
        ([0.1, 0.5, 2.0], [0.1, 0.5, 2.0], 1),
        ([0.1, 0.5, 0.6], [0.01, 0.5, 9.0], 1),  # steeper is no evidence for more than the scores
        ([0.1, 0.5, 2.0], [2.0, 0.5, 0.1], 0),  # nor is a fall for the opposite choice
        ([0.5, 0.5, 0.5], [0.1, 0.5, 2.0], 0),
        ([0.1, math.nan, 2.0], [0.1, 9.0, 2.0], 1),
    ],
)
def test_the_slope_lies_between_0_and_1(scores, losses, slope):
    assert learned(torch.tensor(scores), torch.tensor(losses)).slope == pytest.approx(slope)


def test_too_few_pairs_leave_the_slope_as_it_was():
    forecast = learned(torch.tensor([0.2, 0.4]), torch.tensor([0.2, 0.4]))
    for scores in ([], [0.3], [math.nan, 0.3]):
        forecast.learn(torch.tensor(scores), torch.ones(len(scores)))
    assert forecast.slope == pytest.approx(1)


def test_at_slope_0_the_choice_is_random_and_at_slope_1_it_is_that_of_the_scores():
    scores = skewed(N)
    policy = TargetSaving(0.3, shrink=True)
    assert policy.plan(scores, seeded()).weights.unique().tolist() == pytest.approx([1 / 0.7])
    policy.observe(torch.arange(N), scores, N, scores)
    following, plain = (each.plan(scores, seeded()) for each in (policy, TargetSaving(0.3)))
    assert torch.equal(following.indices, plain.indices)
    assert torch.equal(following.weights, plain.weights)
    assert plain.weights.max() > 2


def test_with_noisy_losses_the_gradient_has_a_lower_variance_by_it():
    true = skewed(N) * 0.5
    noise = [(1.5 * torch.randn(N, generator=seeded(seed)) - 1).exp() for seed in range(3)]
    shrunk = TargetSaving(0.3, shrink=True)
    shrunk.observe(torch.arange(N), true * noise[1], N, true * noise[0])
    squares, spread = gradient_norms(true * noise[2]).double().square(), []
    for policy in (shrunk, TargetSaving(0.3)):
        weights = weights_of_plans(policy, true * noise[1], 100) - 1
        # Of gradients that are orthogonal to each other: their variances add up.
        spread.append(float((weights.square().mean(0) * squares).sum()))
    # The sum is known to a few percent from 100 plans; the margin is wider.
    assert spread[0] < 0.9 * spread[1], spread


def test_the_sampler_hands_over_the_scores_that_samples_had():
    sampler = InfoBatchSampler(Numbered(N), TargetSaving(0.3, shrink=True), num_passes=9, seed=0)
    losses = [skewed(N, seed) for seed in range(2)]
    losses.append(losses[1] * 2)
    for index in range(3):
        sampler.set_epoch(index)
        indices = torch.tensor(list(sampler))
        before = sampler.scores.values[indices].clone()
        sampler.scores.update(indices, losses[index][indices])
        expected = learned(before, losses[index][indices]).state_dict()
        assert sampler.policy.state_dict() == expected
    assert 0.3 < expected['slope'] <= 1


def test_samples_without_a_score_are_kept():
    scores = skewed(N)
    scores[::7] = math.nan
    policy = TargetSaving(0.3, shrink=True)
    policy.observe(torch.arange(N), skewed(N, 1), N, scores)
    weights = all_weights(policy.plan(scores, seeded()))
    assert bool((weights[::7] == 1).all()) and int((weights == 0).sum()) > 50


def test_a_state_is_loaded_and_that_of_another_policy_leaves_none():
    one, other = TargetSaving(0.3, shrink=True), TargetSaving(0.3, shrink=True)
    one.observe(torch.arange(N), skewed(N) * 1.1, N, skewed(N))
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict() and one.state_dict()['slope'] > 0.5
    other.load_state_dict(dict(mean=torch.zeros(N), variance=torch.zeros(N)))
    assert other.state_dict() == dict(slope=0.0)
    plain = TargetSaving(0.3)
    plain.load_state_dict(one.state_dict())
    assert plain.state_dict() == {}
