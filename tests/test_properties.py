"""The contracts of sampler, policy and score table, for whatever they are given."""

import math

import pytest
import torch
from small_runner import Numbered, begin, default_sampler, rng_states, through_a_file

from mm_infobatch import InfoBatchSampler, SeededDataset
from mm_infobatch.passes.scores import ScoreTable
from mm_infobatch.policies import SoftPruning

hypothesis = pytest.importorskip('hypothesis', reason='it comes with the extra test')
st = hypothesis.strategies


def examples(count):
    """The same examples in every run."""
    return hypothesis.settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


lengths = st.integers(1, 40)
seeds = st.integers(-3, 2**62)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
# What a model can give: often equal, sometimes tiny or huge, sometimes no number.
losses = st.one_of(
    finite,
    st.floats(0, 4, width=32),
    st.sampled_from([0.0, 1.0, 2.3]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
ratios = st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 0.5, 1 - 2**-53]))


@st.composite
def updates(draw, length):
    """Some samples, each named once, and a loss for each."""
    indices = draw(st.lists(st.integers(0, length - 1), unique=True, max_size=length))
    return indices, draw(st.lists(losses, min_size=len(indices), max_size=len(indices)))


def put(table, update):
    table.update(torch.tensor(update[0], dtype=torch.int64), torch.tensor(update[1]))


def same(left, right):
    """Whether two float tensors are equal, NaN where NaN."""
    return torch.equal(left.nan_to_num(7.5), right.nan_to_num(7.5)) and torch.equal(
        left.isnan(), right.isnan()
    )


def samples_of(scores):
    return {index for index, score in enumerate(scores.tolist()) if not math.isnan(score)}


# -------------------------------------------------------------------------- scores


@examples(200)
@hypothesis.given(data=st.data(), length=lengths)
def test_a_table_holds_the_last_finite_loss_of_each_sample(data, length):
    table, expected = ScoreTable(length), [math.nan] * length
    for _ in range(data.draw(st.integers(0, 4))):
        update = data.draw(updates(length))
        version = table.version
        put(table, update)
        assert table.version > version
        for index, loss in zip(*update):
            if math.isfinite(loss):
                expected[index] = loss
        assert table.values.dtype == torch.float32 and not table.values.isinf().any()
        assert same(table.values, torch.tensor(expected))
    other = ScoreTable(length)
    other.load_state_dict(through_a_file(table.state_dict()))
    assert same(other.values, table.values)


@examples(100)
@hypothesis.given(
    length=lengths, values=st.lists(st.floats(), min_size=1, max_size=5), data=st.data()
)
def test_losses_of_float64_that_overflow_float32_are_no_scores(length, values, data):
    indices = torch.arange(len(values)) % length
    indices, values = indices[:length], torch.tensor(values[:length], dtype=torch.float64)
    table = ScoreTable(length)
    table.update(indices, values)
    stored = values.float()
    assert samples_of(table.values) == set(indices[torch.isfinite(stored)].tolist())


# -------------------------------------------------------------------------- policy


@examples(300)
@hypothesis.given(
    values=st.lists(losses, min_size=1, max_size=60), ratio=ratios, seed=st.integers(0, 2**62)
)
def test_a_plan_skips_below_the_mean_alone_and_its_weights_sum_to_n(values, ratio, seed):
    table = ScoreTable(len(values))
    put(table, (list(range(len(values))), values))
    scores = table.values
    before, generators = scores.clone(), rng_states()
    plan = SoftPruning(ratio).plan(scores, torch.Generator().manual_seed(seed))
    again = SoftPruning(ratio).plan(scores, torch.Generator().manual_seed(seed))
    assert torch.equal(plan.indices, again.indices) and torch.equal(plan.weights, again.weights)
    assert same(scores, before) and rng_states() == generators
    seen = [score for score in scores.tolist() if not math.isnan(score)]
    mean = math.fsum(seen) / len(seen) if seen else math.nan
    weights = dict(zip(plan.indices.tolist(), plan.weights.tolist()))
    assert plan.indices.tolist() == sorted(weights) and plan.num_samples == len(values)
    # The float64 mean may be off by rounding; a sample that lies there may be either.
    slack = 1e-12 * max(map(abs, seen), default=0) + 1e-300
    below = {index for index, score in enumerate(scores.tolist()) if score < mean + slack}
    surely = {index for index, score in enumerate(scores.tolist()) if score < mean - slack}
    assert set(range(len(values))) - below <= set(weights)  # the unseen ones among them
    assert all(weights[index] == 1 for index in weights if index not in below)
    learned = [
        index
        for index in range(len(values))
        if plan.threshold is not None and scores[index].double() < plan.threshold
    ]
    assert surely <= set(learned) <= below
    kept = [index for index in learned if index in weights]
    assert len(learned) - len(kept) == math.floor(len(learned) * ratio)
    assert {weights[index] for index in kept} <= {
        torch.tensor(len(learned) / max(len(kept), 1)).item()
    }
    assert math.fsum(weights.values()) == pytest.approx(len(values), rel=1e-6)


@examples(100)
@hypothesis.given(
    value=finite, length=st.integers(1, 300), ratio=ratios, seed=st.integers(0, 2**62)
)
def test_equal_scores_prune_nothing(value, length, ratio, seed):
    plan = SoftPruning(ratio).plan(
        torch.full((length,), value), torch.Generator().manual_seed(seed)
    )
    assert plan.kept == length and plan.weights.tolist() == [1] * length


# ------------------------------------------------------------------------- sampler


def ranks_of(length, world_size, **kwargs):
    return [
        InfoBatchSampler(Numbered(length), rank=rank, world_size=world_size, **kwargs)
        for rank in range(world_size)
    ]


def assert_shared(samplers, length):
    """One plan, shared evenly; padded as ``DefaultSampler`` pads.

    Returns:
        list[int]: What is handed out, in the order of the pass, with the padding.
    """
    first, world_size = samplers[0], len(samplers)
    order, weights = first.order.indices, first.order.weights
    for sampler in samplers:
        assert torch.equal(sampler.plan.indices, first.plan.indices)
        assert torch.equal(sampler.plan.weights, first.plan.weights)
        assert torch.equal(sampler.order.indices, order)
        assert list(sampler) == sampler.due()[0].tolist()
    assert first.plan.weights.double().sum().item() == pytest.approx(length, rel=1e-6)
    assert sorted(order.tolist()) == first.plan.indices.tolist()
    by_sample = dict(zip(order.tolist(), weights.tolist()))
    assert by_sample == dict(zip(first.plan.indices.tolist(), first.plan.weights.tolist()))
    shares = [list(sampler) for sampler in samplers]
    assert len({len(share) for share in shares}) == 1
    for sampler, share in zip(samplers, shares):
        assert sampler.due()[1].tolist() == [by_sample[index] for index in share]
    handed = [index for step in zip(*shares) for index in step]
    due = order[first.start :].tolist()
    assert handed[: len(due)] == due
    assert 0 <= len(handed) - len(due) < world_size
    return handed


@examples(150)
@hypothesis.given(
    data=st.data(),
    length=lengths,
    world_size=st.integers(1, 5),
    seed=seeds,
    ratio=ratios,
    delta=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
    shuffle=st.booleans(),
)
def test_every_pass_is_shared_by_the_ranks_and_off_it_is_default_sampler(
    data, length, world_size, seed, ratio, delta, shuffle
):
    if shuffle:
        seed = abs(seed)  # torch takes none below 0 as a seed for the order
    samplers = ranks_of(
        length,
        world_size,
        seed=seed,
        delta=delta,
        shuffle=shuffle,
        num_passes=4,
        policy=dict(type='SoftPruning', prune_ratio=ratio),
    )
    generators = rng_states()
    for epoch in range(4):
        update = data.draw(updates(length))
        for sampler in samplers:
            if epoch:
                put(sampler.scores, update)
            sampler.set_epoch(epoch)
        assert_shared(samplers, length)
        scores, plan = samplers[0].scores.values, samplers[0].plan
        unseen = set(range(length)) - samples_of(scores)
        assert unseen <= set(plan.indices.tolist())
        if epoch == 0 or ratio == 0 or epoch / 4 >= delta:
            assert not plan.pruned
        if not plan.pruned:
            assert plan.weights.tolist() == [1] * length
            for rank, sampler in enumerate(samplers):
                default = default_sampler(length, world_size, rank, seed=seed, shuffle=shuffle)
                default.set_epoch(epoch)
                assert list(sampler) == list(default) and len(sampler) == len(default)
    assert rng_states() == generators


@examples(150)
@hypothesis.given(
    data=st.data(),
    length=lengths,
    seed=st.integers(0, 2**62),
    ratio=ratios,
    worlds=st.lists(st.integers(1, 5), min_size=2, max_size=4),
)
def test_a_state_at_any_position_goes_on_with_what_is_due_on_any_number_of_ranks(
    data, length, seed, ratio, worlds
):
    policy = dict(type='SoftPruning', prune_ratio=ratio)
    update, later = data.draw(updates(length)), data.draw(updates(length))
    uninterrupted = InfoBatchSampler(
        Numbered(length), policy=policy, seed=seed, rank=0, world_size=1
    )
    put(uninterrupted.scores, update)
    begin(uninterrupted, 2, 0.25)
    whole, handed = list(uninterrupted), []
    state = uninterrupted.state_dict(0)
    for stage, world_size in enumerate(worlds):
        state = through_a_file(state)
        samplers = ranks_of(length, world_size, policy=policy, seed=5)
        for sampler in samplers:
            sampler.load_state_dict(state)
            sampler.set_epoch(2)  # as mmengine does
            assert (sampler.epoch, sampler.seed) == (2, seed)
            assert same(sampler.scores.values, uninterrupted.scores.values)
        due = assert_shared(samplers, length)
        rounds = len(due) // world_size
        assert {len(sampler) for sampler in samplers} == {samplers[0].start // world_size + rounds}
        if stage < len(worlds) - 1:
            rounds = data.draw(st.integers(0, rounds))
        handed += due[: rounds * world_size]
        position = samplers[-1].start + rounds * world_size
        states = [sampler.state_dict(position) for sampler in samplers]
        for other in states:
            assert torch.equal(other['order'], states[0]['order'])
            assert same(other['scores'], states[0]['scores'])
        state = states[-1]
    assert handed[: len(whole)] == whole and len(handed) - len(whole) < max(worlds)
    for sampler in [*samplers, uninterrupted]:  # and the pass after it
        put(sampler.scores, later)
        begin(sampler, 3, 0.5)
    for sampler in samplers:
        assert torch.equal(sampler.order.indices, uninterrupted.order.indices)
        assert torch.equal(sampler.order.weights, uninterrupted.order.weights)


@examples(60)
@hypothesis.given(
    data=st.data(), length=lengths, world_size=st.integers(1, 4), epoch=st.integers(0, 9)
)
def test_indices_that_name_their_pass_are_the_same_indices(data, length, world_size, epoch):
    update = data.draw(updates(length))
    for rank in range(world_size):
        handed = []
        for dataset in (Numbered(length), SeededDataset(Numbered(length))):
            sampler = InfoBatchSampler(dataset, seed=3, rank=rank, world_size=world_size)
            put(sampler.scores, update)
            sampler.set_epoch(epoch)
            handed.append(list(sampler))
        assert handed[0] == handed[1]
        assert {(index.seed, index.epoch) for index in handed[1]} == {(3, epoch)}


@examples(100)
@hypothesis.given(data=st.data(), length=lengths, ratio=ratios, batch=st.integers(1, 8))
def test_a_plan_never_keeps_less_than_a_batch_of_every_rank(data, length, ratio, batch):
    hypothesis.assume(batch <= length)
    sampler = InfoBatchSampler(
        Numbered(length), seed=0, policy=dict(type='SoftPruning', prune_ratio=ratio)
    )
    put(sampler.scores, data.draw(updates(length)))
    begin(sampler, 1, batch_size=batch, drop_last=True)
    assert sampler.plan.kept >= batch
    assert sampler.plan.weights.double().sum().item() == pytest.approx(length, rel=1e-6)
