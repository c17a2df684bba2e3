"""Each policy's expected weighted gradient: that of all data, or, for the biased ones, not."""

import math

import policies
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import BIASED, LENGTH, NORMALIZED, UNBIASED, all_weights, seeded, skewed

from mm_infobatch.policies import TargetSaving
from mm_infobatch.policies.importance import gradient_norms, keep_probabilities

NAN = float('nan')
PLANS = 1500


@pytest.fixture(scope='module')
def model():
    return policies.model_gradients()


@pytest.mark.parametrize('name', UNBIASED)
def test_the_expected_weighted_gradient_is_that_of_all_data(model, name):
    scores, gradients = model
    weights = policies.weights_of_plans(UNBIASED[name](), scores, PLANS)
    assert gradients.shape[1] == 43 and bool((weights == 0).any())
    # 43 means, each normal to within 5 standard errors: fails with 43 * 5.8e-7 = 2.5e-5.
    assert float(policies.distances(weights, gradients).max()) < 5
    # Control: the same plans without their weights.
    assert float(policies.distances((weights > 0).double(), gradients).max()) > 20


@pytest.mark.parametrize('name', BIASED)
def test_the_control_a_biased_policy_has_another_expected_gradient(model, name):
    scores, gradients = model
    weights = policies.weights_of_plans(BIASED[name](), scores, PLANS)
    assert float(policies.distances(weights, gradients).max()) > 20


def test_a_file_of_scores_gives_another_expected_gradient(model, tmp_path):
    scores, gradients = model
    policy = policies.write_scores(tmp_path / 'scores.npy', scores)
    weights = policies.weights_of_plans(policy, scores, 3)
    assert float(policies.distances(weights, gradients).max()) > 20
    highest = scores.topk(math.ceil(0.6 * LENGTH)).indices.sort().values
    assert torch.equal(weights[0].nonzero().squeeze(1), highest)


def test_random_pruning_shortens_the_expected_gradient_and_keeps_its_direction(model):
    scores, gradients = model
    weights = policies.weights_of_plans(BIASED['RandomPruning'](), scores, PLANS)
    # As above: fails with 2.5e-5.
    assert float(policies.distances(weights, gradients, factor=0.6).max()) < 5


@pytest.mark.parametrize('name', NORMALIZED)
def test_normalized_weights_shorten_the_expected_gradient_by_the_share_kept(model, name):
    scores, gradients = model
    weights = policies.weights_of_plans(NORMALIZED[name](), scores, PLANS)
    kept = (weights > 0).sum(1)
    assert len(kept.unique()) == 1  # the number of kept samples is exact
    assert torch.allclose(weights.sum(1), kept.double(), rtol=1e-6)
    share = int(kept[0]) / LENGTH
    # As above: fails with 2.5e-5.
    assert float(policies.distances(weights, gradients, factor=share).max()) < 5


@pytest.mark.parametrize('name', UNBIASED)
@pytest.mark.parametrize('length', [1, 2, 3, 5, 10, 33, 100, 1001])
def test_weights_of_an_unbiased_policy_sum_to_the_length_of_the_dataset(name, length):
    for seed in range(3):
        plan = UNBIASED[name]().plan(skewed(length, seed), seeded(seed))
        # Each weight is rounded to float32, so their sum is exact to that.
        assert abs(float(plan.weights.double().sum()) - length) <= length * 2**-24
        assert float(plan.weights.min()) >= 1


@pytest.mark.parametrize('name', [*UNBIASED, *BIASED])
def test_samples_without_a_score_are_kept_by_all_but_static_policies(name):
    scores = skewed(LENGTH)
    unseen = torch.rand(LENGTH, generator=seeded(1)) < 0.3
    scores[unseen] = NAN
    if name.startswith('UCB'):
        policy = {**UNBIASED, **BIASED}[name]().__class__(0.4)
        seen = (~unseen).nonzero().squeeze(1)
        policy.observe(seen, scores[seen], LENGTH)
    else:
        policy = {**UNBIASED, **BIASED}[name]()
    kept = torch.stack([all_weights(policy.plan(scores, seeded(seed))) > 0 for seed in range(20)])
    assert not kept.all()
    assert bool(kept[:, unseen].all()) is not name.startswith('Static')


@pytest.mark.parametrize('name', [*UNBIASED, *BIASED])
def test_a_plan_is_a_function_of_scores_and_generator(name):
    policy, scores = {**UNBIASED, **BIASED}[name](), skewed(LENGTH)
    before = scores.clone()
    first, second, other = (policy.plan(scores, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.indices, second.indices)
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(scores, before)
    fixed = name.startswith(('UCB', 'Static', 'KAKURENBO'))
    assert torch.equal(first.indices, other.indices) is fixed  # control


@pytest.mark.parametrize('name', UNBIASED)
@pytest.mark.parametrize('score', [0.0, 0.7, 1e20, -3.0])
def test_equal_scores_keep_the_weights_unbiased(name, score):
    """Some prune nothing then; those that name how much to prune choose at random."""
    scores = torch.full((LENGTH,), score)
    weights = policies.weights_of_plans(UNBIASED[name](), scores, 400)
    assert torch.allclose(weights.sum(1), torch.tensor(float(LENGTH)).double(), rtol=1e-6)
    # A sample's weight is at most 5, so its mean over 400 plans lies within 1 +- 0.7 but with a
    # chance of 2 exp(-2 * 400 * 0.7^2 / 25) = 3e-7; 150 samples: 5e-5. (The weights of
    # EpsilonGreedy are at most 5.)
    assert float((weights.mean(0) - 1).abs().max()) < 0.7
    assert float(weights.max()) <= 6


def test_no_weight_of_target_saving_exceeds_the_largest():
    scores = torch.cat([torch.zeros(700), skewed(300)])
    for max_weight in (1.5, 2, 5, 20):
        for saving in (0.1, 0.3, 0.6, 0.9):
            plan = TargetSaving(saving, max_weight).plan(scores, seeded())
            assert float(plan.weights.max()) <= max_weight * (1 + 1e-6)
            # It keeps as many as asked for, or as the largest weight lets it.
            least = 1000 * max(1 - saving, 1 / max_weight)
            assert least - 1 <= plan.kept <= least + 33


def test_the_keep_probabilities_are_the_best_of_their_sum_and_range():
    norms = gradient_norms(skewed(400)).double()
    ones = torch.ones(400).double()
    best = keep_probabilities(norms, ones, 200.0, 0.2)
    assert float(best.sum()) == pytest.approx(200, abs=1e-6)
    assert float(best.min()) >= 0.2 and float(best.max()) <= 1

    def variance(probabilities):
        return float((norms**2 * (1 / probabilities - 1)).sum())

    # Moving a bit of probability from one sample to another never makes it smaller.
    generator = seeded(2)
    for _ in range(300):
        one, other = torch.randint(400, (2,), generator=generator).tolist()
        moved = best.clone()
        moved[one] -= 1e-3
        moved[other] += 1e-3
        if float(moved.min()) >= 0.2 and float(moved.max()) <= 1:
            assert variance(moved) >= variance(best) - 1e-9
    assert variance(torch.full((400,), 0.5).double()) > 1.2 * variance(best)  # control


def test_at_equal_saving_target_saving_has_the_least_variance(model):
    """Of the unbiased ones, on the scores that these gradients belong to."""
    scores, gradients = model
    kept = 0.6
    below_mean = float((scores < scores.mean()).double().mean())
    rivals = {
        'TargetSaving': TargetSaving(1 - kept),
        'RandomPruning': policies.RandomPruning(1 - kept, rescale=True),
        'SoftPruning': policies.SoftPruning((1 - kept) / below_mean),
        'EpsilonGreedy': policies.EpsilonGreedy(1 - kept, 0.3, rescale=True),
        'QuantilePruning': policies.QuantilePruning([0.2, 0.85], [0.4, 1 - 0.28 / 0.65]),
    }
    spread = {}
    for name, policy in rivals.items():
        weights = policies.weights_of_plans(policy, scores, 800)
        assert abs(float((weights > 0).double().mean()) - kept) < 0.01
        spread[name] = float((weights @ gradients / LENGTH).var(0).sum())
    # From 800 plans a variance is known to about 5%; the margins are wider.
    assert min(spread, key=spread.get) == 'TargetSaving', spread


NUMBERS = st.one_of(
    st.floats(allow_infinity=False, width=32), st.just(0.0), st.just(0.7), st.floats(0, 5, width=32)
)


ANY = [*UNBIASED, 'EpsilonGreedy', 'RandomPruning', 'OrderDP', 'SeTa', 'KAKURENBO']


@pytest.mark.parametrize('name', ANY)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(values=st.lists(NUMBERS, min_size=1, max_size=60), repeat=st.integers(1, 5))
def test_any_scores_make_a_plan(name, values, repeat):
    """Any finite scores, ties, and any of them missing (NaN)."""
    scores = torch.tensor(values * repeat, dtype=torch.float32)
    plan = {**UNBIASED, **BIASED}[name]().plan(scores, seeded(1))
    weights = all_weights(plan)
    assert bool((weights[scores.isnan()] >= 1).all())
    if name in UNBIASED:
        assert float(weights.sum()) == pytest.approx(len(scores), rel=1e-6)
    if name.startswith('TargetSaving') and not scores.isnan().any():
        saving, largest = {', small': (0.2, 2), ', quantile': (0.4, 5)}.get(name[12:], (0.5, 5))
        assert float(weights.max()) <= largest * (1 + 1e-6)
        # Exact, but for what rounding up in each of its groups of 4 * max_weight or more costs.
        assert 0 <= plan.kept - round(len(scores) * (1 - saving)) <= len(scores) / 20 + 1
