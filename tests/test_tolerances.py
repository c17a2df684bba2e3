"""How far two losses may differ and still count as equal."""

import math

import pytest
import torch

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses.trained_loss import unweighted_warning

LOSSES = (1e-2, 0.7, 12.0, -3.0, 1e4)


class Off(torch.nn.Module):
    """A loss of a user's own whose mean is not quite that of its values."""

    reduction = 'mean'

    def __init__(self, factor=1.0, shift=0.0):
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, pred, target, reduction_override=None):
        values = pred - target
        if reduction_override == 'none':
            return values
        return values.mean() * self.factor + self.shift


def checked(loss, mean):
    """Evaluate it on a batch of two samples, whose mean is ``mean``, and check it."""
    loss = InfoBatchLoss(loss).train()
    loss.begin_pass()
    loss.begin_batch(torch.ones(2))
    loss(torch.tensor([0.5 * mean, 1.5 * mean]), torch.zeros(2))
    loss.end_batch()
    loss.check()


@pytest.mark.parametrize('mean', LOSSES)
@pytest.mark.parametrize('sign', [-1, 1])
def test_a_loss_agrees_with_its_values_to_a_thousandth(mean, sign):
    checked(Off(), mean)
    checked(Off(1 + sign * 9e-4), mean)
    with pytest.raises(ValueError, match='Off'):
        checked(Off(1 + sign * 3e-3), mean)


def test_a_loss_of_zero_agrees_with_its_values_to_rounding():
    checked(Off(shift=9e-6), 0.0)
    checked(Off(shift=9e-6), 1e-4)
    with pytest.raises(ValueError, match='Off'):
        checked(Off(shift=3e-5), 0.0)


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('sign', [-1, 1])
def test_a_model_that_trains_a_thousandth_beside_the_wrapped_losses_is_told(loss, sign):
    assert unweighted_warning(loss, loss) is None
    assert unweighted_warning(loss * (1 + sign * 9e-4), loss) is None
    warning = unweighted_warning(loss * (1 + sign * 3e-3), loss)
    assert f'{loss * (1 + sign * 3e-3):.6g}' in warning and f'{loss:.6g}' in warning


def test_a_model_whose_wrapped_losses_are_zero_is_told_of_what_it_trains_beside_them():
    assert unweighted_warning(9e-7, 0.0) is None
    assert unweighted_warning(3e-6, 0.0) is not None


@pytest.mark.parametrize('loss', [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_not_compared(loss):
    assert unweighted_warning(loss, 1.0) is None
