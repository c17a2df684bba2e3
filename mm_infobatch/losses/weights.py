"""Applies the weights of a batch to its losses, and to what is counted in it."""

from typing import Union

from torch import Tensor

Factor = Union[float, Tensor]


class Weights:
    """The weights of the samples of a batch.

    A sample of weight w stands for w samples: itself and similar ones that the pass skips. So the
    losses of the samples are multiplied by the weights before they are added up. What the sum is
    divided by depends on the loss. If it divides by a size of the batch, that does not change. If
    it divides by a count of something in the batch (valid pixels, say), the count is weighted too,
    and normalized to the size of the batch:

        (w * V).sum() * B / w.sum()

    for counts V of B samples, which is V.sum() at weights of 1. Without this, if easy images have
    more valid pixels than hard ones, the divisor would be too small, and the expected gradient
    longer than that of all data.

    Args:
        values (Tensor): float32 [B], on any device.
        uniform (bool): Whether all of them are known to be 1.
        scale (float or Tensor): What the weights of the plan were multiplied by, see
            :class:`~mm_infobatch.training.step_length.StepLength` and
            :meth:`~mm_infobatch.losses.tasks.TaskRows.weights_of`. Defaults to 1.
    """

    __slots__ = ('values', 'uniform', 'scale')

    def __init__(self, values: Tensor, uniform: bool, scale: Factor = 1.0) -> None:
        self.values, self.uniform, self.scale = values, uniform, scale

    def check_batch_size(self, samples: Tensor, name: str) -> None:
        """Check that a tensor has one row for each weight.

        Args:
            samples (Tensor): [B, ...].
            name (str): The class of the loss, for the message.

        Raises:
            ValueError: If it has another number of rows.
        """
        if samples.ndim == 0 or len(samples) != len(self.values):
            raise ValueError(
                f'InfoBatchLoss({name}) got a batch of shape {tuple(samples.shape)}, but this '
                f'iteration trains {len(self.values)} samples: each row of the loss has to belong '
                'to one sample of the dataset, so repeated augmentation, several crops per image '
                'and heads that merge images and positions cannot be weighted; leave this loss '
                'unwrapped or remove what changes the batch. An unwrapped loss has to be named: '
                "custom_hooks=[dict(type='InfoBatchHook', unweighted=['model. ...'])]"
            )

    def times(self, values: Tensor) -> Tensor:
        """Multiply the values of the samples, [B, ...], by the weights.

        At least in float32: n/k in bfloat16 would be up to 0.4 % off, equally in a whole pass.
        """
        if self.uniform:
            return values
        weights = self.values.to(values.device)
        if values.ndim > 1:
            weights = weights.view(-1, *[1] * (values.ndim - 1))
        return values * weights

    def count_factor(self, counts: Tensor) -> Factor:
        """What a count of the batch, ``counts.sum()``, is multiplied by.

        Args:
            counts (Tensor): [B, ...], what is counted.

        Returns:
            int or Tensor: ``(w * V).sum() * B / w.sum() / V.sum()``, exactly 1 at weights of 1.
        """
        if self.uniform:
            return 1
        weights = self.values.to(counts.device)
        counts = positions(counts).sum(1).to(weights.dtype)
        factor = (weights * counts).sum() / counts.sum() * (len(weights) / weights.sum())
        return factor.masked_fill(~(factor > 0), 1.0)  # nothing counted, or at weights of 0

    def per_position(self, num_positions: int, like: Tensor) -> Tensor:
        """What each position of each sample stands for, float32 [B * positions], with a mean of 1.

        Args:
            num_positions (int): The positions of a sample.
            like (Tensor): On the device of the result.
        """
        weights = self.values.to(like.device)
        return (weights * (len(weights) / weights.sum())).repeat_interleave(num_positions)


def positions(values: Tensor) -> Tensor:
    """View a map of samples, [B, ...], as [B, positions]."""
    return values.flatten(1) if values.ndim > 1 else values.unsqueeze(1)
