"""The arithmetic below the policies, beside the same counted by hand or by NumPy."""

import math

import numpy as np
import policies
import pytest
import torch
from policies import seeded, skewed

from mm_infobatch import PRUNING_POLICIES
from mm_infobatch.policies import (
    KAKURENBO,
    UCB,
    EpsilonGreedy,
    FromFile,
    OrderDP,
    QuantilePruning,
    Run,
    SoftPruning,
    StaticRandom,
    TargetSaving,
)
from mm_infobatch.policies.drawing import draw_subset, keep_in_groups, mark_highest
from mm_infobatch.policies.importance import group_levels, levels_of, round_to_sum, value_of
from mm_infobatch.policies.thresholds import quantile_scores

# A pass over all data takes 10 steps and trains 100 samples.
PASS = dict(pass_length=10, samples_per_pass=100, samples_per_iter=10)
START = dict(pass_index=0, walked=0)
MIDDLE = dict(pass_index=8, samples_trained=500, samples_skipped=300)
END = dict(pass_index=23, samples_trained=1800, samples_skipped=500)
RUNS = {
    'from the start': dict(START, total=200, delta=0.875),
    'after a warm-up': dict(START, total=200, delta=0.875, first=3),
    'in a warm-up': dict(
        pass_index=1, walked=10, total=200, delta=0.875, first=3, samples_trained=100
    ),
    'to the end': dict(START, total=160, delta=1.0),
    'in the middle': dict(MIDDLE, walked=80, total=200, delta=0.85),
    'in the middle, by iterations': dict(MIDDLE, walked=50, total=200, delta=0.85),
    'while annealing': dict(END, walked=230, total=250, delta=0.875),
    'while annealing, by iterations': dict(END, walked=180, total=200, delta=0.875),
}
CASES = [
    (name, by_iterations)
    for name in RUNS
    for by_iterations in (False, True)
    if by_iterations == name.endswith('by iterations') or RUNS[name]['pass_index'] < 2
]


def walk(run, kept):
    """Walk to the end of the schedule; passes that may prune keep so many samples.

    Returns:
        tuple[int, int, int]: The passes that pruned, and the samples that the whole run trained and
        skipped.
    """
    walked, index, pruned = run.walked, run.pass_index, 0
    trained, skipped = run.samples_trained, run.samples_skipped
    while walked < run.total:
        prunes = index >= run.first and walked / run.total < run.delta
        samples = kept if prunes else run.samples_per_pass
        steps = samples // run.samples_per_iter if run.by_iterations else run.pass_length
        pruned += prunes
        skipped += run.samples_per_pass - samples
        if walked + steps > run.total:  # the run does not finish this pass
            assert not prunes
            steps = run.total - walked
            samples = steps * run.samples_per_iter
        walked, trained, index = walked + steps, trained + samples, index + 1
    return pruned, trained, skipped


@pytest.mark.parametrize('name, by_iterations', CASES)
@pytest.mark.parametrize('kept', [20, 50])
def test_the_most_that_a_run_saves_is_what_it_saves_if_each_pass_keeps_the_least(
    name, by_iterations, kept
):
    run = Run(**RUNS[name], **PASS, by_iterations=by_iterations)
    pruned, trained, skipped = walk(run, kept)
    saving = skipped / (trained + skipped)
    assert run.most_saving(kept / 100) == pytest.approx(saving, abs=1e-12)
    # Control: a pass more or less is another saving.
    assert pruned == 0 or abs((skipped - 80) / (trained + skipped) - saving) > 0.005
    # To save that much, the passes left have to skip what they skipped.
    due = skipped - run.samples_skipped
    assert run.skips_due(saving) == pytest.approx(due, abs=1e-9)
    assert run.passes_left(due) == pruned


@pytest.mark.parametrize(
    'skips, passes', [(0, 2), (1, 3), (133, 3), (134, 4), (250, 4), (251, 5), (360, 5)]
)
def test_the_last_pass_that_prunes_begins_before_annealing(skips, passes):
    """200 samples are left before annealing; n passes that skip s begin their last one after
    (n - 1) * (100 - s / n) of them."""
    run = Run(1, 0, 40, delta=0.5, by_iterations=True, **PASS)
    assert run.passes_left(skips) == passes
    begins = [(n - 1) * (100 - skips / n) for n in (passes, passes + 1)]
    assert begins[0] < 200 <= begins[1]


def test_the_number_of_a_level_is_within_a_128th_of_those_in_it():
    norms = torch.cat([skewed(10000), 10.0 ** -torch.arange(7.0), torch.tensor([1 - 2**-24])])
    error = value_of(levels_of(norms)) / norms.double() - 1
    assert float(error.abs().max()) <= 1 / 128
    assert float(error.min()) < -1 / 256 and float(error.max()) > 1 / 256  # on either side
    order = norms.sort().values
    assert bool((levels_of(order).diff() >= 0).all())


@pytest.mark.parametrize('least', [0.2, 0.5, 1 / 7])
@pytest.mark.parametrize('shape', ['spread', 'at the edges', 'few'])
@pytest.mark.parametrize('seed', range(8))
def test_groups_are_large_enough_and_hold_every_sample_once(least, shape, seed):
    generator = seeded(seed)
    probabilities = least + (1 - least) * torch.rand(500, generator=generator).double()
    counts = torch.randint(1, 9, (500,), generator=generator)
    if shape == 'at the edges':
        probabilities[:300], probabilities[400:] = least, 1
    elif shape == 'few':
        probabilities, counts = probabilities[:6], counts[:6] % 2
    probabilities = probabilities.sort().values
    group_of_level, sizes, means = group_levels(probabilities, counts, least)
    assert group_of_level.dtype == torch.uint8 and bool((group_of_level.diff() >= 0).all())
    last = len(sizes) - 1
    assert bool(((group_of_level == last) == (probabilities >= 1)).all())
    for group, (size, mean) in enumerate(zip(sizes, means)):
        of_group = group_of_level == group
        assert size == int(counts[of_group].sum())
        assert mean == pytest.approx(float((counts * probabilities)[of_group].sum()))
        # So that rounding to whole samples changes a weight by a quarter at most.
        assert group == last or size >= 4 / least or last == 1
    # Control: groups as large as possible would not follow the probabilities.
    assert shape != 'spread' or len(sizes) > 10


@pytest.mark.parametrize('seed', range(20))
def test_numbers_are_rounded_to_their_sum_by_the_largest_remainders(seed):
    generator = np.random.default_rng(seed)
    means = (generator.random(12) * 20).tolist()
    wide = round_to_sum(means, [0] * 12, [99] * 12, round(sum(means)))
    assert sum(wide) == round(sum(means))
    missing = round(sum(means)) - sum(map(math.floor, means))
    up = sorted(range(12), key=lambda i: means[i] % 1, reverse=True)[:missing]
    assert wide == [math.floor(mean) + (i in up) for i, mean in enumerate(means)]


@pytest.mark.parametrize('seed', range(20))
def test_numbers_that_are_rounded_stay_within_their_bounds(seed):
    generator = np.random.default_rng(seed)
    means = (generator.random(12) * 20).tolist()
    lowest = [math.floor(mean) - int(generator.integers(0, 3)) for mean in means]
    highest = [math.ceil(mean) + int(generator.integers(0, 3)) for mean in means]
    for total in range(sum(lowest) - 3, sum(highest) + 4):
        found = round_to_sum(means, lowest, highest, total)
        assert all(low <= value <= high for low, value, high in zip(lowest, found, highest))
        assert sum(found) == min(max(total, sum(lowest)), sum(highest))


@pytest.mark.parametrize('length', [1, 2, 3, 10, 101])
@pytest.mark.parametrize('unseen', [False, True])
def test_quantiles_of_scores_are_those_of_numpy(length, unseen):
    scores = skewed(length, 2)
    if unseen:
        scores[::3] = math.nan
    quantiles = [0.0, 0.01, 0.2, 0.5, 0.731, 0.85, 1.0]
    found = quantile_scores(scores, quantiles)
    seen = scores[~scores.isnan()].numpy().astype(np.float64)
    if len(seen):
        assert found == pytest.approx(np.quantile(seen, quantiles).tolist(), rel=1e-12)
    else:
        assert all(map(math.isnan, found))


@pytest.mark.parametrize('name', [*policies.UNBIASED, 'StaticRandom', 'EpsilonGreedy'])
def test_without_a_score_nothing_is_pruned_and_there_is_no_threshold(name):
    policy = {**policies.UNBIASED, **policies.BIASED}[name]()
    plan = policy.plan(torch.full((9,), math.nan), seeded())
    assert plan.threshold is None and (plan.pruned > 0) is name.startswith('Static')


@pytest.mark.parametrize(
    'policy, quantile',
    [
        (QuantilePruning([0.1, 0.3, 0.7], [0.5] * 3), 0.7),
        (SoftPruning(threshold='median'), 0.5),
        (SoftPruning(threshold=0.8, reverse=True), 0.8),
    ],
)
def test_the_threshold_of_a_plan_is_the_quantile(policy, quantile):
    scores = skewed(200)
    expected = np.quantile(scores.double().numpy(), quantile)
    assert policy.plan(scores, seeded()).threshold == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('prune_ratio, skipped', [(0.29, 29), (0.57, 57), (0.07, 7), (0.295, 29)])
@pytest.mark.parametrize('name', ['RandomPruning', 'SoftPruning', 'EpsilonGreedy', 'UCB', 'SeTa'])
def test_a_whole_number_of_skipped_samples_is_that_many(name, prune_ratio, skipped):
    """0.29 * 100 is 28.999999999999996, and of 100 samples 28 were skipped."""
    more = dict(SeTa=dict(num_groups=1)).get(name, {})
    policy = PRUNING_POLICIES.build(dict(type=name, prune_ratio=prune_ratio, **more))
    scores = torch.arange(100.0)
    if name == 'SoftPruning':
        scores = torch.cat([scores, torch.full((100,), 1e4)])  # 100 of them below the mean
    assert policy.plan(scores, seeded()).pruned == skipped


def test_a_whole_number_of_samples_is_that_many_in_the_other_policies():
    scores = torch.arange(100.0)
    sure = torch.zeros(100)
    assert KAKURENBO(hidden=0.29).plan(sure, seeded()).pruned == 29
    assert KAKURENBO(hidden=0.295).plan(sure, seeded()).pruned == 29
    assert OrderDP(subset=1.0, top=0.29).plan(scores, seeded()).kept == 29
    assert OrderDP(subset=0.29, top=1.0).plan(scores, seeded()).kept == 29
    assert OrderDP(subset=1.0, top=0.295).plan(scores, seeded()).kept == 29
    # 7 of the 100 samples below the median, which with float rounding were ceil(7.000000000000001).
    assert QuantilePruning([0.5], [0.07]).plan(torch.arange(200.0), seeded()).kept == 107
    assert QuantilePruning([0.5], [0.075]).plan(torch.arange(200.0), seeded()).kept == 108
    # Of the 7 samples below the quantile 2 are kept, as no weight may exceed 5.
    plan = TargetSaving(0.05, quantile=0.07).plan(scores, seeded())
    assert plan.pruned == 5 and float(plan.weights.max()) == 3.5


@pytest.mark.parametrize('quantile, below', [(0.07, 7), (0.14, 14), (0.28, 28), (0.29, 29)])
def test_a_sample_at_a_quantile_does_not_lie_below_it(quantile, below):
    """0.07 * 100 is 7.000000000000001, and the sample of that rank counted as below."""
    plan = SoftPruning(0.999, threshold=quantile).plan(torch.arange(101.0), seeded())
    assert plan.threshold == below and plan.pruned == below - 1


@pytest.mark.parametrize('delta', [0.55, 0.56])
def test_a_run_that_ends_its_last_pruned_pass_at_delta_makes_no_further_one(delta):
    """0.55 * 100 is 55.00000000000001, and a pass that begins there counted as one that prunes."""
    run = Run(**START, total=100, delta=delta, **PASS, by_iterations=True)
    pruned, trained, skipped = walk(run, 50)
    assert pruned == 9 if delta == 0.55 else 10
    assert run.most_saving(0.5) == pytest.approx(skipped / (trained + skipped), abs=1e-12)
    assert run.passes_left(skipped) == pruned


def test_255_buckets_beside_the_whole_one_are_possible():
    quantiles = [index / 256 for index in range(1, 256)]
    plan = QuantilePruning(quantiles, [0.5] * 255).plan(torch.arange(2560.0), seeded())
    assert plan.pruned == 255 * 5 and float(plan.weights.sum()) == 2560


@pytest.mark.parametrize('count', [1, 2, 100_000, 199_999, 200_000])
def test_nearly_all_or_next_to_none_of_many_samples_can_be_drawn(count):
    """Where the share rounds to 0 or to 1 in 16 bits."""
    drawn = draw_subset(torch.ones(200_001).bool(), count, seeded())
    assert int(drawn.sum()) == count


@pytest.mark.parametrize('count', range(8))
def test_as_many_of_the_highest_are_kept_as_asked_for_whatever_the_ties(count):
    scores = torch.tensor([1.0, 2.0, 2.0, 0.0, 2.0, 3.0, 0.0])
    kept = [mark_highest(scores, count, seeded(seed)) for seed in range(30)]
    for marked in kept:
        assert int(marked.sum()) == count
        assert sorted(scores[marked].tolist()) == sorted(scores.tolist())[7 - count :]
    # Ties are broken at random: the same in all 30 with a probability below 1e-9.
    ties = {2: 2, 3: 2, 6: 1}
    assert (len({tuple(marked.tolist()) for marked in kept}) > 1) is (count in ties)


def test_the_samples_of_groups_are_those_of_a_loop_over_groups():
    groups = torch.randint(0, 5, (1000,), generator=seeded(1)).to(torch.uint8)
    keep = [10, 1, 77, int((groups == 3).sum()), 20]
    indices, weights = keep_in_groups(groups, keep, seeded(2))
    generator, expected = seeded(2), torch.zeros(1000)
    for group, k in enumerate(keep):
        members = (groups == group).nonzero().squeeze(1)  # ascending on every machine
        n = len(members)
        if k < n:
            members = members[torch.randperm(n, generator=generator)[n - k :]]
        expected[members] = n / k
    assert torch.equal(indices, expected.nonzero().squeeze(1))
    assert torch.equal(weights, expected[indices])


@pytest.mark.parametrize('name', ['UCB, rescale', 'StaticRandom, rescale'])
def test_with_rescale_the_weights_of_a_fixed_choice_sum_to_the_length_of_the_dataset(name):
    plan = policies.BIASED[name]().plan(skewed(policies.LENGTH), seeded())
    assert 0 < plan.pruned and len(plan.weights.unique()) == 1
    assert float(plan.weights.double().sum()) == pytest.approx(policies.LENGTH, rel=1e-6)


def test_epsilon_greedy_draws_at_least_one_sample_at_random():
    scores = torch.arange(10.0)
    kept = [
        set(EpsilonGreedy(0.5, epsilon=0.01).plan(scores, seeded(seed)).indices.tolist())
        for seed in range(200)
    ]
    assert all(len(each) == 5 and {6, 7, 8, 9} < each for each in kept)
    # Each of the 6 others misses 200 draws with a probability of (5/6)^200 = 1.5e-16.
    assert set().union(*kept) == set(range(10))


@pytest.mark.parametrize('epsilon, certain', [(0.1, 5), (0.25, 4), (0.3, 4), (0.45, 3), (1, 0)])
def test_epsilon_greedy_keeps_the_highest_but_for_the_rounded_share_at_random(epsilon, certain):
    scores, policy = torch.arange(10.0), EpsilonGreedy(0.4, epsilon=epsilon)
    kept = [set(policy.plan(scores, seeded(seed)).indices.tolist()) for seed in range(200)]
    # A sample of the rest is in all 200 draws with a probability of at most (3/7)^200.
    assert set.intersection(*kept) == set(range(10 - certain, 10))


# ----------------------------------------------------------------------- states, files


def test_ucb_bounds_a_sample_that_it_never_observed_by_its_score():
    policy, scores = UCB(0.4, confidence=0), skewed(6)
    assert torch.equal(policy.bounds(scores), scores)
    policy.observe(torch.tensor([1, 4]), torch.tensor([8.0, 9.0]), 6)
    expected = scores.clone()
    expected[[1, 4]] = torch.tensor([8.0, 9.0])
    assert torch.equal(policy.bounds(scores), expected)


def test_ucb_takes_a_copy_of_a_state_and_forgets_its_own():
    policy = policies.observed(UCB(0.4), 6)
    state = policy.state_dict()
    before = {key: value.clone() for key, value in state.items()}
    other = UCB(0.4)
    other.load_state_dict(state)
    other.observe(torch.arange(6), torch.full((6,), 9.0), 6)
    assert all(torch.equal(state[key], before[key]) for key in before)
    policy.load_state_dict({})
    assert policy.state_dict() == {} and torch.equal(policy.bounds(skewed(6)), skewed(6))


def test_a_static_policy_chooses_anew_for_another_length():
    policy = StaticRandom(0.5)
    for length in (10, 21, 10):
        plan = policy.plan(skewed(length), seeded())
        assert (plan.num_samples, plan.kept) == (length, math.ceil(length / 2))


def test_a_file_keeps_at_least_its_share_and_tells_close_scores_apart(tmp_path):
    scores = 1 + np.arange(11) * 1e-6
    np.save(tmp_path / 'scores.npy', scores[::-1])
    plan = FromFile(str(tmp_path / 'scores.npy'), keep=0.25).plan(skewed(11), seeded())
    assert plan.indices.tolist() == [0, 1, 2]


@pytest.mark.parametrize('values', [1 - np.arange(11) * 1e-12, 2**40 - np.arange(11)])
def test_scores_of_eight_bytes_that_differ_are_no_ties(tmp_path, values):
    np.save(tmp_path / 'scores.npy', values)
    for reverse, expected in ((False, [0, 1, 2]), (True, [8, 9, 10])):
        policy = FromFile(str(tmp_path / 'scores.npy'), keep=0.25, reverse=reverse)
        assert policy.plan(skewed(11), seeded()).indices.tolist() == expected
