"""Scores of images that say more of rare classes than the mean over the pixels does.

Pure functions of each class's sum of losses in an image, and a loss wrapper that scores by one of
them. They are compared in an experiment.
"""

import math
from typing import Any, Callable, Dict, Sequence, Tuple

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mm_infobatch import InfoBatchLoss


def class_sums(values: Tensor, labels: Tensor, num_classes: int) -> Tuple[Tensor, Tensor]:
    """Sum the losses of the pixels of each class.

    Args:
        values (Tensor): The loss of each pixel, float [B, H, W].
        labels (Tensor): int64 [B, H, W]; what is no class is left out.
        num_classes (int): C.

    Returns:
        tuple[Tensor, Tensor]: The sums and the pixel counts, float32 [B, C] each.
    """
    values, labels = values.flatten(1).float(), labels.flatten(1)
    valid = (labels >= 0) & (labels < num_classes)
    labels = labels.where(valid, labels.new_zeros(()))
    sums = values.new_zeros(len(values), num_classes)
    counts = sums.clone()
    sums.scatter_add_(1, labels, values * valid)
    counts.scatter_add_(1, labels, valid.float())
    return sums, counts


def pixel_mean(sums: Tensor, counts: Tensor) -> Tensor:
    """The mean over the pixels, as InfoBatchLoss takes it; NaN for an image without any, [B]."""
    return sums.sum(1) / counts.sum(1)


def balanced(sums: Tensor, counts: Tensor, frequencies: Tensor) -> Tensor:
    """The mean of the losses of the classes in an image, weighted by inverse pixel frequency.

    Args:
        sums (Tensor): [B, C].
        counts (Tensor): [B, C].
        frequencies (Tensor): The share of the pixels of each class, [C].

    Returns:
        Tensor: [B], NaN for an image without a valid pixel.
    """
    weights = (counts > 0) / frequencies
    return (weights * sums / counts.clamp(min=1)).sum(1) / weights.sum(1)


def worst(sums: Tensor, counts: Tensor, means: Tensor) -> Tensor:
    """The greatest ratio of a class's loss in an image to its mean loss: below 1 where every class
    in the image lies below its own mean.

    Args:
        sums (Tensor): [B, C].
        counts (Tensor): [B, C].
        means (Tensor): The mean loss of each class over images, [C].

    Returns:
        Tensor: [B], NaN for an image without a valid pixel.
    """
    ratios = sums / counts.clamp(min=1) / means
    found = ratios.masked_fill(counts == 0, -math.inf).amax(1)
    return found.masked_fill(counts.sum(1) == 0, math.nan)


def rare_apart(sums: Tensor, counts: Tensor, rare: Tensor, share: float) -> Tensor:
    """The mean over the pixels, and 1000 more where rare classes have that share of them.

    Args:
        sums (Tensor): [B, C].
        counts (Tensor): [B, C].
        rare (Tensor): Which classes are rare, bool [C].
        share (float): Of the valid pixels of the image.

    Returns:
        Tensor: [B], NaN for an image without a valid pixel.
    """
    apart = counts[:, rare].sum(1) >= share * counts.sum(1)
    return pixel_mean(sums, counts) + 1000.0 * apart


@MODELS.register_module()
class ClassScoreLoss(InfoBatchLoss):
    """InfoBatchLoss whose scores are a function of each class's losses. On one process.

    Args:
        loss (dict): The cross entropy to wrap.
        kind (str): ``'balanced'``, ``'worst'`` or ``'rare_apart'``.
        frequencies (list[float]): The share of the pixels of each class in the dataset.
        rare_below (float): A class is rare if its frequency is lower. Defaults to 0.02.
        rare_share (float): See :func:`rare_apart`. Defaults to 0.05.
        momentum (float): Of the classes' mean losses, from batch to batch. Defaults to 0.99.
        **kwargs: Of InfoBatchLoss.
    """

    class_means: Tensor
    frequencies: Tensor

    def __init__(
        self,
        loss: Dict[str, Any],
        kind: str,
        frequencies: Sequence[float],
        rare_below: float = 0.02,
        rare_share: float = 0.05,
        momentum: float = 0.99,
        **kwargs: Any,
    ) -> None:
        super().__init__(loss, **kwargs)
        self.kind, self.rare_below, self.rare_share = kind, rare_below, rare_share
        self.momentum = momentum
        self.register_buffer('frequencies', torch.tensor(frequencies), persistent=False)
        self.register_buffer('class_means', torch.full((len(frequencies),), math.nan))
        kinds: Dict[str, Callable[[Tensor, Tensor], Tensor]] = dict(
            balanced=lambda sums, counts: balanced(sums, counts, self.frequencies),
            worst=lambda sums, counts: worst(sums, counts, self._updated(sums, counts)),
            rare_apart=lambda sums, counts: rare_apart(
                sums, counts, self.frequencies < self.rare_below, self.rare_share
            ),
        )
        if kind not in kinds:
            raise ValueError(f'kind={kind!r} has to be one of {", ".join(kinds)}')
        self._score = kinds[kind]

    def _updated(self, sums: Tensor, counts: Tensor) -> Tensor:
        """The mean loss of each class, with that of the batch."""
        seen, means = counts.sum(0), self.class_means
        batch = sums.sum(0) / seen
        moved = means + (1 - self.momentum) * (batch - means)
        self.class_means = torch.where(seen > 0, torch.where(means.isnan(), batch, moved), means)
        return self.class_means

    def _take_apart(self, call: Any, weights: Any) -> Any:
        batch_loss = super()._take_apart(call, weights)
        with torch.no_grad():
            values = call.evaluate_unreduced(self.loss)
            sums = class_sums(values, call.target(), len(self.frequencies))
            return batch_loss._replace(scores=self._score(*sums))
