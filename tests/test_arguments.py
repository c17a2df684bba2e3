"""Checks of arguments, at the edges of what they accept."""

import math

import numpy as np
import pytest
import torch
from small_runner import Numbered

from mm_infobatch import arguments


@pytest.mark.parametrize('seed', [-(2**63), -1, 0, 2**63 - 1, np.int64(7)])
def test_a_seed_of_64_bits_is_accepted_as_pytorch_does(seed):
    arguments.require_seed(seed)
    torch.Generator().manual_seed(int(seed))


@pytest.mark.parametrize('seed', [-(2**63) - 1, 2**63])
def test_a_seed_of_more_bits_is_refused(seed):
    with pytest.raises(ValueError, match=f'seed={seed} does not fit into 64 bits.*write a line'):
        arguments.require_seed(seed, 'a line')


@pytest.mark.parametrize('pairs', [None, [], [(0, 1000), (70000, 500)], [[0, 1.0]], [(8e4, 1)]])
def test_intervals_of_validation_from_milestones_on_are_accepted(pairs):
    arguments.require_validation(0, 1, pairs)


@pytest.mark.parametrize(
    'pairs', [[(-1, 1)], [(0, 0)], [(0.5, 1)], [(0, 1, 2)], [3], ((0, 1),), {}]
)
def test_intervals_of_validation_that_are_none_are_refused(pairs):
    with pytest.raises(
        ValueError, match='train_cfg.dynamic_intervals=.* has to be a list of pairs'
    ):
        arguments.require_validation(1, 1, pairs)


@pytest.mark.parametrize('value, least', [(0, 0), (1, 1), (8e4, 1), (np.int32(3), 3)])
def test_a_count_from_the_least_on_is_accepted_as_an_integer(value, least):
    found = arguments.require_count('a', value, least)
    assert found == value and type(found) is int


@pytest.mark.parametrize('value, least', [(-1, 0), (0, 1), (1.5, 1), (math.inf, 1), (True, 1)])
def test_a_count_below_the_least_or_that_is_none_is_refused(value, least):
    with pytest.raises(ValueError, match=f'a={value!r} has to be an integer of at least {least}'):
        arguments.require_count('a', value, least)


@pytest.mark.parametrize('zero', [False, True])
@pytest.mark.parametrize('one', [False, True])
def test_a_share_lies_between_its_ends_and_is_a_float(zero, one):
    accepted, ends = [1e-300, 0.5, 1 - 2**-53], {0: zero, 1: one, -(2**-1074): False, 1.1: False}
    for value in [*accepted, *(end for end in ends if ends[end])]:
        found = arguments.require_share('a', value, 'a line', zero=zero, one=one)
        assert found == value and type(found) is float
    for value in (end for end in ends if not ends[end]):
        interval = f'{"[" if zero else "("}0, 1{"]" if one else ")"}'
        with pytest.raises(ValueError) as error:
            arguments.require_share('a', value, 'a line', zero=zero, one=one, why='it is one')
        assert f'a={value} lies outside {interval}: it is one; write a line' == str(error.value)


@pytest.mark.parametrize('value', [1, 0, 'yes', None, 'Normalized', 1.0])
def test_a_rescale_that_only_equals_one_of_the_three_is_refused(value):
    with pytest.raises(ValueError, match='rescale=.* has to be True .* False .* or .normalized'):
        arguments.require_rescale(value, 'a line')


def test_a_dataset_needs_a_length_and_samples():
    arguments.require_dataset(Numbered(1))
    for dataset in (iter([1]), object()):
        with pytest.raises(
            TypeError, match=f'{type(dataset).__name__} is iterable or has no length'
        ):
            arguments.require_dataset(dataset)
    with pytest.raises(ValueError, match='training dataset of 0 samples'):
        arguments.require_dataset(Numbered(0))
