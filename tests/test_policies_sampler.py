"""Policies inside the sampler: configs, ranks, states, and the sampler's own switches."""

import math
import pickle

import numpy as np
import pytest
import torch
from policies import seeded, skewed
from small_runner import Numbered, default_sampler, rng_states

from mm_infobatch import PRUNING_POLICIES, InfoBatchSampler
from mm_infobatch.passes.order import spread_evenly
from mm_infobatch.policies import UCB, EpsilonGreedy, Plan, Run, StaticRandom

N = 101
CONFIGS = [
    dict(type='SoftPruning', prune_ratio=0.5, threshold='median'),
    dict(type='SoftPruning', prune_ratio=0.5, reverse=True),
    dict(type='QuantilePruning', quantiles=[0.2, 0.85], keep=[0.25, 0.5]),
    dict(type='TargetSaving', saving=0.4),
    dict(type='RandomPruning', prune_ratio=0.4),
    dict(type='EpsilonGreedy', prune_ratio=0.4),
    dict(type='UCB', prune_ratio=0.4),
    dict(type='TargetSaving', saving=0.4, quantile=0.8),
    dict(type='TargetSaving', saving=0.4, shrink=True),
    dict(type='RePB', prune_ratio=0.5),
    dict(type='OrderDP'),
    dict(type='SeTa', window_scale=0.6),
    dict(type='KAKURENBO'),
    dict(type='IES', threshold=1.0),
    dict(type='StaticRandom', keep=0.6),
    dict(type='FromFile', keep=0.6),
]


@pytest.fixture(params=CONFIGS, ids=lambda config: config['type'])
def policy(request, tmp_path):
    config = dict(request.param)
    if config['type'] == 'FromFile':
        np.save(tmp_path / 'scores.npy', skewed(N).numpy())
        config['path'] = str(tmp_path / 'scores.npy')
    return config


def trained(policy, passes=5, **kwargs):
    """A sampler some passes into a run, whose every sample got a loss in each."""
    sampler = InfoBatchSampler(Numbered(N), dict(policy), **{'seed': 0, 'num_passes': 20, **kwargs})
    train(sampler, range(passes))
    sampler.set_epoch(passes)
    return sampler


def train(sampler, passes):
    for index in passes:
        sampler.set_epoch(index)
        sampler.plan  # noqa: B018
        sampler.scores.update(torch.arange(N), losses_of(sampler, index))


def losses_of(sampler, index):
    """The scores of a pass, float32 [N]; all samples are in one batch."""
    losses = skewed(N, index)
    return losses - losses.mean() if sampler.batch_score == 'excess' else losses


def test_a_policy_is_named_by_a_config_and_says_what_it_is(policy):
    sampler = trained(policy)
    assert type(sampler.policy).__name__ == policy['type'] in repr(sampler.policy)
    assert 0 < sampler.plan.pruned < N
    assert PRUNING_POLICIES.get(policy['type']) is type(sampler.policy)


@pytest.mark.parametrize('stratify', [False, True])
def test_all_ranks_have_one_plan_and_share_it_evenly(policy, stratify):
    samplers = [trained(policy, rank=rank, world_size=3, stratify=stratify) for rank in range(3)]
    plans = [sampler.plan for sampler in samplers]
    for plan in plans[1:]:
        assert torch.equal(plan.indices, plans[0].indices)
        assert torch.equal(plan.weights, plans[0].weights)
    shares = [list(sampler) for sampler in samplers]
    assert len({len(share) for share in shares}) == 1
    assert sorted(set(sum(shares, []))) == plans[0].indices.tolist()
    assert sum(map(len, shares)) == -(-plans[0].kept // 3) * 3
    for sampler in samplers:
        indices, weights = sampler.due()
        beside = dict(zip(plans[0].indices.tolist(), plans[0].weights.tolist()))
        assert weights.tolist() == [beside[index] for index in indices.tolist()]


def test_a_policy_draws_nothing_from_the_global_generators(policy):
    states = rng_states()
    trained(policy).plan  # noqa: B018
    assert rng_states() == states


def test_a_sampler_that_goes_on_from_a_state_plans_as_one_that_never_stopped(policy):
    whole = trained(policy)
    taken_up = InfoBatchSampler(Numbered(N), dict(policy), seed=9, num_passes=20)
    state = whole.state_dict(consumed=0)
    assert torch.equal(whole.due()[0], whole.due()[0])
    pickle.loads(pickle.dumps(state))
    taken_up.load_state_dict(state)
    for index in range(5, 10):
        for sampler in (whole, taken_up):
            sampler.set_epoch(index)
        assert torch.equal(whole.due()[0], taken_up.due()[0])
        assert torch.equal(whole.due()[1], taken_up.due()[1])
        for sampler in (whole, taken_up):
            sampler.scores.update(*sampler_losses(sampler, index))


def sampler_losses(sampler, index):
    kept = sampler.plan.indices
    return kept, losses_of(sampler, index)[kept]


def test_the_control_without_its_state_a_stateful_policy_plans_otherwise():
    whole = trained(dict(type='UCB', prune_ratio=0.4))
    state = whole.state_dict()
    assert set(state['policy']) == {'mean', 'variance'}
    del state['policy']
    taken_up = InfoBatchSampler(Numbered(N), UCB(0.4), seed=9, num_passes=20)
    taken_up.load_state_dict(state)
    for sampler in (whole, taken_up):
        sampler.set_epoch(6)
    assert not torch.equal(whole.plan.indices, taken_up.plan.indices)


def test_a_state_does_not_change_with_the_policy():
    sampler = trained(dict(type='UCB', prune_ratio=0.4))
    state = sampler.state_dict()
    before = {key: value.clone() for key, value in state['policy'].items()}
    sampler.scores.update(torch.arange(N), torch.full((N,), 9.0))
    assert all(torch.equal(state['policy'][key], before[key]) for key in before)
    assert not torch.equal(sampler.policy.state_dict()['mean'], before['mean'])  # control


def test_the_bounds_of_ucb_are_those_of_their_formula():
    policy, mean, variance = UCB(0.4, confidence=2, smoothing=0.3), None, np.zeros(N)
    for seed in range(4):
        losses = skewed(N, seed).double().numpy()
        difference = 0 if mean is None else losses - mean
        mean = losses if mean is None else mean + 0.3 * difference
        variance = 0.7 * (variance + 0.3 * difference**2)
        policy.observe(torch.arange(N), skewed(N, seed), N)
    expected = mean + 2 * np.sqrt(variance)
    assert np.allclose(policy.bounds(skewed(N, 3)).numpy(), expected, rtol=1e-5)
    kept = policy.plan(skewed(N, 3), seeded()).indices.numpy()
    count = N - math.floor(N * 0.4)
    assert set(kept) == set(np.argsort(-expected)[:count])


def test_epsilon_greedy_keeps_the_highest_and_a_few_of_the_rest():
    scores, policy = skewed(N), EpsilonGreedy(0.4, epsilon=0.2)
    count = N - math.floor(N * 0.4)
    certain = set(scores.topk(count - round(count * 0.2)).indices.tolist())
    others = set()
    for seed in range(100):
        kept = set(policy.plan(scores, seeded(seed)).indices.tolist())
        assert len(kept) == count and certain < kept
        others |= kept - certain
    # Each of 52 others misses 100 draws of 12 with a chance of 40/52 ^ 100 = 4e-12.
    assert others == set(range(N)) - certain


def test_a_static_subset_is_the_same_in_every_pass_and_another_for_another_seed():
    subsets = [
        trained(dict(type='StaticRandom', keep=0.6, seed=seed), passes).plan.indices
        for seed, passes in ((0, 0), (0, 1), (0, 5), (1, 1))
    ]
    assert torch.equal(subsets[0], subsets[1]) and torch.equal(subsets[0], subsets[2])
    assert not torch.equal(subsets[0], subsets[3])
    assert len(subsets[0]) == math.ceil(0.6 * N)


@pytest.mark.parametrize('reverse', [False, True])
def test_a_file_keeps_its_highest_scores_or_its_lowest(tmp_path, reverse):
    values = np.arange(10)
    np.save(tmp_path / 'scores.npy', values)
    policy = PRUNING_POLICIES.build(
        dict(type='FromFile', path=str(tmp_path / 'scores.npy'), keep=0.3, reverse=reverse)
    )
    plan = policy.plan(skewed(10), seeded())
    assert plan.indices.tolist() == ([0, 1, 2] if reverse else [7, 8, 9])
    assert plan.weights.tolist() == [1, 1, 1]


def test_equal_scores_of_a_file_are_kept_by_chance_and_in_the_right_number(tmp_path):
    np.save(tmp_path / 'scores.npy', np.array([3] + [1] * 50 + [0] * 49))
    kept = [
        PRUNING_POLICIES.build(
            dict(type='FromFile', path=str(tmp_path / 'scores.npy'), keep=0.2, seed=seed)
        )
        .plan(skewed(100), seeded())
        .indices
        for seed in range(3)
    ]
    for indices in kept:
        assert len(indices) == 20 and 0 in indices and int(indices.max()) <= 50
    assert not torch.equal(kept[0], kept[1])


# ----------------------------------------------------------- the sampler's switches


@pytest.mark.parametrize('warmup, first', [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_warm_up_passes_prune_nothing(warmup, first):
    sampler = InfoBatchSampler(Numbered(N), seed=0, warmup_passes=warmup)
    sampler.scores.update(torch.arange(N), skewed(N))
    if not warmup:
        sampler = InfoBatchSampler(Numbered(N), seed=0)
    for index in range(8):
        sampler.set_epoch(index)
        assert (sampler.plan.pruned > 0) == (index >= first)
        sampler.scores.update(torch.arange(N), skewed(N))


def test_warm_up_holds_for_static_policies_too():
    sampler = InfoBatchSampler(Numbered(N), StaticRandom(0.5), seed=0, warmup_passes=2)
    for index in range(4):
        sampler.set_epoch(index)
        assert (sampler.plan.pruned > 0) == (index >= 2)


def test_a_smoothed_score_is_the_moving_average_of_the_losses():
    sampler = InfoBatchSampler(Numbered(3), seed=0, score_smoothing=0.75)
    sampler.scores.update(torch.tensor([0, 1]), torch.tensor([2.0, 4.0]))
    assert sampler.scores.values[:2].tolist() == [2, 4]  # the first loss as it is
    sampler.scores.update(torch.tensor([0, 2]), torch.tensor([6.0, 1.0]))
    assert sampler.scores.values.tolist() == [3, 4, 1]
    sampler.scores.update(torch.tensor([0]), torch.tensor([float('nan')]))
    assert sampler.scores.values.tolist() == [3, 4, 1]
    latest = InfoBatchSampler(Numbered(3), seed=0)  # control
    latest.scores.update(torch.tensor([0, 1]), torch.tensor([2.0, 4.0]))
    latest.scores.update(torch.tensor([0]), torch.tensor([6.0]))
    assert latest.scores.values[0] == 6


@pytest.mark.parametrize('world_size', [1, 2, 3, 4])
@pytest.mark.parametrize('share', [0.1, 0.3, 0.5, 0.9])
def test_stratified_batches_hold_equally_many_well_learned_samples(world_size, share):
    marked = torch.rand(997, generator=seeded(int(share * 10))) < share
    order = spread_evenly(marked, world_size)
    assert torch.equal(order.sort().values, torch.arange(997))
    for side in (True, False):  # in their own order
        assert bool((order[marked[order] == side].diff() > 0).all())
    shuffled = torch.zeros(0)
    for rank in range(world_size):
        mine = marked[order][rank::world_size]
        batches = mine[: len(mine) // 16 * 16].view(-1, 16).sum(1)
        assert int(batches.max() - batches.min()) <= 1
        whole = marked[rank::world_size]
        shuffled = torch.cat([shuffled, whole[: len(whole) // 16 * 16].view(-1, 16).sum(1).float()])
    assert float(shuffled.max() - shuffled.min()) > 1  # control: as they come


@pytest.mark.parametrize('world_size', [1, 2])
def test_a_stratified_pass_is_the_same_samples_and_weights(world_size):
    policy = dict(type='SoftPruning')
    plain, spread = (
        trained(policy, stratify=stratify, world_size=world_size, rank=0)
        for stratify in (False, True)
    )
    assert torch.equal(plain.plan.indices, spread.plan.indices)
    orders = [
        dict(zip(sampler.order.indices.tolist(), sampler.order.weights.tolist()))
        for sampler in (plain, spread)
    ]
    assert orders[0] == orders[1] and list(orders[0]) != list(orders[1])
    light = spread.due()[1][: len(spread.due()[1]) // 8 * 8].view(-1, 8) > 1
    assert int(light.sum(1).max() - light.sum(1).min()) <= 1


def test_a_stratified_pass_that_prunes_nothing_is_that_of_default_sampler():
    sampler = trained(dict(type='SoftPruning', prune_ratio=0), stratify=True)
    other = default_sampler(N, 1, 0, shuffle=True, seed=0)
    other.set_epoch(5)
    assert list(sampler) == list(other)
    annealing = trained(dict(type='SoftPruning'), stratify=True, delta=0.1)
    assert list(annealing) == list(other)


# --------------------------------------------------------- what a policy may have besides


class Curious:
    """Wants to know the run, and says what it was told."""

    def __init__(self):
        self.runs = []

    def plan(self, scores, generator, run=None):
        self.runs.append(run)
        return Plan.full(len(scores))


def test_a_policy_that_asks_for_the_run_is_told():
    policy = Curious()
    sampler = InfoBatchSampler(Numbered(N), policy, num_passes=4, delta=0.75, seed=0)
    for index in range(4):
        sampler.set_epoch(index)
        sampler.plan  # noqa: B018
    assert policy.runs == [
        Run(i, i, 4, pass_length=1, samples_per_pass=N, delta=0.75, samples_trained=i * N)
        for i in range(3)
    ]
    unknown = InfoBatchSampler(Numbered(N), Curious(), seed=0)
    unknown.plan  # noqa: B018
    assert unknown.policy.runs == [None]


def test_a_run_that_begins_again_counts_from_zero():
    policy = Curious()
    sampler = InfoBatchSampler(Numbered(N), policy, num_passes=4, delta=1, seed=0)
    for index in (0, 1, 0, 1):
        sampler.set_epoch(index)
        sampler.plan  # noqa: B018
    assert [run.samples_trained for run in policy.runs] == [0, N, 0, N]
