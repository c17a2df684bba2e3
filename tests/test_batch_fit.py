"""No pruned pass has a batch that is smaller than the smallest of a whole pass."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from policies import BIASED, NORMALIZED, UNBIASED, skewed
from small_runner import Numbered, begin, scored_sampler, seeded
from torch.utils.data import BatchSampler

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.batch_fit import fit_to_batches
from mm_infobatch.passes.batch_shape import BatchShape
from mm_infobatch.policies import Plan, SoftPruning

NAN = float('nan')
SHAPES = [
    BatchShape(batch_size, world_size, drop_last)
    for batch_size, world_size, drop_last in itertools.product(
        (1, 2, 3, 4, 8), (1, 2, 3), (False, True)
    )
]


def batches(sampler, shape):
    """The samples of each batch of this rank, as a DataLoader makes them."""
    return list(BatchSampler(sampler, shape.batch_size, shape.drop_last))


def smallest(num_samples, shape):
    """The smallest batch of a pass over all data, counted."""
    sampler = InfoBatchSampler(Numbered(num_samples), rank=0, world_size=shape.world_size, seed=0)
    return min(map(len, batches(sampler, shape)), default=0)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_the_smallest_batch_is_that_of_a_dataloader(shape):
    for num_samples in range(1, 40):
        assert shape.smallest_batch(num_samples) == smallest(num_samples, shape)


@pytest.mark.default_cases(
    '*size=1, world_size=1, drop_last=F*',
    '*size=2, world_size=3, drop_last=F*',
    '*size=4, world_size=2*',
    '*size=8, world_size=1*',
)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_no_batch_of_any_rank_is_smaller_than_the_smallest_of_a_whole_pass(shape):
    pruned = 0
    for num_samples in range(max(2, shape.samples_per_iter), 40):
        for well_learned in (1, num_samples // 3, num_samples // 2, num_samples - 1):
            scores = (torch.arange(num_samples) >= well_learned).float()
            ranks = [
                begin(
                    scored_sampler(num_samples, scores, rank=rank, world_size=shape.world_size),
                    1,
                    batch_size=shape.batch_size,
                    drop_last=shape.drop_last,
                )
                for rank in range(shape.world_size)
            ]
            plan = ranks[0].plan
            pruned += bool(plan.pruned)
            made = [batches(rank, shape) for rank in ranks]
            sizes = {len(batch) for each in made for batch in each}
            assert min(sizes) >= smallest(num_samples, shape)
            assert plan.weights.double().sum().item() == pytest.approx(num_samples, rel=1e-6)
            if plan.pruned:  # all that is kept is trained, so what is trained stands for all
                trained = {index for each in made for batch in each for index in batch}
                assert trained == set(plan.indices.tolist())
                assert ranks[0].counter.of(1)[0] == plan.kept
    assert pruned > 10


def test_24_images_in_fours_never_end_in_a_batch_of_one():
    """Of 14 well-learned images 7 stay: 17 are kept, which would end in a batch of 1."""
    scores = (torch.arange(24) >= 14).float()
    alone = SoftPruning(0.5).plan(scores, torch.Generator().manual_seed(0))
    assert alone.kept == 17
    plan = begin(scored_sampler(24, scores), 1, batch_size=4).plan
    assert plan.kept == 16
    assert plan.weights.tolist() == [np.float32(14 / 6)] * 6 + [1.0] * 10


def test_20_kept_in_eights_with_drop_last_are_16_that_stand_for_all():
    scores = (torch.arange(24) >= 8).float()
    assert SoftPruning(0.5).plan(scores, torch.Generator().manual_seed(0)).kept == 20
    sampler = begin(scored_sampler(24, scores), 1, batch_size=8, drop_last=True)
    # Of the 4 well-learned ones at most 2 can go, so nothing does: 24 samples in 3 batches.
    assert sampler.plan.kept == 24 and sampler.counter.of(1) == (24, 24)
    scores = (torch.arange(24) >= 16).float()
    sampler = scored_sampler(24, scores, policy=SoftPruning(0.3))
    plan = begin(sampler, 1, batch_size=8, drop_last=True).plan
    assert plan.kept == 16 and plan.weights.tolist() == [2.0] * 8 + [1.0] * 8
    assert sampler.counter.of(1) == (16, 24)


class Mine:
    """A policy of a user's own, which knows nothing of batches."""

    def plan(self, scores, generator):
        kept = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8, 9])
        return Plan(kept, torch.tensor([2.0, 1, 1, 3, 3, 1, 3, 3, 1]), len(scores))


def test_a_policy_of_a_users_own_is_fitted_too():
    plan = begin(scored_sampler(24, policy=Mine()), 1, batch_size=4).plan
    assert plan.kept == 8  # one of the four of weight 3 is left out
    assert sorted(plan.weights.tolist()) == [1, 1, 1, 1, 2, 4, 4, 4]
    assert begin(scored_sampler(24, policy=Mine()), 1, batch_size=3).plan.kept == 9


@pytest.mark.parametrize('kind', ['unbiased', 'biased', 'normalized'])
def test_every_policy_of_ours_is_fitted(kind):
    makers = dict(unbiased=UNBIASED, biased=BIASED, normalized=NORMALIZED)[kind]
    for name, make in makers.items():
        if name.startswith(('UCB', 'RePB')):
            continue  # their helpers have seen another number of samples
        for drop_last in (False, True):
            sampler = scored_sampler(200, skewed(200), policy=make())
            plan = begin(sampler, 1, batch_size=16, drop_last=drop_last).plan
            assert plan.kept % 16 in ((0,) if drop_last else (0, 8, 9, 10, 11, 12, 13, 14, 15))
            total = plan.weights.double().sum().item()
            if kind == 'unbiased':
                assert total == pytest.approx(200, rel=1e-6), name
            elif kind == 'normalized':
                assert total == pytest.approx(plan.kept, rel=1e-6), name
            elif 'rescale' not in name or 'no rescale' in name:
                expected = 200 / plan.kept if name == 'KAKURENBO' else 1  # it rescales by default
                assert plan.weights.eq(torch.tensor(expected)).all(), name


def test_a_normalized_plan_keeps_its_mean_of_1():
    scores = (torch.arange(24) >= 14).float()
    sampler = scored_sampler(24, scores, policy=SoftPruning(0.5, rescale='normalized'))
    plan = begin(sampler, 1, batch_size=4).plan
    assert plan.kept == 16
    torch.testing.assert_close(plan.weights[0] / plan.weights[-1], torch.tensor(14 / 6))
    assert plan.weights.double().mean().item() == pytest.approx(1, rel=1e-6)


def test_unseen_samples_are_never_left_out():
    scores = torch.tensor([0.0] * 10 + [1.0] * 5 + [NAN] * 9)
    for seed in range(20):
        sampler = InfoBatchSampler(Numbered(24), seed=seed)
        sampler.scores.update(torch.arange(15), scores[:15])
        plan = begin(sampler, 1, batch_size=4).plan
        assert plan.kept in (16, 20, 24) and set(range(15, 24)) <= set(plan.indices.tolist())


def test_of_a_pair_of_weights_that_differ_one_stands_for_both():
    """Exact for the sum; the mean over 4,000 plans lies within 5 standard errors, which 17 samples
    miss by chance once in 10**5 runs, and the seeds are fixed."""
    weights = torch.linspace(1, 2, 17)
    plan = Plan(torch.arange(17), weights * 24 / weights.sum(), 24)
    scores, shape, times = torch.zeros(24), BatchShape(4, drop_last=True), 4000
    total, square = torch.zeros(24, dtype=torch.float64), torch.zeros(24, dtype=torch.float64)
    for seed in range(times):
        fitted = fit_to_batches(plan, scores, shape, torch.Generator().manual_seed(seed))
        assert fitted.kept == 16 and fitted.weights.double().sum().item() == pytest.approx(24)
        total[fitted.indices] += fitted.weights
        square[fitted.indices] += fitted.weights.double() ** 2
    mean = total / times
    error = ((square / times - mean**2).clamp(min=0) / times).sqrt()
    assert ((mean[:17] - plan.weights).abs() <= 5 * error[:17] + 1e-5).all()
    assert error[15:17].min() > 0 and not mean[17:].any()  # control: one of these two goes


@pytest.mark.parametrize('rescale, total', [(True, 24), ('normalized', 16)])
def test_a_static_subset_with_weights_stays_a_subset(tmp_path, rescale, total):
    weights = np.linspace(1, 2, 24).astype(np.float32)
    np.savez(tmp_path / 'a.npz', scores=np.arange(24, dtype=np.float32), weights=weights)
    policy = dict(type='FromFile', path=str(tmp_path / 'a.npz'), count=17, rescale=rescale)
    sampler = InfoBatchSampler(Numbered(24), policy, delta=1, seed=0)
    plan = begin(sampler, 1, batch_size=4, drop_last=True).plan
    assert set(plan.indices.tolist()) < set(range(7, 24))
    assert plan.kept == 16 and plan.weights.sum().item() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize('seen', [False, True], ids=['unseen', 'after the warm-up'])
def test_a_static_subset_that_makes_no_batch_is_refused(seen):
    policy = dict(type='StaticRandom', keep=0.125)
    sampler = InfoBatchSampler(Numbered(24), policy, delta=1, seed=0)
    if seen:  # as warmup_passes does; the subset became all samples in silence
        sampler.scores.update(torch.arange(24), torch.rand(24))
    with pytest.raises(ValueError, match='keeps 3 of 24 samples, which make no whole batch of 4'):
        begin(sampler, 1, batch_size=4, drop_last=True)


def test_repb_weighs_the_samples_that_are_left_after_the_fit():
    """In every pass t/n of each sample, with passes of few batches as with those of many."""
    sampler, pruned = InfoBatchSampler(Numbered(60), dict(type='RePB'), seed=0), 0
    trained = torch.zeros(60)
    for passes in range(1, 30):
        plan = begin(sampler, passes - 1, batch_size=8, drop_last=True).plan
        trained[plan.indices] += 1
        if plan.pruned:
            assert plan.kept % 8 == 0
            torch.testing.assert_close(plan.weights, passes / trained[plan.indices])
            pruned += 1
        sampler.scores.update(torch.arange(60), torch.randn(60, generator=seeded(passes)))
    assert pruned == 28 and plan.weights.unique().numel() > 5


def test_each_samples_expected_weight_stays_1():
    """Exact for the sum of weights; the mean over 4,000 plans lies within 5 standard errors, which
    14 samples miss by chance once in 10**5 runs, and the seeds are fixed."""
    scores = (torch.arange(24) >= 14).float()
    plan = Plan(torch.arange(24), torch.ones(24), 24)
    policy, shape, times = SoftPruning(0.5), BatchShape(4), 4000
    total, square = torch.zeros(24), torch.zeros(24)
    for seed in range(times):
        generator = torch.Generator().manual_seed(seed)
        plan = fit_to_batches(policy.plan(scores, generator), scores, shape, generator)
        weights = torch.zeros(24)
        weights[plan.indices] = plan.weights
        assert weights.double().sum().item() == pytest.approx(24, rel=1e-6)
        total += weights
        square += weights**2
    mean = total / times
    error = ((square / times - mean**2) / times).sqrt()
    assert ((mean - 1).abs() <= 5 * error + 1e-6).all()
    assert (mean[:14] != 1).any()  # control: they do vary


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
@hypothesis.given(
    num_samples=st.integers(2, 60),
    batch_size=st.integers(1, 16),
    world_size=st.integers(1, 4),
    drop_last=st.booleans(),
    ratio=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_a_fitted_plan_is_unbiased_and_fits(
    num_samples, batch_size, world_size, drop_last, ratio, seed
):
    shape = BatchShape(batch_size, world_size, drop_last)
    hypothesis.assume(shape.iters(num_samples))
    generator = torch.Generator().manual_seed(seed)
    scores = skewed(num_samples, seed)
    plan = SoftPruning(ratio).plan(scores, generator)
    fitted = fit_to_batches(plan, scores, shape, generator)
    if fitted is None:
        return
    kept, before = set(fitted.indices.tolist()), set(plan.indices.tolist())
    assert kept <= before or kept > before
    assert fitted.weights.double().sum().item() == pytest.approx(num_samples, rel=1e-5)
    assert fitted.threshold == plan.threshold
    assert fitted.weights.max() <= 2.001 * plan.weights.max()
    if fitted.pruned:
        assert shape.fitting(fitted.kept, num_samples) == fitted.kept


# ------------------------------------------------------- resumed in another shape


@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('after', [BatchShape(4, 1), BatchShape(4, 2), BatchShape(3, 3)], ids=str)
def test_a_pass_resumed_in_another_shape_has_no_batch_that_is_too_small(after, drop_last):
    after = BatchShape(after.batch_size, after.world_size, drop_last)
    for num_samples, consumed in itertools.product((36, 48), (2, 6, 10, 14)):
        saver = begin(scored_sampler(num_samples, policy=SoftPruning(0.6)), 1, batch_size=2)
        order = saver.order.indices.tolist()
        assert len(order) < num_samples
        handed_out, sizes = [], set()
        for rank in range(after.world_size):
            sampler = InfoBatchSampler(
                Numbered(num_samples), rank=rank, world_size=after.world_size, seed=3
            )
            begin(sampler, 0, batch_size=after.batch_size, drop_last=drop_last)
            sampler.load_state_dict(saver.state_dict(consumed))
            length = len(sampler)
            made = batches(sampler, after)
            assert length == consumed // after.world_size + sum(map(len, made))
            sizes |= {len(batch) for batch in made}
            handed_out += [index for batch in made for index in batch]
        assert min(sizes) >= smallest(num_samples, after)
        assert set(handed_out) >= set(order[consumed:])  # with drop_last too
        assert len(handed_out) < len(order[consumed:]) + after.samples_per_iter
