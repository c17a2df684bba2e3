"""How far two losses may differ and still count as equal."""

import math

import pytest
import torch

from mm_infobatch.losses.decompositions import Parts, agrees
from mm_infobatch.losses.model_losses import unweighted

LOSSES = (1e-2, 0.7, 12.0, -3.0, 1e4)


def parts_of(loss):
    """A batch of two samples, whose mean is ``loss``."""
    values = torch.tensor([0.5 * loss, 1.5 * loss])
    return Parts(values, lambda weighted: weighted.mean(), values)


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('sign', [-1, 1])
def test_a_loss_agrees_with_its_parts_to_a_thousandth(loss, sign):
    assert agrees(torch.tensor(loss), parts_of(loss)) is None
    assert agrees(torch.tensor(loss * (1 + sign * 9e-4)), parts_of(loss)) is None
    other = torch.tensor(loss * (1 + sign * 3e-3))
    wrong = agrees(other, parts_of(loss))
    assert f'{float(other):.6g}' in wrong and f'{loss:.6g}' in wrong


def test_a_loss_of_zero_agrees_with_its_parts_to_rounding():
    assert agrees(torch.tensor(9e-6), parts_of(0.0)) is None
    assert agrees(torch.tensor(3e-5), parts_of(0.0)) is not None


def test_a_loss_that_is_nan_agrees_with_parts_that_are_nan_alone():
    assert agrees(torch.tensor(math.nan), parts_of(math.nan)) is None
    assert agrees(torch.tensor(math.nan), parts_of(1.0)) is not None
    assert agrees(torch.tensor(1.0), parts_of(math.nan)) is not None


def test_a_loss_of_another_shape_does_not_agree_with_its_parts():
    assert agrees(torch.tensor([0.7]), parts_of(0.7)) is not None


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('sign', [-1, 1])
def test_a_model_that_trains_a_thousandth_beside_the_wrapped_losses_is_told(loss, sign):
    assert unweighted(loss, loss) is None
    assert unweighted(loss * (1 + sign * 9e-4), loss) is None
    warning = unweighted(loss * (1 + sign * 3e-3), loss)
    assert f'{loss * (1 + sign * 3e-3):.6g}' in warning and f'{loss:.6g}' in warning


def test_a_model_whose_wrapped_losses_are_zero_is_told_of_what_it_trains_beside_them():
    assert unweighted(9e-7, 0.0) is None
    assert unweighted(3e-6, 0.0) is not None


@pytest.mark.parametrize('loss', [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_not_compared(loss):
    assert unweighted(loss, 1.0) is None
