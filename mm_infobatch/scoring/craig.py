"""CRAIG: the samples whose weighted gradients cover those of all."""

from typing import Optional, Tuple

import numpy as np

from . import gradients
from .greedy import lazy_greedy, order_scores
from .rows import errors


def craig(
    logits: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    count: int,
    seed: int = 0,
    one_more: bool = False,
    over_all: bool = False,
) -> Tuple[np.ndarray, np.ndarray]:
    """The greedy order by facility location of gradients, and the weights of those chosen.

    Mirzasoleiman et al. 2020, https://arxiv.org/abs/1906.01827: per class, maximize the sum over
    all samples of their similarity to the nearest chosen one, where the similarity is the largest
    distance minus the distance of the last layer's gradients. The weight of a chosen sample is the
    number of samples that are nearest to it, itself included; all weights sum to N, without the
    samples of classes that have no chosen one. O(n^2) memory and, as the greedy selection is lazy,
    far less than k n^2 time for k of the n samples of a class.

    Differences:
    1. The original repeats the selection during training; here it is made once, as in DeepCore.
    2. DeepCore's weights are one more than the number of nearest samples (``one_more=True``).
    3. CORDS squares the distances.

    Args:
        logits (np.ndarray): float32 [N, C].
        features (np.ndarray): H, float32 [N, D].
        labels (np.ndarray): int64 [N].
        count (int): K.
        seed (int): The seed that breaks ties. Defaults to 0.
        one_more (bool): Whether weights are those of DeepCore. Defaults to False.
        over_all (bool): Whether to select over all classes. Defaults to False.

    Returns:
        tuple[np.ndarray, np.ndarray]: float32 [N], see :func:`.greedy.order_scores`, and the
        weights, float32 [N], 0 where not chosen.
    """
    generator = np.random.default_rng(seed)
    weights = np.zeros(len(labels), np.float32)

    def choose(rows: np.ndarray, number: int) -> np.ndarray:
        similar = similarities(errors(logits[rows], labels[rows]), features[rows])
        chosen = facility_location(similar, number, generator)
        nearest = similar[chosen].argmax(0)
        nearest[chosen] = np.arange(number)  # itself, also where another one is as near
        weights[rows[chosen]] = np.bincount(nearest, minlength=number) + one_more
        return chosen

    classes: Optional[np.ndarray] = None if over_all else labels
    return order_scores(len(labels), classes, count, choose), weights


def similarities(mistakes: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The largest distance of two gradients minus each distance, float32 [n, n].

    Args:
        mistakes (np.ndarray): E, float32 [n, C].
        features (np.ndarray): H, float32 [n, D].
    """
    distances = gradients.inner_products(mistakes, features)  # in place from here on
    squares = distances.diagonal().copy()
    distances *= -2
    distances += squares
    distances += squares[:, None]
    np.maximum(distances, 0, out=distances)
    np.sqrt(distances, out=distances)
    np.fill_diagonal(distances, 0)
    return np.subtract(distances.max(), distances, out=distances)


def facility_location(
    similar: np.ndarray, count: int, generator: 'np.random.Generator'
) -> np.ndarray:
    """Choose samples greedily by the sum over all of the similarity to the nearest chosen one.

    Args:
        similar (np.ndarray): Symmetric, at least 0, float32 [n, n].
        count (int): How many, at most n.
        generator (np.random.Generator): Breaks ties.

    Returns:
        np.ndarray: int64 [count], in the order of choice.
    """
    covered = np.zeros(len(similar), np.float32)

    def gain_of(index: int) -> float:
        return float(np.maximum(similar[index] - covered, 0).sum(dtype=np.float64))

    def take(index: int) -> None:
        np.maximum(covered, similar[index], out=covered)

    return lazy_greedy(similar.sum(1, dtype=np.float64), gain_of, take, count, generator)
