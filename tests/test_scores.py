"""The score table: what enters it, what does not, and what a checkpoint keeps."""

import io
import math

import pytest
import torch
from small_runner import Numbered, halves, resumed_pass, running_pass, scored_sampler, state_of

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.scores import ScoreTable, gather_in_order

NAN = float('nan')


def table(*values):
    scores = ScoreTable(len(values))
    scores.update(torch.arange(len(values)), torch.tensor(values))
    return scores


def same(one, other):
    return torch.equal(one.isnan(), other.isnan()) and torch.equal(
        one.nan_to_num(0), other.nan_to_num(0)
    )


def test_every_sample_begins_unseen():
    scores = ScoreTable(4)
    assert len(scores) == 4
    assert scores.values.dtype == torch.float32 and scores.values.isnan().all()


def test_an_update_names_samples_by_index():
    scores = ScoreTable(4)
    scores.update(torch.tensor([3, 1]), torch.tensor([30.0, 10.0]))
    assert same(scores.values, torch.tensor([NAN, 10.0, NAN, 30.0]))
    scores.update(torch.tensor([1]), torch.tensor([11.0]))
    assert same(scores.values, torch.tensor([NAN, 11.0, NAN, 30.0]))


@pytest.mark.parametrize('bad', [NAN, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_never_enters(bad):
    scores = table(0.0, 1.0, 2.0)
    scores.update(torch.tensor([0, 1]), torch.tensor([bad, 5.0]))
    assert scores.values.tolist() == [0, 5, 2]
    fresh = ScoreTable(2)
    fresh.update(torch.tensor([0]), torch.tensor([bad]))
    assert fresh.values.isnan().all()


def test_a_loss_that_overflows_float32_never_enters():
    scores = table(0.0, 1.0)
    scores.update(torch.tensor([0]), torch.tensor([1e300], dtype=torch.float64))
    assert scores.values.tolist() == [0, 1]


@pytest.mark.parametrize(
    'dtype',
    [
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int16,
        torch.uint8,
        torch.bool,
    ],
)
def test_indices_that_cannot_name_every_sample_are_refused(dtype):
    scores = ScoreTable(4)
    with pytest.raises(TypeError, match=f'int64 or int32, but are {dtype}'):
        scores.update(torch.tensor([0, 1]).to(dtype), torch.ones(2))
    assert scores.values.isnan().all()


@pytest.mark.parametrize('dtype', [torch.int32, torch.int64])
def test_indices_of_32_and_of_64_bits_name_the_same_samples(dtype):
    scores = ScoreTable(4, track=True)
    scores.update(torch.tensor([3, 1], dtype=dtype), torch.tensor([0.5, 2.0]))
    assert scores.values[[1, 3]].tolist() == [2.0, 0.5]
    assert scores.tracker.trained.tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match='do not fit a dataset of 4'):
        scores.update(torch.tensor([4], dtype=dtype), torch.ones(1))


def test_float16_could_not_have_told_two_samples_apart():
    assert int(torch.tensor(20209).half()) == 20208
    scores = ScoreTable(30_000)
    scores.update(torch.tensor([20209]), torch.tensor([1.0]).half())
    assert scores.values.isnan().logical_not().nonzero().tolist() == [[20209]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_losses_of_any_float_type_are_kept_as_float32(dtype):
    scores = ScoreTable(2)
    scores.update(torch.tensor([0, 1]), torch.tensor([0.5, 2.0]).to(dtype))
    assert scores.values.dtype == torch.float32 and scores.values.tolist() == [0.5, 2]


@pytest.mark.parametrize('indices', [[-1], [4], [0, 4], [2**40]])
def test_an_index_outside_the_dataset_is_refused(indices):
    scores = ScoreTable(4)
    with pytest.raises(ValueError, match='dataset of 4 samples'):
        scores.update(torch.tensor(indices), torch.ones(len(indices)))
    assert scores.values.isnan().all()


@pytest.mark.parametrize(
    'indices, values', [((2,), (3,)), ((2,), (2, 1)), ((2, 1), (2, 1)), ((), ())]
)
def test_indices_and_values_of_different_shapes_are_refused(indices, values):
    with pytest.raises(ValueError, match=r'one shape \[M\]'):
        ScoreTable(4).update(torch.zeros(indices, dtype=torch.int64), torch.ones(values))


def test_an_update_of_no_sample_changes_none():
    scores = table(1.0, 2.0)
    scores.update(torch.empty(0, dtype=torch.int64), torch.empty(0))
    assert scores.values.tolist() == [1, 2]


def test_the_table_keeps_no_graph_and_no_alias():
    scores = ScoreTable(2)
    losses = torch.ones(2, requires_grad=True) * 2
    scores.update(torch.tensor([0, 1]), losses)
    assert not scores.values.requires_grad
    losses.data.fill_(9)
    assert scores.values.tolist() == [2, 2]


def test_every_change_raises_the_version():
    scores = ScoreTable(2)
    versions = [scores.version]
    scores.update(torch.tensor([0]), torch.tensor([1.0]))
    versions.append(scores.version)
    scores.load_state_dict(scores.state_dict())
    versions.append(scores.version)
    assert versions == sorted(set(versions))


def test_the_state_survives_a_checkpoint_that_is_loaded_weights_only():
    scores = ScoreTable(5)
    scores.update(torch.tensor([0, 4]), torch.tensor([0.1, 1e-30]))
    file = io.BytesIO()
    torch.save(scores.state_dict(), file)
    file.seek(0)
    loaded = ScoreTable(5)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert same(loaded.values, scores.values)
    assert loaded.values.dtype == torch.float32


def test_a_state_is_a_copy_both_ways():
    scores = table(1.0, 2.0)
    state = scores.state_dict()
    loaded = ScoreTable(2)
    loaded.load_state_dict(state)
    scores.update(torch.tensor([0]), torch.tensor([9.0]))
    state['values'].fill_(7)
    assert loaded.values.tolist() == [1, 2]
    assert scores.values.tolist() == [9, 2]


@pytest.mark.parametrize('length', [1, 3, 5])
def test_a_state_of_another_dataset_is_refused_with_a_way_on(length):
    scores = table(1.0, 2.0, 3.0, 4.0)
    with pytest.raises(ValueError) as error:
        scores.load_state_dict(ScoreTable(length).state_dict())
    assert f'scores of {length} samples' in str(error.value) and 'has 4' in str(error.value)
    assert 'resume=False' in str(error.value)
    assert scores.values.tolist() == [1, 2, 3, 4]


def test_losses_of_one_process_are_in_order_already():
    assert gather_in_order(torch.tensor([1.0, 2.0])).tolist() == [1, 2]


def test_losses_of_several_ranks_come_together_in_the_order_of_the_pass(monkeypatch):
    shares = [
        torch.tensor([0.0, 3.0, 6.0]),
        torch.tensor([1.0, 4.0, 7.0]),
        torch.tensor([2.0, 5.0, 8.0]),
    ]
    monkeypatch.setattr('mm_infobatch.passes.scores.get_world_size', lambda: 3)
    monkeypatch.setattr('mm_infobatch.passes.scores.all_gather', lambda mine: shares)
    assert gather_in_order(shares[1]).tolist() == list(range(9))


# ------------------------------------------------- the losses of a running pass

CPU = torch.device('cpu')


def loss_of(indices):
    return indices * 10.0 + 1


class Ranks:
    """All ranks of a pass in one process."""

    def __init__(self, monkeypatch, world_size, length=23, state=None, **settings):
        self.world_size = world_size
        self.passes, self.batches = [], []
        monkeypatch.setattr('mm_infobatch.passes.running_pass.gather_in_order', self.gather)
        for rank in range(world_size):
            kwargs = dict(settings, rank=rank, world_size=world_size, track=True)
            if state is None:
                sampler = scored_sampler(length, halves(length), **kwargs)
                sampler.set_epoch(1)
                self.passes.append(running_pass(sampler))
            else:
                sampler = InfoBatchSampler(Numbered(length), seed=9, **kwargs)
                self.passes.append(resumed_pass(sampler, state))
            self.passes[-1].sampler = sampler

    def gather(self, mine):
        assert len({one.rank_trained for one in self.passes}) == 1
        losses = [one._losses[: one.rank_trained] for one in self.passes]
        assert any(mine.data_ptr() == theirs.data_ptr() for theirs in losses)
        return torch.stack(losses).t().reshape(-1)

    def train(self, batch_size, steps=10**6):
        for _ in range(steps):
            for one in self.passes:
                indices, weights = one.indices(batch_size), one.weights(batch_size)
                assert len(indices) == len(weights)
                plan = dict(
                    zip(one.sampler.plan.indices.tolist(), one.sampler.plan.weights.tolist())
                )
                assert weights.tolist() == [plan[index] for index in indices]
                one.add(loss_of(torch.tensor(indices)))
                self.batches.append(indices)
            if len(indices) < batch_size:
                break

    def merge(self):
        for one in self.passes:
            one.merge()
        tables = [one.sampler.scores.values for one in self.passes]
        assert all(torch.equal(table, tables[0]) for table in tables)
        states = [one.sampler.scores.tracker.state_dict() for one in self.passes]
        assert all(same_tracking(state, states[0]) for state in states)
        return tables[0]


def same_tracking(left, right):
    return left['passes'] == right['passes'] and all(
        same(left[key], right[key]) for key in ('trained', 'mean', 'squares')
    )


def assert_tracked(ranks, passes, length=23):
    """Each kept sample was trained once more than when it got its first score."""
    tracker = ranks.passes[0].sampler.scores.tracker
    indices = ranks.passes[0].sampler.plan.indices
    trained = torch.ones(length)
    trained[indices] += 1
    assert torch.equal(tracker.trained.float(), trained) and tracker.passes == passes
    mean = halves(length)
    mean[indices] = (mean[indices] + loss_of(indices)) / 2
    assert same(tracker.mean, mean)


def expected_scores(ranks, length=23):
    """What a merged table holds: the losses of the trained, and the older ones of the others."""
    expected = halves(length)
    indices = ranks.passes[0].sampler.plan.indices
    expected[indices] = loss_of(indices)
    return expected


@pytest.mark.parametrize('world_size', [1, 2, 3, 5])
def test_the_ranks_losses_reach_the_samples_they_belong_to(monkeypatch, world_size):
    ranks = Ranks(monkeypatch, world_size)
    ranks.train(4)
    assert torch.equal(ranks.merge(), expected_scores(ranks))
    assert_tracked(ranks, 1)
    kept = ranks.passes[0].sampler.plan.kept
    assert kept == 18
    assert {one.trained for one in ranks.passes} == {kept}
    assert {one.consumed for one in ranks.passes} == {-(-kept // world_size) * world_size}


def test_a_sample_that_fills_up_the_last_round_keeps_its_first_loss(monkeypatch):
    ranks = Ranks(monkeypatch, 4)
    ranks.train(5)  # 18 kept by 4 ranks: 20 handed out
    for one in ranks.passes[2:]:
        one._losses[-1] = -1.0  # the fillers, seen with another loss
    assert torch.equal(ranks.merge(), expected_scores(ranks))
    assert_tracked(ranks, 1)


def test_a_sample_whose_loss_was_not_finite_keeps_its_older_score(monkeypatch):
    ranks = Ranks(monkeypatch, 1)
    (only,) = ranks.passes
    (index,) = only.indices(1)
    only.add(torch.tensor([NAN]))
    ranks.train(4)
    expected = expected_scores(ranks)
    expected[index] = halves(23)[index]
    assert torch.equal(ranks.merge(), expected)


@pytest.mark.parametrize('worlds', [(2, 2), (1, 2, 4, 3, 1), (4, 1), (3, 5)])
@pytest.mark.parametrize('merged', [False, True])  # a run that ends in a pass merges there
def test_losses_seen_before_a_resume_reach_the_table_on_any_number_of_ranks(
    monkeypatch, worlds, merged
):
    state = None
    for world_size in worlds:
        ranks = Ranks(monkeypatch, world_size, state=state)
        ranks.train(2, steps=1)
        if merged:
            ranks.merge()
        for one in ranks.passes:
            one.gather()
        file = io.BytesIO()
        torch.save(state_of(ranks.passes[0].sampler, ranks.passes[0]), file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    ranks = Ranks(monkeypatch, 2, state=state)
    ranks.train(2)
    assert torch.equal(ranks.merge(), expected_scores(ranks))
    assert_tracked(ranks, 1)


def test_what_other_ranks_have_seen_is_missing_where_it_was_not_gathered(monkeypatch):
    ranks = Ranks(monkeypatch, 2)
    ranks.train(3, steps=1)
    first = ranks.passes[0]
    assert not first.complete
    losses = first.state_dict()['losses']
    assert losses.isnan().tolist() == [False, True] * 3
    first.gather()
    assert first.complete and not first.state_dict()['losses'].isnan().any()
    ranks.train(3, steps=1)
    assert not first.complete
    assert Ranks(monkeypatch, 1).passes[0].complete
