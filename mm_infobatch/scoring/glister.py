"""GLISTER: the samples whose gradients reduce the loss on validation data the most."""

from typing import Optional, Tuple

import numpy as np

from . import gradients
from .greedy import order_scores
from .rows import by_rows, errors

Split = Tuple[np.ndarray, np.ndarray, np.ndarray]  # logits, features, labels


def glister(
    train: Split,
    validation: Split,
    count: int,
    rounds: int = 15,
    step: float = 0.1,
    per_class: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """The greedy order by the gain on validation data, in rounds; the highest are kept.

    Killamsetty et al. 2021, https://arxiv.org/abs/2012.10630. In each of r rounds the ceil(k / r)
    samples with the largest inner product of their gradient with the mean gradient of the
    validation data are chosen, after a step of the last layer along the mean gradient of those
    chosen before. O(r (N + N_v) C D).

    Differences:
    1. One step along the mean gradient of all chosen samples; CORDS takes the sum, which explodes
       for a large k.
    2. DeepCore validates on the training data, and a misspelt keyword keeps the validation
       gradient as it was at first: it chooses all samples in one round (``rounds=1``).
    3. CORDS chooses int(k / r) per round, and does not end if k < r.

    Args:
        train (tuple): Logits, float32 [N, C], features, float32 [N, D], and labels, int64 [N].
        validation (tuple): The same of the validation data, of the same classifier.
        count (int): K. The order depends on it through the size of a round.
        rounds (int): r. Defaults to 15.
        step (float): The length of the step, eta. Defaults to 0.1.
        per_class (bool): Whether to choose in each class, by its own validation samples.
            Defaults to False.
        seed (int): The seed that breaks ties. Defaults to 0.

    Returns:
        np.ndarray: float32 [N], see :func:`.greedy.order_scores`.
    """
    logits, features, labels = train
    generator = np.random.default_rng(seed)

    def choose(rows: np.ndarray, number: int) -> np.ndarray:
        own_class = labels[rows[:1]] if per_class else None
        held = _of_class(validation, own_class)
        all_rows = len(rows) == len(labels)
        points = features if all_rows else features[rows]
        mistakes = errors(logits if all_rows else logits[rows], labels[rows])
        free, chosen = np.ones(len(rows), bool), np.empty(0, np.int64)
        size = -(-number // rounds)
        while len(chosen) < number:
            taken = gradients.mean(mistakes[chosen], points[chosen]) if len(chosen) else None
            goal = _validation_gradient(held, taken, step)
            gains = by_rows(
                lambda e, h, goal=goal: gradients.products_with(goal, e, h),
                mistakes,
                points,
            )
            gains[~free] = -np.inf
            order = np.lexsort((generator.permutation(len(gains)), -gains))
            more = order[: min(size, number - len(chosen))]
            free[more] = False
            chosen = np.append(chosen, more)
        return chosen

    return order_scores(len(labels), labels if per_class else None, count, choose)


def _of_class(validation: Split, own_class: Optional[np.ndarray]) -> Split:
    """The validation samples of one class.

    Raises:
        ValueError: If there are none.
    """
    if own_class is None:
        return validation
    rows = np.flatnonzero(validation[2] == own_class)
    if not len(rows):
        raise ValueError(
            f'the validation data has no sample of class {int(own_class[0])}, so GLISTER cannot '
            'choose per class; leave out --per-class, or validate on the training data'
        )
    return validation[0][rows], validation[1][rows], validation[2][rows]


def _validation_gradient(held: Split, taken: Optional[np.ndarray], step: float) -> np.ndarray:
    """The mean gradient of the validation data after a step along ``taken``, float32 [C, D + 1]."""
    logits, features, labels = held

    def moved(z: np.ndarray, h: np.ndarray, y: np.ndarray) -> np.ndarray:
        if taken is not None:
            z = z - step * (h @ taken[:, :-1].T + taken[:, -1])
        return errors(z, y)

    return gradients.mean(by_rows(moved, logits, features, labels), features)
