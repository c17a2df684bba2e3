"""DeepFool: how far a sample lies from the boundary to another class.

Ducoffe and Precioso 2018, https://arxiv.org/abs/1802.09841, with the attack of Moosavi-Dezfooli et
al. 2016, https://arxiv.org/abs/1511.04599. Those nearest to a boundary are kept, so the scores are
minus the squared lengths of the perturbations. The class to leave is the predicted one, right or
wrong.
"""

from typing import Callable, Optional

import numpy as np
import torch
from torch import Tensor

from .rows import by_rows

STEPS = 50  # at most


def deepfool(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    classes: int = 10,
    steps: int = STEPS,
    overshoot: float = 0.02,
) -> Tensor:
    """Minus the squared length of the perturbation of each image that changes its class.

    As long as the predicted class is the first one, it steps to the nearest of the linearized
    boundaries with the others.

    Differences from DeepCore:
    1. Images are perturbed by 1 + ``overshoot`` times the steps, as in the original; without that
       (``overshoot=0``, DeepCore) points stall on the boundary until the steps run out.
    2. Only the boundaries with the most likely classes are looked at, as in the original.
    3. Parameters are left as they were; it runs on a CPU.
    4. Steps end before the squared length overflows, so that every image has a finite score.

    Args:
        logits_of (callable): From images, [B, ...], to logits, [B, C].
        images (Tensor): As the network gets them, float32 [B, ...].
        classes (int): How many classes, the predicted one included. Defaults to 10.
        steps (int): The largest number of steps. Defaults to 50.
        overshoot (float): How much further than to the boundary. Defaults to 0.02.

    Returns:
        Tensor: float32 [B].
    """
    total = torch.zeros_like(images)
    active = torch.arange(len(images), device=images.device)
    order: Optional[Tensor] = None
    for _ in range(steps):
        moved = (images[active] + (1 + overshoot) * total[active]).requires_grad_()
        logits = logits_of(moved)
        if order is None:
            order = logits.detach().argsort(1, descending=True)[:, :classes]
        stays = logits.detach().argmax(1) == order[active, 0]
        if not bool(stays.any()):
            break
        # The original also steps a hair beyond the boundary, as a point on it would stay there.
        move = _to_the_nearest(logits, moved, order[active], 1e-4 if overshoot else 0.0)
        stays &= move.flatten(1).any(1)  # without a step nothing would change in the next one
        # Without a boundary ahead, steps of a network with normalization grow without bound.
        grown = total[active] + move
        stays &= grown.flatten(1).square().sum(1).isfinite()
        active = active[stays]
        total[active] = grown[stays]
        if not len(active):
            break
    return -total.flatten(1).square().sum(1)


def _to_the_nearest(logits: Tensor, moved: Tensor, order: Tensor, beyond: float) -> Tensor:
    """The step to the nearest linearized boundary, [B, ...]; 0 where no gradient leads to one."""
    ranked = logits.gather(1, order)
    gradients = [
        torch.autograd.grad(ranked[:, index].sum(), moved, retain_graph=True)[0].flatten(1)
        for index in range(order.shape[1])
    ]
    normals = torch.stack(gradients[1:], 1) - gradients[0][:, None]
    squares = normals.square().sum(2)
    gaps = (ranked.detach()[:, :1] - ranked.detach()[:, 1:]).abs() + beyond
    lengths = torch.where(squares > 0, gaps.square() / squares, torch.inf)
    nearest = lengths.argmin(1)
    rows = torch.arange(len(nearest), device=nearest.device)
    factor = gaps[rows, nearest] / squares[rows, nearest]
    factor = torch.where(squares[rows, nearest] > 0, factor, torch.zeros_like(factor))
    return (factor[:, None] * normals[rows, nearest]).view_as(moved)


def boundary_in_features(logits: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Minus the squared distance of the features to the nearest boundary, a stand-in for DeepFool.

    The last layer is linear, so the boundary of two classes a and b is exactly
    |z_a - z_b| / norm(W_a - W_b) away. It takes no gradient of an image, but distances between
    features are not those between images.

    Args:
        logits (np.ndarray): float32 [N, C].
        weight (np.ndarray): W of the last layer, float32 [C, D].

    Returns:
        np.ndarray: float32 [N].
    """
    wide = weight.astype(np.float64)
    squares = np.stack([np.square(wide - one).sum(1) for one in wide])  # never [C, C, D]
    squares[squares == 0] = np.nan  # the class itself, and one of the same weights

    def block(logits: np.ndarray) -> np.ndarray:
        first = logits.argmax(1)
        gaps = logits[np.arange(len(logits)), first][:, None] - logits.astype(np.float64)
        return (-np.nanmin(np.square(gaps) / squares[first], 1)).astype(np.float32)

    return by_rows(block, logits)
