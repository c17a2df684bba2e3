"""The rules since InfoBatch, beside the same by loops and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import all_weights, seeded, skewed
from test_convert import classification

from mm_infobatch.cli.infobatch_options import switch_on_infobatch
from mm_infobatch.policies import (
    IES,
    KAKURENBO,
    UCB,
    OrderDP,
    Plan,
    RePB,
    Run,
    SeTa,
    TargetSaving,
    build_policy,
)
from mm_infobatch.policies.drawing import draw_subset
from mm_infobatch.policies.seta import group_bounds

NAN = float('nan')
NEW = {
    'RePB': dict(prune_ratio=0.6),
    'OrderDP': dict(subset=0.6, top=0.5),
    'SeTa': dict(num_groups=3, window_scale=0.6),
    'KAKURENBO': dict(hidden=0.5, confidence=0.6),
    'IES': dict(threshold=2.0, prune_ratio=0.5),
    'TargetSaving': dict(saving=0.3, quantile=0.7),
}


def build(name):
    return build_policy(dict(type=name, **NEW[name]))


def run_at(walked, total=90, pass_index=None):
    """A run with a pass a step."""
    index = walked if pass_index is None else pass_index
    return Run(index, walked, total, pass_length=1, samples_per_pass=100, delta=1.0)


def kept_by(plan):
    return set(plan.indices.tolist())


# ------------------------------------------------------------------------------- RePB


@pytest.mark.parametrize('seed', range(5))
def test_repb_is_the_rule_of_its_paper_batch_by_batch(seed):
    """Ten passes over batches of 4, by lists: who was trained, who lay below, who returns."""
    length, ratio, generator = 30, 0.4, seeded(seed)
    policy = RePB(ratio)
    scores = torch.full((length,), NAN)
    trained, selected, left_out = set(range(length)), [1] * length, 0
    policy.begin_pass(None)
    for passes in range(1, 10):
        order = [i for i in torch.randperm(length, generator=generator).tolist() if i in trained]
        losses = torch.rand(length, generator=generator)
        stays, may_leave = set(), set(range(length)) - trained
        for at in range(0, len(order), 4):
            batch = order[at : at + 4]
            mean = sum(losses[i].item() for i in batch) / len(batch)
            for i in batch:
                scores[i] = losses[i].item() - mean
                (stays if losses[i].item() >= mean else may_leave).add(i)
        plan = policy.plan(scores, seeded(100 * seed + passes))
        kept = kept_by(plan)
        assert stays <= kept
        assert len(may_leave & kept) == len(may_leave) - math.floor(len(may_leave) * ratio)
        for i, weight in zip(plan.indices.tolist(), plan.weights.tolist()):
            assert weight == pytest.approx((passes + 1) / (selected[i] + 1), rel=1e-6)
        policy.begin_pass(plan)
        for i in kept:
            selected[i] += 1
        trained = kept
        left_out += length - len(kept)
    assert left_out > 20 and max(selected) == 10 and min(selected) < 8


def test_repb_by_hand():
    policy = RePB(0.5)
    scores = torch.tensor([0.5, -0.5, -0.1, 0.0])
    policy.begin_pass(None)
    plan = policy.plan(scores, seeded())
    assert {0, 3} < kept_by(plan) and plan.kept == 3 and plan.weights.tolist() == [1, 1, 1]
    policy.begin_pass(Plan(torch.tensor([0, 1, 3]), torch.ones(3), 4))  # the third was skipped
    seen = {}
    for seed in range(20):
        plan = policy.plan(scores, seeded(seed))
        seen.update(zip(plan.indices.tolist(), plan.weights.tolist()))
    assert seen == {0: 1, 1: 1, 2: 1.5, 3: 1}  # the third pass; of the three, two trained it


def test_repb_never_skips_a_sample_at_the_mean_of_its_batch():
    scores = torch.tensor([0.0, 0.0, -1.0, -1.0, 0.0])
    kept = [kept_by(RePB(0.9).plan(scores, seeded(seed))) for seed in range(30)]
    assert all({0, 1, 4} < each for each in kept)
    assert set.union(*kept) == set(range(5))  # either of the others, but with 2 * 0.5^30


def test_over_the_run_the_weights_of_repb_come_near_the_number_of_passes():
    """Not so in each pass: there, a sample below the mean is worth less, and the others more."""
    policy, scores = RePB(0.5), torch.cat([torch.full((2000,), -1.0), torch.ones(2000)])
    policy.begin_pass(None)
    totals, of_first = torch.ones(4000).double(), 0.0
    for passes in range(1, 100):
        plan = policy.plan(scores, seeded(passes))
        weights = all_weights(plan)
        totals += weights
        of_first = float(weights[:2000].mean()) if passes == 1 else of_first
        policy.begin_pass(plan)
    assert torch.equal(totals[2000:], torch.full((2000,), 100.0).double())
    # The mean over 2000 samples of 100 passes has a standard error far below 1 %.
    assert float(totals[:2000].mean()) == pytest.approx(100, rel=0.05)
    assert of_first == pytest.approx(0.5, abs=0.01)  # control: one pass alone


def test_repb_asks_for_scores_relative_to_the_batch_and_has_a_threshold_of_0():
    assert RePB.batch_score == 'excess'
    assert RePB().plan(torch.tensor([NAN, 1.0]), seeded()).threshold == 0
    assert RePB().plan(torch.tensor([NAN, NAN]), seeded()).threshold is None


# ---------------------------------------------------------------------------- OrderDP


@pytest.mark.parametrize('length', [1, 2, 3, 10, 57])
@pytest.mark.parametrize('subset, top', [(0.75, 0.85), (0.5, 0.5), (1, 0.3), (0.3, 1), (0.1, 0.1)])
def test_order_dp_keeps_the_top_of_what_it_drew(length, subset, top):
    scores = skewed(length)
    plan = OrderDP(subset, top).plan(scores, seeded(1))
    size = max(1, int(length * subset))
    drawn = draw_subset(torch.ones(length).bool(), size, seeded(1)).nonzero().squeeze(1).tolist()
    best = sorted(drawn, key=lambda i: scores[i].item(), reverse=True)[: max(1, int(size * top))]
    assert kept_by(plan) == set(best) and set(plan.weights.tolist()) == {1.0}


def test_order_dp_keeps_the_higher_of_two():
    """Of 4 samples 2 are drawn, in one of 6 ways, and the higher one is kept."""
    scores, policy, generator = torch.tensor([4.0, 3.0, 2.0, 1.0]), OrderDP(0.5, 0.5), seeded()
    counts = [0] * 4
    for _ in range(3000):
        (index,) = policy.plan(scores, generator).indices.tolist()
        counts[index] += 1
    # 5 standard errors of a share are at most 0.046: fails with 4 * 5.8e-7.
    assert [count / 3000 for count in counts] == pytest.approx([1 / 2, 1 / 3, 1 / 6, 0], abs=0.046)


# ------------------------------------------------------------------------------- SeTa


def slow_kmeans(values, num_groups):
    """Lloyd's algorithm by loops, from the same quantiles; the groups that are not empty."""
    distinct = sorted(set(values))
    num_groups = min(num_groups, len(distinct))
    centres = [distinct[int((g + 0.5) / num_groups * len(distinct))] for g in range(num_groups)]
    while True:
        groups = [[] for _ in centres]
        for value in values:
            # The higher one of two that are equally near.
            nearest = min(range(len(centres)), key=lambda g: (abs(value - centres[g]), -g))
            groups[nearest].append(value)
        new = [sum(group) / len(group) if group else c for group, c in zip(groups, centres)]
        if new == centres:
            return [sorted(group) for group in groups if group]
        centres = new


# Sixteenths, so that sums are exact and ties are ties.
SIXTEENTHS = st.lists(st.integers(0, 400).map(lambda n: n / 16), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(values=SIXTEENTHS, num_groups=st.integers(1, 8))
def test_the_groups_are_those_of_k_means_by_loops(values, num_groups):
    values = sorted(values)
    bounds = group_bounds(np.array(values, np.float32), num_groups).tolist()
    assert bounds == [group[0] for group in slow_kmeans(values, num_groups)]


@pytest.mark.parametrize(
    'values, num_groups, bounds',
    [
        ([0, 0.1, 0.2, 5, 5.1, 9], 3, [0, 5, 9]),
        ([2, 2, 2], 5, [2]),
        ([1, 1, 1, 7], 5, [1, 7]),
        ([3], 1, [3]),
        ([0, 0, 0, 0, 0, 0, 1, 100], 2, [0, 100]),
    ],
)
def test_groups_by_hand(values, num_groups, bounds):
    found = group_bounds(np.array(values, np.float32), num_groups)
    assert found.tolist() == np.array(bounds, np.float32).tolist()


def test_neighbouring_float32_are_told_apart():
    """Their middle is no float32: it is rounded to the lower one, or to the higher one."""
    low = np.float32(0.7)
    for _ in range(2):
        high = np.nextafter(low, np.float32(1))
        assert group_bounds(np.array([low, low, high]), 2).tolist() == [low, high]
        low = high


CLUSTERS = torch.tensor([0.0, 0.1, 2.0, 2.1, 4.0, 4.1, 6.0, 6.1, 8.0, 8.1])


def test_the_window_of_seta_slides_from_easy_to_hard_and_starts_again():
    policy = SeTa(0, num_groups=5, window_scale=0.6)
    for index in range(1, 79):
        plan = policy.plan(CLUSTERS, seeded(), run_at(index))
        first = index % 3  # 3 of 5 groups: 3 places
        assert kept_by(plan) == set(range(2 * first, 2 * first + 6)), index
        assert set(plan.weights.tolist()) == {1.0}
    for index in (79, 85, 89):  # 79 / 90 lies above 0.875
        assert policy.plan(CLUSTERS, seeded(), run_at(index)).kept == 10
    assert kept_by(policy.plan(CLUSTERS, seeded())) == set(range(6))  # without a run


def test_the_published_settings_of_seta_keep_four_of_five_groups():
    plan = SeTa(0).plan(CLUSTERS, seeded(), run_at(1))
    assert kept_by(plan) == set(range(2, 10))


def test_seta_skips_a_random_share_in_its_last_passes_too():
    scores, policy = skewed(200), SeTa(0.3)
    kept = [policy.plan(scores, seeded(seed), run_at(85)) for seed in range(20)]
    assert {plan.kept for plan in kept} == {140}
    # Each sample is left out 20 times with a probability of 0.3^20, and never with 0.7^20 = 8e-4.
    assert set.union(*map(kept_by, kept)) == set(range(200))


@pytest.mark.parametrize('seed', range(5))
def test_seta_is_the_window_of_the_groups_of_what_it_drew(seed):
    scores, policy = (skewed(80, seed) * 16).round() / 16, SeTa(0.25, 4, 0.5)
    plan = policy.plan(scores, seeded(seed), run_at(2))
    drawn = draw_subset(torch.ones(80).bool(), 60, seeded(seed)).nonzero().squeeze(1).tolist()
    groups = slow_kmeans(sorted(scores[i].item() for i in drawn), 4)
    window = sum(groups[2 % (len(groups) - 1) :][:2], [])
    assert len(groups) == 4
    assert kept_by(plan) == {i for i in drawn if scores[i].item() in window}


# -------------------------------------------------------------------------- KAKURENBO


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('hidden, confidence', [(0.3, 0.7), (0.6, 0.9), (0.05, 0.51), (0, 0.7)])
def test_kakurenbo_hides_the_lowest_and_moves_back_those_it_is_not_sure_of(
    seed, hidden, confidence
):
    scores = skewed(60, seed)
    plan = KAKURENBO(hidden, confidence).plan(scores, seeded())
    lowest = sorted(range(60), key=lambda i: scores[i].item())[: math.floor(60 * hidden)]
    moved_back = {i for i in lowest if math.exp(-scores[i].item()) < confidence}
    assert kept_by(plan) == set(range(60)) - (set(lowest) - moved_back)
    assert float(plan.weights.sum()) == pytest.approx(60) and len(plan.weights.unique()) == 1


def test_kakurenbo_by_hand():
    """Label probabilities of 0.95, 0.8, 0.75, 0.6 and 0.1; at most two are hidden."""
    scores = -torch.tensor([0.1, 0.8, 0.6, 0.95, 0.75]).log()
    assert kept_by(KAKURENBO(0.4).plan(scores, seeded())) == {0, 2, 4}
    assert kept_by(KAKURENBO(0.8).plan(scores, seeded())) == {0, 2}  # 0.6 is moved back
    assert kept_by(KAKURENBO(0.8, rescale=False).plan(scores, seeded())) == {0, 2}
    assert KAKURENBO(0.8).plan(scores, seeded()).weights.tolist() == [2.5, 2.5]


@pytest.mark.parametrize(
    'epoch, factor', [(0, 1), (29, 1), (30, 0.8), (59, 0.8), (60, 0.6), (79, 0.6), (80, 0.4)]
)
def test_the_largest_share_falls_at_the_epochs_of_the_publication(epoch, factor):
    assert KAKURENBO(0.3).largest_share(run_at(epoch)) == pytest.approx(0.3 * factor)
    plan = KAKURENBO(0.3).plan(torch.zeros(1000), seeded(), run_at(epoch))
    assert plan.pruned == round(1000 * 0.3 * factor)  # 120 and not 119 at last


def test_of_equal_losses_kakurenbo_hides_a_random_part():
    plans = [KAKURENBO(0.3).plan(torch.zeros(50), seeded(seed)) for seed in range(2)]
    assert [plan.pruned for plan in plans] == [15, 15]
    assert kept_by(plans[0]) != kept_by(plans[1])


# -------------------------------------------------------------------------------- IES


def test_ies_finds_what_its_paper_calls_mastered():
    """By lists: second differences in the order of training, the mean of the last three."""
    length, generator = 40, seeded(4)
    policy, histories = IES(threshold=0.02, prune_ratio=0.5), [[] for _ in range(length)]
    found = []
    for step in range(9):
        trained = (torch.rand(length, generator=generator) < 0.8).nonzero().squeeze(1)
        noise = torch.rand(length, generator=generator) * torch.linspace(0, 0.2, length)
        losses = (1 / (1 + step) + noise)[trained]
        policy.observe(trained, losses, length)
        for index, loss in zip(trained.tolist(), losses.tolist()):
            histories[index].append(loss)
        mastered = set()
        for index, history in enumerate(histories):
            second = [a - 2 * b + c for a, b, c in zip(history, history[1:], history[2:])]
            if len(second) >= 3 and sum(map(abs, second[-3:])) / 3 < 0.02:
                mastered.add(index)
        assert set((policy.changes(length) < 0.02).nonzero().squeeze(1).tolist()) == mastered
        plan = policy.plan(torch.rand(length), seeded(step))
        assert set(range(length)) - kept_by(plan) <= mastered
        assert plan.pruned == math.floor(len(mastered) * 0.5)
        found.append(len(mastered))
    assert found[3] == 0 and 3 < found[-1] < 30  # four losses are too few


def test_ies_by_hand():
    policy = IES(threshold=0.1, prune_ratio=0.5)
    # A straight line, a jump before the last five, a jump among them, and four losses alone.
    losses = [[6, 5, 4, 3, 2, 1], [9, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 2], [NAN, NAN, 1, 1, 1, 1]]
    for each in torch.tensor(losses, dtype=torch.float32).t():
        seen = (~each.isnan()).nonzero().squeeze(1)
        policy.observe(seen, each[seen], 4)
    assert (policy.changes(4) < 0.1).tolist() == [True, True, False, False]
    assert policy.changes(4).tolist()[2] == pytest.approx(1 / 3)  # differences of 1, 0 and 0
    weights = [all_weights(policy.plan(torch.zeros(4), seeded(seed))) for seed in range(20)]
    assert {tuple(each.tolist()) for each in weights} == {(1, 0, 1, 1), (0, 1, 1, 1)}
    policy.rescale = True
    weights = [all_weights(policy.plan(torch.zeros(4), seeded(seed))) for seed in range(20)]
    assert {tuple(each.tolist()) for each in weights} == {(2, 0, 1, 1), (0, 2, 1, 1)}


# ------------------------------------------------------- InfoBatch at an exact budget


@pytest.mark.parametrize('saving, quantile', [(0.3, 0.5), (0.3, 0.8), (0.5, 0.9), (0.1, 1)])
def test_an_exact_budget_is_the_formula_of_its_paper(saving, quantile):
    scores, kept_share = skewed(1000), 1 - saving
    plan = TargetSaving(saving, max_weight=20, quantile=quantile).plan(scores, seeded())
    order = sorted(range(1000), key=lambda i: scores[i].item())
    below = set(order[: round(quantile * 1000)])
    keep = (kept_share - 1 + quantile) / quantile
    assert plan.pruned == round(saving * 1000)
    assert set(range(1000)) - below <= kept_by(plan)
    weights = dict(zip(plan.indices.tolist(), plan.weights.tolist()))
    assert sum(i in weights for i in below) == round(keep * len(below))
    for i, weight in weights.items():
        assert weight == pytest.approx(1 / keep if i in below else 1, rel=1e-6)


def test_an_exact_budget_by_hand():
    """Of the 5 lowest of 10 samples 3 are skipped, and the other two stand for 5."""
    scores = torch.tensor([9.0, 1, 8, 2, 7, 3, 6, 4, 5, 0])
    for seed in range(10):
        weights = all_weights(TargetSaving(0.3, quantile=0.5).plan(scores, seeded(seed))).tolist()
        assert [weights[i] for i in (0, 2, 4, 6, 8)] == [1] * 5
        assert sorted(weights[i] for i in (1, 3, 5, 7, 9)) == [0, 0, 0, 2.5, 2.5]


def test_an_exact_budget_keeps_the_largest_weight_and_breaks_ties_at_random():
    policy = TargetSaving(0.7, max_weight=4, quantile=0.8)
    plans = [policy.plan(torch.zeros(100), seeded(seed)) for seed in range(2)]
    for plan in plans:  # 20 of the 80 lowest are the fewest that 4 allows
        assert plan.kept == 40 and float(plan.weights.max()) == 4
    assert kept_by(plans[0]) != kept_by(plans[1])


def test_a_budget_that_the_quantile_does_not_reach_is_refused_at_the_start():
    policy = TargetSaving(0.4, max_weight=4, quantile=0.5)
    run = Run(0, 0, 10, pass_length=1, samples_per_pass=100, delta=1.0)
    with pytest.raises(ValueError) as error:
        policy.begin_run(run)
    # Nine passes skip 0.5 * (1 - 1/4) of theirs.
    assert 'max_weight=4, quantile=0.5 the run can save at most 0.337,' in str(error.value)
    assert 'policy.max_weight, policy.quantile or' in str(error.value)
    TargetSaving(0.33, max_weight=4, quantile=0.5).begin_run(run)


# ------------------------------------------------------------------------- all of them


@pytest.mark.parametrize('name', NEW)
@pytest.mark.parametrize('length', [1, 2, 3, 5, 8])
@pytest.mark.parametrize('kind', ['spread', 'equal', 'none', 'some'])
def test_few_samples_make_a_plan_that_keeps_those_without_a_score(name, length, kind):
    scores = torch.full((length,), 0.25) if kind == 'equal' else skewed(length) - 0.5
    scores[: {'none': length, 'some': (length + 1) // 2}.get(kind, 0)] = NAN
    policy = build(name)
    if name == 'IES':
        for value in range(6):
            policy.observe(torch.arange(length), torch.full((length,), value / 10), length)
    weights = all_weights(policy.plan(scores, seeded()))
    assert bool((weights[scores.isnan()] >= 1).all()) and bool((weights > 0).any())
    if kind == 'none':
        assert torch.equal(weights, torch.ones(length).double())


STATEFUL = {'RePB': lambda: RePB(0.5), 'IES': lambda: IES(2.0, 0.5), 'UCB': lambda: UCB(0.4)}


@pytest.mark.parametrize('name', STATEFUL)
@pytest.mark.parametrize('other', STATEFUL)
def test_a_state_is_loaded_as_a_copy_and_that_of_another_policy_is_left_alone(name, other):
    original = STATEFUL[other]()
    for index in range(6):
        if hasattr(original, 'observe'):
            original.observe(torch.arange(50), skewed(50, index), 50)
        else:
            original.begin_pass(original.plan(skewed(50, index) - 1, seeded(index)))
    state = original.state_dict()
    before = {key: torch.as_tensor(value).clone() for key, value in state.items()}
    fresh = STATEFUL[name]()
    fresh.load_state_dict(state)
    if name == other:
        found = fresh.state_dict()
        assert found.keys() == before.keys()
        assert all(torch.equal(torch.as_tensor(found[key]), before[key]) for key in before)
        scores = skewed(50) - 0.5
        one, two = (policy.plan(scores, seeded()) for policy in (fresh, original))
        assert torch.equal(one.indices, two.indices) and torch.equal(one.weights, two.weights)
        without = STATEFUL[name]().plan(scores, seeded())  # control
        assert not torch.equal(without.indices, one.indices) or float(one.weights.max()) > 1
    else:
        assert fresh.state_dict() in ({}, {'passes': 0})
    if hasattr(fresh, 'observe'):
        fresh.observe(torch.arange(50), torch.full((50,), 9.0), 50)
    else:
        fresh.begin_pass(Plan(torch.tensor([3]), torch.ones(1), 50))
    assert all(torch.equal(torch.as_tensor(state[key]), before[key]) for key in before)


@pytest.mark.parametrize('name', NEW)
def test_the_command_line_names_the_policy(name):
    options = {f'policy.{key}': value for key, value in dict(NEW[name], type=name).items()}
    sampler = switch_on_infobatch(classification(), options).train_dataloader.sampler
    assert sampler.policy == dict(NEW[name], type=name)


@pytest.mark.parametrize('name', NEW)
def test_a_biased_policy_says_what_it_is_biased_towards(name):
    assert (getattr(build(name), 'bias', None) is None) is (name == 'TargetSaving')
    assert IES(rescale=True).bias is None
