"""Forgetting: how often a sample was learned and then not."""

import math
from typing import Optional

import numpy as np


def learned_by_loss(losses: np.ndarray) -> np.ndarray:
    """Which samples were predicted correctly, judged by their losses, bool [T, N].

    A cross-entropy below log 2 is a label probability above 1/2, which always is a correct
    prediction; a correct one of a lower probability does not count.

    Args:
        losses (np.ndarray): [T, N], NaN where unseen.
    """
    return losses < math.log(2)


def forgetting(learned: np.ndarray, never_learned: Optional[float] = None) -> np.ndarray:
    """How often each sample was forgotten; the highest are kept.

    Toneva et al. 2019, https://arxiv.org/abs/1812.05159, over the presentations of a training.

    Differences from the publication:
    1. The rows are those of checkpoints, such as one per epoch, and not of the batches in which a
       sample was trained, so changes between two checkpoints are not counted.

    Args:
        learned (np.ndarray): Whether each sample was predicted correctly, bool [T, N], in the order
            of training.
        never_learned (float, optional): The score of samples that never were. DeepCore gives them
            0, and so prunes the hardest first. Defaults to None: T, more than any other score.

    Returns:
        np.ndarray: float32 [N].
    """
    forgotten = (learned[:-1] & ~learned[1:]).sum(0).astype(np.float32)
    hardest = len(learned) if never_learned is None else never_learned
    return np.where(learned.any(0), forgotten, hardest).astype(np.float32)
