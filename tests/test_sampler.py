"""The sampler: whose order it has, how the ranks share it, and how a pass goes on."""

import itertools
import random
from fractions import Fraction

import pytest
import torch
from mmengine.registry import DATA_SAMPLERS
from small_runner import (
    Numbered,
    begin,
    default_sampler,
    halves,
    rng_states,
    scored_sampler,
    through_a_file,
)
from torch.utils.data import DataLoader, IterableDataset

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.batch_shape import BatchShape
from mm_infobatch.passes.order import policy_generator, shuffled
from mm_infobatch.passes.schedule import PassSchedule
from mm_infobatch.policies import SoftPruning

RANKS = [
    (length, world_size, rank)
    for length in (1, 2, 3, 5, 7, 8, 64, 101)
    for world_size in (1, 2, 3, 4, 8)
    for rank in range(world_size)
]


def weights_by_sample(sampler):
    """The weight of every sample in this pass, 0 where it is skipped."""
    return dict(zip(sampler.order.indices.tolist(), sampler.order.weights.tolist()))


# -------------------------------------------------- off means DefaultSampler


OFF = {
    'nothing to prune': dict(policy=dict(type='SoftPruning', prune_ratio=0)),
    'annealing from the start': dict(delta=0, num_passes=4),
    'annealing': dict(delta=0.1, num_passes=1),
}


@pytest.mark.parametrize('why', OFF)
def test_with_nothing_to_prune_the_order_is_that_of_default_sampler(why):
    orders = [(0, 0, True), (0, 17, True), (2**31 - 1, 17, True), (2**31 - 1, 17, False)]
    for (length, world_size, rank), (seed, epoch, shuffle) in itertools.product(RANKS, orders):
        sampler = scored_sampler(
            length, seed=seed, rank=rank, world_size=world_size, shuffle=shuffle, **OFF[why]
        )
        if why == 'annealing':
            begin(sampler, epoch, 0.2)
        else:
            sampler.set_epoch(epoch)
        default = default_sampler(length, world_size, rank, seed=seed, shuffle=shuffle)
        default.set_epoch(epoch)
        assert list(sampler) == list(default)
        assert len(sampler) == len(default)
        assert sampler.due()[1].eq(1).all()


def test_the_first_pass_is_that_of_default_sampler():
    for (length, world_size, rank), seed in itertools.product(RANKS, (0, 5)):
        sampler = InfoBatchSampler(Numbered(length), seed=seed, rank=rank, world_size=world_size)
        default = default_sampler(length, world_size, rank, seed=seed)
        assert list(sampler) == list(default)
        assert sampler.due()[1].eq(1).all()


def test_a_pass_that_prunes_is_not_that_of_default_sampler():
    # The control of the tests above: the same comparison tells a pruned pass.
    sampler, default = scored_sampler(64), default_sampler(64, 1, 0, seed=0)
    assert list(sampler) != list(default) and len(sampler) < len(default)
    assert list(begin(sampler, 1)) != list(default)


def test_a_pruned_pass_is_the_order_of_default_sampler_without_the_skipped():
    for length, seed, epoch in itertools.product((2, 7, 64, 101), (0, 9), (0, 1, 4)):
        sampler = begin(scored_sampler(length, halves(length), seed=seed), epoch)
        assert sampler.plan.pruned == length // 2 // 2
        default = default_sampler(length, 1, 0, seed=seed)
        default.set_epoch(epoch)
        kept = set(sampler.plan.indices.tolist())
        assert list(sampler) == [index for index in default if index in kept]


def test_weights_lie_beside_the_indices():
    sampler = begin(scored_sampler(101, seed=2), 1)
    expected = dict(zip(sampler.plan.indices.tolist(), sampler.plan.weights.tolist()))
    indices, weights = sampler.due()
    assert indices.dtype == torch.int64 and weights.dtype == torch.float32
    assert dict(zip(indices.tolist(), weights.tolist())) == expected
    assert len(set(expected.values())) == 2
    assert weights.double().sum() == pytest.approx(101, abs=101 * 2**-24)


def test_unshuffled_samples_come_in_ascending_order():
    sampler = begin(scored_sampler(50, shuffle=False), 3)
    assert list(sampler) == sampler.plan.indices.tolist()
    assert sampler.plan.pruned


# ------------------------------------------------------------------- ranks


def test_all_ranks_have_one_plan_and_share_it_evenly():
    for length, world_size, epoch in itertools.product(
        (1, 2, 7, 64, 101), (1, 2, 3, 4, 8), (0, 1, 2)
    ):
        ranks = [
            begin(scored_sampler(length, rank=rank, world_size=world_size), epoch)
            for rank in range(world_size)
        ]
        plan = ranks[0].plan
        for other in ranks[1:]:
            assert torch.equal(other.plan.indices, plan.indices)
            assert torch.equal(other.plan.weights, plan.weights)
        shares = [list(rank) for rank in ranks]
        assert {len(share) for share in shares} == {len(ranks[0])} == {-(-plan.kept // world_size)}
        # Dealt round by round they are the pass, and then its beginning again.
        dealt = [index for round in zip(*shares) for index in round]
        order = ranks[0].order.indices.tolist()
        assert dealt[: plan.kept] == order
        assert sorted(order) == plan.indices.tolist()
        assert dealt[plan.kept :] == list(
            itertools.islice(itertools.cycle(order), len(dealt) - plan.kept)
        )
        for rank, share in zip(ranks, shares):
            by_sample = weights_by_sample(rank)
            assert rank.due()[1].tolist() == [by_sample[index] for index in share]


def test_rank_and_world_size_come_from_the_process_group(monkeypatch):
    monkeypatch.setattr('mm_infobatch.sampler.get_dist_info', lambda: (2, 3))
    sampler = InfoBatchSampler(Numbered(9), shuffle=False, seed=0)
    assert (sampler.rank, sampler.world_size) == (2, 3) and list(sampler) == [2, 5, 8]


def test_without_a_seed_the_ranks_agree_on_one(monkeypatch):
    monkeypatch.setattr('mm_infobatch.sampler.sync_random_seed', lambda: 77)
    assert InfoBatchSampler(Numbered(9)).seed == 77


def test_seeds_and_passes_choose_differently():
    chosen = {}
    for seed, epoch in itertools.product(range(4), range(1, 5)):
        sampler = begin(scored_sampler(100, halves(100), seed=seed), epoch)
        chosen[seed, epoch] = tuple(sampler.plan.indices.tolist())
    # 25 of 50 are skipped: two choices are the same with probability 8e-15.
    assert len(set(chosen.values())) == len(chosen)
    # The shuffle, as DefaultSampler's, is a function of seed + pass; the choice is not.
    assert torch.equal(shuffled(100, 1, 2), shuffled(100, 2, 1))
    assert policy_generator(1, 2).initial_seed() != policy_generator(2, 1).initial_seed()


def test_what_is_skipped_does_not_follow_from_the_shuffle():
    length, passes, first = 60, 400, 0
    sampler = scored_sampler(length, halves(length))
    for epoch in range(1, passes + 1):
        order = shuffled(length, 0, epoch).tolist()
        kept = set(begin(sampler, epoch).plan.indices.tolist())
        well_learned = [index for index in order if index < 30]
        first += sum(index in kept for index in well_learned[:15])
    # Were the choice drawn with the shuffle's numbers, the first or the last half would stay. The
    # count is hypergeometric in each pass (15 of 30, 15 drawn): mean 7.5, variance 15/4 * 15/29.
    # 4.5 sigma fail with probability 7e-6.
    sigma = (passes * 15 / 4 * 15 / 29) ** 0.5
    assert abs(first - passes * 7.5) < 4.5 * sigma
    assert passes * 7.5 > 4.5 * sigma  # control: the first half staying would be told


@pytest.mark.parametrize('seed', [0, 1, 2**31 - 1, 2**32, 2**63 - 20])
def test_any_seed_that_torch_takes_works(seed):
    assert len(list(begin(scored_sampler(10, halves(10), seed=seed), 1))) == 8


# ------------------------------------------------------- passes and progress


def test_beginning_a_pass_twice_changes_nothing():
    sampler = scored_sampler(64)
    sampler.set_epoch(3)
    plan, order = sampler.order, list(sampler)
    sampler.set_epoch(3)
    assert sampler.order is plan and list(sampler) == order
    plan = begin(sampler, 4, 0.5).order
    sampler.set_epoch(4)  # as mmengine's DistSamplerSeedHook does beside our hook
    sampler.set_epoch(0)  # and before the first pass of a loop by iteration
    assert sampler.order is plan and sampler.epoch == 4


def test_whole_floats_are_taken_as_integers():
    whole, floats = (
        InfoBatchSampler(Numbered(64), seed=0, num_passes=passes) for passes in (8, 8.0)
    )
    for sampler, number in ((whole, 5), (floats, 5.0)):
        sampler.scores.update(torch.arange(64), torch.linspace(0, 1, 64))
        sampler.set_epoch(number)
    assert list(floats) == list(whole) and len(whole) < 64
    for value in (floats.epoch, floats.num_passes, floats.state_dict()['epoch']):
        assert isinstance(value, int)


def test_a_pass_may_be_iterated_more_than_once():
    sampler = scored_sampler(64)
    sampler.set_epoch(1)
    assert list(sampler) == list(sampler)
    one, other = iter(sampler), iter(sampler)
    next(one)
    assert list(other) == list(sampler)


def test_scores_that_change_are_planned_from_when_the_pass_begins_again():
    sampler = InfoBatchSampler(Numbered(64), seed=0)
    sampler.set_epoch(1)
    before = sampler.order
    assert sampler.plan.pruned == 0
    sampler.scores.update(torch.arange(64), halves(64))
    assert sampler.order is before  # not in the middle of a pass
    sampler.set_epoch(1)
    assert sampler.plan.pruned == 16
    after = sampler.plan
    sampler.scores.update(torch.arange(64), 1 - halves(64))
    sampler.set_epoch(2)
    assert not torch.equal(sampler.plan.indices, after.indices)


def test_the_next_pass_is_another_order():
    sampler = scored_sampler(64)
    orders = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        orders.append(tuple(sampler))
    assert len(set(orders)) == 4


def test_nothing_is_drawn_until_a_plan_is_asked_for():
    asked = []

    class Watched(SoftPruning):
        def plan(self, scores, generator):
            asked.append(len(scores))
            return super().plan(scores, generator)

    sampler = InfoBatchSampler(Numbered(8), policy=Watched(), seed=0)
    sampler.set_epoch(1)
    sampler.set_epoch(2)
    assert asked == []
    list(sampler), len(sampler), sampler.plan
    assert asked == [8]


DELTAS = ['0', '0.07', '0.29', '0.3', '0.5', '0.57', '0.7', '0.875', '0.9', '0.999', '1']


@pytest.mark.parametrize('delta', DELTAS)
def test_a_pass_prunes_if_it_begins_before_delta_of_the_passes(delta):
    # Equation 10: P_t = r where t < delta * C, in exact arithmetic.
    for num_passes in (1, 2, 3, 7, 8, 10, 30, 100):
        sampler = scored_sampler(8, halves(8), delta=float(delta), num_passes=num_passes)
        for epoch in range(num_passes):
            sampler.set_epoch(epoch)
            prunes = epoch < Fraction(delta) * num_passes
            assert sampler.plan.pruned == (2 if prunes else 0)
            if not prunes:
                assert sampler.plan.weights.tolist() == [1] * 8


@pytest.mark.parametrize('delta', DELTAS)
def test_reported_progress_decides_as_passes_do(delta):
    sampler = scored_sampler(8, halves(8), delta=float(delta))
    for num_passes, length in itertools.product((1, 3, 8, 10, 100), (1, 7, 13)):
        for epoch in range(num_passes):
            schedule = PassSchedule(num_passes * length, length, delta=sampler.delta)
            schedule.skip_to(epoch * length, epoch)
            sampler.join_run(schedule, BatchShape())
            sampler.begin_pass()
            prunes = epoch < Fraction(delta) * num_passes
            assert schedule.anneals is not prunes and bool(sampler.plan.pruned) is prunes


def test_reported_progress_counts_more_than_num_passes():
    sampler = scored_sampler(8, halves(8), num_passes=10)
    assert begin(sampler, 9, 0.1).plan.pruned
    assert not begin(sampler, 1, 0.9).plan.pruned


def test_where_nobody_knows_the_end_every_pass_may_prune():
    sampler = scored_sampler(8, halves(8))
    for epoch in (0, 1, 10, 1000):
        sampler.set_epoch(epoch)
        assert sampler.plan.pruned == 2


def test_delta_one_never_anneals():
    sampler = scored_sampler(8, halves(8), delta=1, num_passes=4)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        assert sampler.plan.pruned == 2


def test_a_plan_too_short_for_a_batch_of_every_rank_is_given_up():
    scores = torch.tensor([0.0] * 9 + [1.0])
    policy = SoftPruning(0.9)
    sampler = scored_sampler(10, scores, policy=policy)
    sampler.set_epoch(1)
    assert sampler.plan.kept == 2
    for batch_size, kept in ((2, 2), (3, 3), (10, 10)):
        sampler = scored_sampler(10, scores, policy=policy)
        begin(sampler, 1, batch_size=batch_size, drop_last=True)
        assert sampler.plan.kept == kept
    assert sampler.plan.weights.tolist() == [1] * 10
    default = default_sampler(10, 1, 0, seed=0)
    default.set_epoch(1)
    assert list(sampler) == list(default)


# ------------------------------------------------------------------- state


def test_a_pass_goes_on_where_the_checkpoint_left_it():
    for length, world_size, rounds in itertools.product((7, 64), (1, 2, 3), (0, 1, 2)):
        ranks = [
            begin(scored_sampler(length, rank=rank, world_size=world_size, seed=4), 3, 0.25)
            for rank in range(world_size)
        ]
        state = through_a_file(ranks[0].state_dict(rounds * world_size))
        for rank in ranks:
            # another seed, to be overruled
            resumed = InfoBatchSampler(
                Numbered(length), rank=rank.rank, world_size=world_size, seed=99
            )
            resumed.load_state_dict(state)
            for mine, theirs in zip(resumed.due(), rank.due()):
                assert torch.equal(mine, theirs[rounds:])
            assert list(resumed) == list(rank)[rounds:]
            assert (resumed.epoch, resumed.seed, resumed.start) == (3, 4, rounds * world_size)
            assert len(resumed) == len(rank)  # the whole pass
            assert torch.equal(resumed.plan.indices, rank.plan.indices)
            assert torch.equal(resumed.plan.weights, rank.plan.weights)
            assert resumed.plan.threshold == rank.plan.threshold
            resumed.set_epoch(3)  # as mmengine does after loading
            assert list(resumed) == list(rank)[rounds:]
            # and every later pass is that of the uninterrupted run
            assert list(begin(resumed, 4, 0.5)) == list(begin(rank, 4, 0.5))
            assert len(resumed) == len(rank)
            begin(rank, 3, 0.25)
    fresh = begin(InfoBatchSampler(Numbered(64), seed=4), 4, 0.5)  # control: the state matters
    assert list(fresh) != list(begin(scored_sampler(64, seed=4), 4, 0.5))


def test_a_state_holds_tensors_and_plain_numbers():
    state = begin(scored_sampler(8), 1).state_dict(4)
    values = [*state.pop('tracked').values(), *state.values()]
    assert {type(value) for value in values} <= {torch.Tensor, int, float, type(None)}
    assert state['order'].dtype == torch.int32 and state['weights'].dtype == torch.float32


def test_a_state_does_not_change_with_the_sampler():
    sampler = begin(scored_sampler(8, halves(8)), 1)
    state = sampler.state_dict()
    scores, order = state['scores'].clone(), state['order'].clone()
    sampler.scores.update(torch.arange(8), torch.full((8,), 5.0))
    begin(sampler, 2).plan  # noqa: B018
    assert torch.equal(state['scores'], scores) and torch.equal(state['order'], order)


def test_the_state_of_another_dataset_is_refused():
    sampler = InfoBatchSampler(Numbered(9), seed=0)
    with pytest.raises(ValueError, match='scores of 8 samples, but the training dataset has 9'):
        sampler.load_state_dict(scored_sampler(8).state_dict())


def walk_elastically(length, worlds, rng, seed=0):
    """Go through a pass, leaving off and going on with another number of ranks.

    Returns:
        tuple: The samples of the plan with their weights, what was handed out as (sample, weight),
        and how often a round had to be filled up.
    """
    state = through_a_file(begin(scored_sampler(length, seed=seed), 2).state_dict(0))
    plan, handed, fillers = None, [], 0
    for stage, world_size in enumerate(worlds):
        ranks = []
        for rank in range(world_size):
            sampler = InfoBatchSampler(Numbered(length), rank=rank, world_size=world_size, seed=1)
            sampler.load_state_dict(state)
            ranks.append(sampler)
        plan = plan or weights_by_sample(ranks[0])
        shares = [rank.due() for rank in ranks]
        rounds = len(shares[0][0])
        assert {len(share[0]) for share in shares} == {rounds}
        assert all(len(rank) == rank.start // world_size + rounds for rank in ranks)
        last = stage == len(worlds) - 1
        taken = rounds if last else rng.randint(0, rounds)
        for step, rank in itertools.product(range(taken), range(world_size)):
            handed.append((int(shares[rank][0][step]), float(shares[rank][1][step])))
        consumed = ranks[0].start + taken * world_size
        fillers += max(consumed - max(len(plan), ranks[0].start), 0)
        state = through_a_file(ranks[-1].state_dict(consumed))
    return plan, handed, fillers


@pytest.mark.parametrize('worlds', [(1, 2, 4, 3, 1), (2, 2), (4, 1), (1, 8), (3, 5, 2), (8, 3, 8)])
def test_on_another_number_of_ranks_every_sample_still_due_is_handed_out_once(worlds):
    rng = random.Random(0)
    for length, seed in itertools.product((1, 2, 5, 7, 23, 64, 101), range(6)):
        plan, handed, fillers = walk_elastically(length, worlds, rng, seed)
        assert [pair[1] for pair in handed] == [plan[index] for index, _ in handed]
        assert {index for index, _ in handed} == set(plan)
        assert len(handed) == len(plan) + fillers
        assert fillers < max(worlds)


# -------------------------------------------------------------- dataloaders


@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('num_workers, persistent', [(0, False), (2, False), (2, True)])
def test_batch_k_of_a_dataloader_is_piece_k_of_the_share(num_workers, persistent, drop_last):
    sampler = scored_sampler(23, rank=1, world_size=2, num_passes=3, delta=0.6)
    loader = DataLoader(
        Numbered(23),
        batch_size=4,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=persistent,
        drop_last=drop_last,
    )
    lengths = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected = sampler.due()[0].split(4)
        if drop_last and len(expected[-1]) < 4:
            expected = expected[:-1]
        assert len(loader) == len(expected)
        # one more than there should be, lest a pass without an end hangs the tests
        batches = list(itertools.islice(loader, len(expected) + 1))
        assert [batch.tolist() for batch in batches] == [piece.tolist() for piece in expected]
        lengths.append(len(sampler))
    assert lengths[0] == lengths[1] < lengths[2] == 12


def test_a_resumed_pass_goes_through_a_dataloader():
    state = begin(scored_sampler(40), 1).state_dict(12)
    sampler = InfoBatchSampler(Numbered(40), seed=0)
    sampler.load_state_dict(state)
    loader = DataLoader(Numbered(40), batch_size=4, sampler=sampler)
    handed = [int(index) for batch in loader for index in batch]
    assert handed == state['order'][12:].tolist()
    sampler.set_epoch(2)
    assert sum(len(batch) for batch in loader) == sampler.plan.kept


# ------------------------------------------------------------------- errors


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match='0 samples'):
        InfoBatchSampler(Numbered(0), seed=0)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


class CountedStream(Stream):
    def __len__(self):
        return 3


class Endless:
    def __getitem__(self, index):
        return index


@pytest.mark.parametrize(
    'dataset', [Stream(), CountedStream(), Endless()], ids=lambda dataset: type(dataset).__name__
)
def test_a_dataset_whose_samples_have_no_index_is_refused(dataset):
    with pytest.raises(TypeError, match=f'{type(dataset).__name__} .*no length'):
        InfoBatchSampler(dataset, seed=0)


@pytest.mark.parametrize(
    'name, value',
    [
        ('policy', SoftPruning(prune_ratio=0.3)),
        ('delta', 0.5),
        ('warmup_passes', 2),
        ('num_passes', 4),
    ],
)
def test_what_would_have_no_effect_later_cannot_be_set(name, value):
    sampler = InfoBatchSampler(Numbered(4), seed=0)
    with pytest.raises(ValueError, match=rf'sampler.{name} is .* no effect .*sampler.{name}'):
        setattr(sampler, name, value)
    sampler.shuffle = False  # has an effect
    assert list(sampler) == [0, 1, 2, 3]


@pytest.mark.parametrize('delta', [-0.1, 1.1, float('nan'), float('inf'), 8])
def test_a_delta_out_of_range_is_refused_with_the_line_to_change(delta):
    with pytest.raises(ValueError) as error:
        InfoBatchSampler(Numbered(4), delta=delta, seed=0)
    assert f'delta={delta}' in str(error.value)
    assert "sampler=dict(type='InfoBatchSampler', delta=0.875)" in str(error.value)


@pytest.mark.parametrize('delta', ['0.875', None, True])
def test_a_delta_that_is_no_number_is_refused_with_the_line_to_change(delta):
    with pytest.raises(TypeError) as error:
        InfoBatchSampler(Numbered(4), delta=delta, seed=0)
    assert repr(delta) in str(error.value)
    assert "sampler=dict(type='InfoBatchSampler', delta=0.875)" in str(error.value)


@pytest.mark.parametrize('num_passes', [0, -1, 1.5, '3', True])
def test_num_passes_that_is_no_count_is_refused(num_passes):
    with pytest.raises((TypeError, ValueError), match='num_passes'):
        InfoBatchSampler(Numbered(4), num_passes=num_passes, seed=0)


@pytest.mark.parametrize('rank, world_size', [(1, 1), (2, 2), (-1, 2), (0, 0)])
def test_a_rank_that_is_none_is_refused(rank, world_size):
    with pytest.raises(ValueError, match=f'rank={rank}'):
        InfoBatchSampler(Numbered(4), rank=rank, world_size=world_size, seed=0)


@pytest.mark.parametrize('policy', [0.5, 'SoftPruning', object()])
def test_a_policy_that_cannot_plan_is_refused(policy):
    with pytest.raises(TypeError, match=r'plan\(scores, generator\)'):
        InfoBatchSampler(Numbered(4), policy=policy, seed=0)


def test_a_bad_prune_ratio_in_a_config_is_refused_by_its_name():
    with pytest.raises(ValueError, match='prune_ratio=1.5'):
        InfoBatchSampler(Numbered(4), policy=dict(type='SoftPruning', prune_ratio=1.5), seed=0)


def test_a_config_builds_the_sampler():
    sampler = DATA_SAMPLERS.build(
        dict(type='InfoBatchSampler', delta=0.5, policy=dict(type='SoftPruning', prune_ratio=0.3)),
        default_args=dict(dataset=Numbered(4), seed=3),
    )
    assert (sampler.delta, sampler.seed, sampler.policy.prune_ratio) == (0.5, 3, 0.3)
    default = InfoBatchSampler(Numbered(4), seed=0)
    assert (default.delta, default.policy.prune_ratio, default.shuffle) == (0.875, 0.5, True)


def test_global_generators_are_not_touched():
    before = rng_states()
    sampler = scored_sampler(64)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        list(sampler)
    resumed = InfoBatchSampler(Numbered(64), seed=1)
    resumed.load_state_dict(sampler.state_dict(5))
    list(resumed)
    assert rng_states() == before


# --------------------------------------------------------------- properties

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError:  # it comes with the extra `test`

    @pytest.mark.skip(reason='hypothesis is not installed')
    def test_any_pass_is_shared_and_resumed_without_loss():
        pass
else:

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(data=st.data())
    def test_any_pass_is_shared_and_resumed_without_loss(data):
        length = data.draw(st.integers(1, 60), label='length')
        losses = st.floats(0, 1e6, width=32) | st.just(float('nan'))
        scores = torch.tensor(data.draw(st.lists(losses, min_size=length, max_size=length)))
        policy = SoftPruning(data.draw(st.floats(0, 1, exclude_max=True), label='prune_ratio'))
        seed, epoch = data.draw(st.integers(0, 2**40)), data.draw(st.integers(0, 1000))
        worlds = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4), label='worlds')
        first = begin(scored_sampler(length, scores, policy=policy, seed=seed), epoch)
        plan = weights_by_sample(first)
        unseen = set(scores.isnan().nonzero().flatten().tolist())
        assert unseen <= set(plan) and all(plan[index] == 1 for index in unseen)
        assert sum(plan.values()) == pytest.approx(length, abs=length * 2**-24)
        default = default_sampler(length, 1, 0, seed=seed)
        default.set_epoch(epoch)
        assert list(first) == [index for index in default if index in plan]
        state, handed = first.state_dict(0), []
        for stage, world_size in enumerate(worlds):
            shares = []
            for rank in range(world_size):
                sampler = InfoBatchSampler(
                    Numbered(length), rank=rank, world_size=world_size, seed=0
                )
                sampler.load_state_dict(state)
                shares.append(list(sampler))
            rounds = len(shares[0])
            if stage < len(worlds) - 1:
                rounds = data.draw(st.integers(0, rounds), label='rounds')
            handed += [share[step] for step in range(rounds) for share in shares]
            state = sampler.state_dict(sampler.start + rounds * world_size)
        assert handed[: len(plan)] == list(first)
