"""What one process knows of a pass, where the ranks' shares differ."""

import torch
from small_runner import resumed_pass, running_pass, scored_sampler, state_of


def pruned_pass(**kwargs):
    sampler = scored_sampler(8, torch.arange(8.0), **kwargs)
    sampler.set_epoch(1)
    return sampler, sampler.order.weights


def test_a_pass_is_uniform_only_if_all_ranks_have_weights_of_1():
    sampler, weights = pruned_pass()
    assert (weights > 1).any()
    world_size = len(weights)  # each rank trains one sample
    passes = [
        running_pass(pruned_pass(rank=rank, world_size=world_size)[0]) for rank in range(world_size)
    ]
    own = [running.weights(1).item() for running in passes]
    assert 1 in own and max(own) > 1
    assert not any(running.uniform for running in passes)


def test_a_pass_is_no_more_uniform_when_it_is_taken_up_than_when_it_began():
    seed = next(s for s in range(100) if pruned_pass(seed=s)[1][-1] == 1)
    sampler, weights = pruned_pass(seed=seed)
    last = int((weights > 1).nonzero().max()) + 1
    assert last < len(weights)
    began = running_pass(sampler)
    began.add(torch.zeros(last))
    taken_up = resumed_pass(pruned_pass(seed=seed)[0], state_of(sampler, began))
    assert (taken_up.weights(8) == 1).all()
    assert taken_up.uniform == began.uniform is False


def test_a_pass_that_prunes_nothing_is_uniform():
    assert running_pass(scored_sampler(8, torch.ones(8))).uniform
