"""Policies: which samples a plan keeps, and what they weigh."""

import math

import numpy as np
import pytest
import torch
from policies import skewed
from small_runner import Numbered, rng_states, seeded
from torch import nn

from mm_infobatch import PRUNING_POLICIES, InfoBatchSampler
from mm_infobatch.policies import Plan, SoftPruning

NAN = float('nan')


def well_learned(scores):
    """Which scores lie below the mean, by numpy in float64."""
    scores = scores.numpy().astype(np.float64)
    seen = scores[~np.isnan(scores)]
    return torch.from_numpy(scores < seen.mean()) if len(seen) else torch.zeros(len(scores)).bool()


@pytest.mark.parametrize('prune_ratio', [0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 2**-53])
@pytest.mark.parametrize('length', [1, 2, 3, 4, 5, 7, 10, 33, 100, 1001])
def test_weights_sum_to_the_length_of_the_dataset(length, prune_ratio):
    scores = skewed(length)
    plan = SoftPruning(prune_ratio).plan(scores, seeded())
    marked = well_learned(scores)
    n = int(marked.sum())
    k = int(marked[plan.indices].sum())
    assert plan.pruned == n - k == math.floor(n * prune_ratio)
    total = float(plan.weights.double().sum())
    # A weight is n/k to float32 rounding (half of 2^-23 of itself), so their sum is n to that.
    assert abs(total - length) <= n * 2**-24
    learned = plan.weights[marked[plan.indices]]
    assert torch.equal(learned, torch.full_like(learned, n / k if k else 1.0))
    others = plan.weights[~marked[plan.indices]]
    assert torch.equal(others, torch.ones_like(others))
    assert len(others) == length - n  # nothing else is skipped
    assert float(plan.weights.max()) <= np.nextafter(
        np.float32(1 / (1 - prune_ratio)), np.float32(math.inf)
    )


def test_a_threshold_is_the_mean_of_the_scores():
    scores = skewed(50)
    scores[::7] = NAN
    plan = SoftPruning().plan(scores, seeded())
    assert plan.threshold == pytest.approx(np.nanmean(scores.numpy().astype(np.float64)), abs=1e-15)


def test_unseen_samples_are_never_pruned():
    scores = skewed(1000)
    unseen = torch.rand(1000, generator=seeded(1)) < 0.4
    scores[unseen] = NAN
    skipped = torch.zeros(1000).bool()
    for seed in range(50):
        plan = SoftPruning(0.9).plan(scores, seeded(seed))
        kept = torch.zeros(1000).bool()
        kept[plan.indices] = True
        assert kept[unseen].all()
        assert torch.equal(plan.weights[unseen[plan.indices]], torch.ones(int(unseen.sum())))
        skipped |= ~kept
    # Control: of the others below the mean each one is skipped in some plan (each stays in all 50
    # with probability 0.1^50).
    assert torch.equal(skipped, well_learned(scores))


def test_without_scores_nothing_is_pruned():
    plan = SoftPruning(0.9).plan(torch.full((10,), NAN), seeded())
    assert plan.pruned == 0 and plan.threshold is None
    assert torch.equal(plan.weights, torch.ones(10))


@pytest.mark.parametrize('score', [0.1, 1 / 3, 2.3, 1e-20, 1e20])
@pytest.mark.parametrize('length', [1, 3, 1000, 99_999])
def test_equal_scores_prune_nothing(length, score):
    plan = SoftPruning(0.5).plan(torch.full((length,), score), seeded())
    assert plan.pruned == 0
    assert torch.equal(plan.weights, torch.ones(length))


def test_six_million_equal_scores_prune_nothing():
    above = []
    for score in [0.1, 0.3, 0.7, 1.1]:
        scores = torch.full((6_000_001,), score)
        above += [bool(scores.mean() > scores[0]), bool(scores.numpy().mean() > scores[0].numpy())]
        plan = SoftPruning(0.5).plan(scores, seeded())
        assert plan.pruned == 0
        assert plan.threshold == float(scores[0])
        assert bool((plan.weights == 1).all())
    assert any(above)  # control: a float32 mean would have marked them all


def test_a_score_at_the_mean_is_not_well_learned():
    scores = torch.tensor([1.0, 2.0, 2.0, 2.0, 3.0])
    pruned = [
        set(range(5)) - set(SoftPruning(0.99).plan(scores, seeded(seed)).indices.tolist())
        for seed in range(20)
    ]
    assert set().union(*pruned) == set()  # one below the mean: floor(1 * 0.99) = 0 are skipped
    scores = torch.tensor([1.0, 1.0, 2.0, 3.0, 3.0])
    pruned = [
        set(range(5)) - set(SoftPruning(0.99).plan(scores, seeded(seed)).indices.tolist())
        for seed in range(20)
    ]
    assert set().union(*pruned) == {0, 1}  # both, one at a time: not so with probability 2^-19
    assert all(len(each) == 1 for each in pruned)


def test_a_mean_between_two_neighbouring_float32_is_not_rounded_before_comparing():
    low = torch.tensor(0.7)
    high = torch.nextafter(low, torch.tensor(1.0))
    scores = torch.stack([low, low, high, high])
    plan = SoftPruning(0.5).plan(scores, seeded())
    assert float(low) < plan.threshold < float(high)
    assert plan.pruned == 1 and {2, 3} < set(plan.indices.tolist())
    # one is enough to draw the mean off the others
    plan = SoftPruning(0.5).plan(torch.stack([low, high, high, high]), seeded())
    assert plan.pruned == 0 and float(low) < plan.threshold < float(high)
    plan = SoftPruning(0.5).plan(torch.stack([low, low, low, high]), seeded())
    assert plan.pruned == 1 and 3 in plan.indices


def test_negative_scores_are_compared_like_others():
    scores = torch.tensor([-3.0, -3.0, -1.0, -1.0])
    plan = SoftPruning(0.5).plan(scores, seeded())
    assert plan.threshold == -2 and plan.pruned == 1 and {2, 3} < set(plan.indices.tolist())


def test_a_plan_is_a_pure_function_of_scores_and_generator():
    scores = skewed(500)
    scores[::9] = NAN
    before, states = scores.clone(), rng_states()
    policy = SoftPruning(0.6)
    first = policy.plan(scores, seeded(3))
    torch.manual_seed(99), np.random.seed(99)
    changed = rng_states()
    second = policy.plan(scores, seeded(3))
    assert torch.equal(first.indices, second.indices)
    assert torch.equal(first.weights, second.weights)
    assert rng_states() == changed != states
    assert torch.equal(scores.nan_to_num(-1), before.nan_to_num(-1))
    other = policy.plan(scores, seeded(4))  # control
    assert not torch.equal(first.indices, other.indices)


def test_a_plan_is_typed_and_ascending():
    plan = SoftPruning(0.5).plan(skewed(100), seeded())
    assert plan.indices.dtype == torch.int64 and plan.weights.dtype == torch.float32
    assert torch.equal(plan.indices, plan.indices.unique())
    assert plan.kept + plan.pruned == plan.num_samples == 100


@pytest.mark.parametrize('prune_ratio', [1, 1.0, -0.1, 1.5, NAN, math.inf])
def test_a_prune_ratio_out_of_range_is_refused_with_the_line_to_change(prune_ratio):
    with pytest.raises(ValueError) as error:
        SoftPruning(prune_ratio)
    assert f'prune_ratio={prune_ratio}' in str(error.value)
    assert "policy=dict(type='SoftPruning', prune_ratio=0.5)" in str(error.value)


@pytest.mark.parametrize('prune_ratio', ['0.5', None, True, [0.5]])
def test_a_prune_ratio_that_is_no_number_is_refused_with_the_line_to_change(prune_ratio):
    with pytest.raises(TypeError) as error:
        SoftPruning(prune_ratio)
    assert repr(prune_ratio) in str(error.value)
    assert "policy=dict(type='SoftPruning', prune_ratio=0.5)" in str(error.value)


def test_every_well_learned_sample_is_as_likely_to_be_skipped():
    scores = skewed(41)
    marked = well_learned(scores)
    n, plans = int(marked.sum()), 4000
    expected = math.floor(n * 0.3) / n
    skipped = torch.zeros(41)
    policy, generator = SoftPruning(0.3), seeded(5)
    for _ in range(plans):
        plan = policy.plan(scores, generator)
        skipped += 1
        skipped[plan.indices] -= 1
    # A count is binomial; 5.5 sigma on each of at most 41 of them fails with less than 2e-6.
    sigma = math.sqrt(plans * expected * (1 - expected))
    assert float((skipped[marked] - plans * expected).abs().max()) < 5.5 * sigma
    assert float(skipped[~marked].sum()) == 0
    # Control: skipping the first ones would not pass.
    assert plans * (1 - expected) > 5.5 * sigma


def test_the_expected_weighted_gradient_is_the_gradient_of_all_data():
    torch.manual_seed(0)
    length = 61
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    inputs, labels = torch.randn(length, 5).double(), torch.arange(length) % 3
    losses = nn.functional.cross_entropy(model(inputs), labels, reduction='none')
    parameters = list(model.parameters())
    gradients = torch.stack(
        [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)]
            )
            for loss in losses
        ]
    )  # [N, D]
    full = gradients.mean(0)
    scores = losses.detach().float()
    marked = well_learned(scores)
    n = int(marked.sum())
    policy, generator, plans = SoftPruning(0.5), seeded(1), 4000
    weighted, plain = torch.zeros_like(full), torch.zeros_like(full)
    for _ in range(plans):
        plan = policy.plan(scores, generator)
        weighted += plan.weights.double() @ gradients[plan.indices] / length / plans
        plain += gradients[plan.indices].sum(0) / length / plans
    # Simple random sampling of k of n: the variance of (n/k) * sum is n^2 (1 - k/n) / k * S^2.
    k = n - n // 2
    spread = gradients[marked].var(0) * n**2 * (1 - k / n) / k
    sigma = (spread / plans).sqrt() / length
    # 39 parameters at 5 sigma each: fails with 39 * 5.8e-7 = 2.3e-5.
    assert len(full) == 39
    assert bool(((weighted - full).abs() <= 5 * sigma + 1e-9).all())
    # Control: without the weights it is another gradient.
    assert float(((plain - full).abs() / (sigma + 1e-9)).max()) > 20


def test_the_weighted_gradient_of_one_plan_is_that_of_the_weighted_loss():
    torch.manual_seed(0)
    model = nn.Linear(5, 3).double()
    inputs, labels = torch.randn(20, 5).double(), torch.arange(20) % 3
    losses = nn.functional.cross_entropy(model(inputs), labels, reduction='none')
    plan = SoftPruning(0.5).plan(losses.detach().float(), seeded())
    assert plan.pruned
    everything = torch.zeros(20).double()
    everything[plan.indices] = plan.weights.double()
    (one,) = torch.autograd.grad((losses * everything).sum() / 20, model.weight)
    losses = nn.functional.cross_entropy(
        model(inputs[plan.indices]), labels[plan.indices], reduction='none'
    )
    (other,) = torch.autograd.grad((losses * plan.weights).sum() / 20, model.weight)
    assert torch.allclose(one, other, rtol=1e-12, atol=0)


INDICES, WEIGHTS = torch.tensor([0, 2]), torch.ones(2)


@pytest.mark.parametrize(
    'indices, weights, words',
    [
        (INDICES.int(), WEIGHTS, 'int64'),
        (INDICES.half(), WEIGHTS, 'float16'),
        (INDICES[:0], WEIGHTS[:0], 'non-empty'),
        (INDICES[None], WEIGHTS[None], r'shape \(1, 2\)'),
        (INDICES, WEIGHTS.double(), 'float32'),
        (INDICES, WEIGHTS[:1], r'shape \(2,\)'),
        (torch.tensor([2, 0]), WEIGHTS, 'ascending'),
        (torch.tensor([2, 2]), WEIGHTS, 'ascending'),
        (torch.tensor([0, 3]), WEIGHTS, '3 samples'),
        (torch.tensor([-1, 2]), WEIGHTS, '-1 to 2'),
        (INDICES, torch.tensor([1.0, 0.0]), 'above 0'),
        (INDICES, torch.tensor([1.0, -1.0]), 'above 0'),
        (INDICES, torch.tensor([1.0, NAN]), 'finite'),
        (INDICES, torch.tensor([1.0, math.inf]), 'finite'),
    ],
)
def test_a_plan_that_is_none_is_refused(indices, weights, words):
    with pytest.raises(ValueError, match=words):
        Plan(indices, weights, 3)


def test_a_full_plan_keeps_all_at_weight_one():
    plan = Plan.full(4)
    assert plan.indices.tolist() == [0, 1, 2, 3] and plan.weights.tolist() == [1] * 4
    assert (plan.kept, plan.pruned, plan.threshold) == (4, 0, None)


class EverySecond:
    """A user's policy: keeps every second sample, at weight 2."""

    def __init__(self, begin=0):
        self.begin = begin

    def plan(self, scores, generator):
        indices = torch.arange(self.begin, len(scores), 2)
        return Plan(indices, torch.full((len(indices),), 2.0), len(scores))


@pytest.fixture
def registered():
    PRUNING_POLICIES.register_module(module=EverySecond)
    yield
    PRUNING_POLICIES._module_dict.pop('EverySecond')


def test_a_users_policy_is_named_by_a_config(registered):
    sampler = InfoBatchSampler(
        Numbered(6), policy=dict(type='EverySecond', begin=1), shuffle=False, seed=0
    )
    sampler.set_epoch(1)
    assert isinstance(sampler.policy, EverySecond)
    assert list(sampler) == [1, 3, 5]
    assert sampler.due()[1].tolist() == [2, 2, 2]


def test_a_policy_may_be_given_as_an_object():
    sampler = InfoBatchSampler(Numbered(6), policy=EverySecond(), shuffle=False, seed=0)
    assert list(sampler) == [0, 2, 4]


def test_the_policies_are_found_without_importing_them():
    assert PRUNING_POLICIES.build(dict(type='SoftPruning', prune_ratio=0.25)).prune_ratio == 0.25


def test_a_policy_that_plans_for_another_length_is_refused():

    class TooShort(EverySecond):
        def plan(self, scores, generator):
            return Plan.full(len(scores) - 1)

    with pytest.raises(ValueError, match='planned for 5 samples, but the dataset has 6'):
        InfoBatchSampler(Numbered(6), policy=TooShort(), seed=0).plan  # noqa: B018
