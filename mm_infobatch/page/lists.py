"""Which samples the gallery shows: the hardest, the most ambiguous, the most often skipped."""

from dataclasses import dataclass
from typing import List, Optional

import numpy as np

from .sample_table import Occurrences, SampleTable

CLASS_IMAGES = 60


@dataclass
class SampleList:
    """A list of the gallery.

    Attributes:
        title: Its heading.
        about: What it holds, a sentence.
        top: int64 [M], the first samples of all.
        by_class: int64 [L], the first samples of each class that are not in ``top``.
    """

    title: str
    about: str
    top: np.ndarray
    by_class: np.ndarray


def descending(values: np.ndarray) -> np.ndarray:
    """Indices of the finite values, the largest first and equal ones by index, int64 [M]."""
    order = np.argsort(-values, kind='stable')
    return order[np.isfinite(values[order])]


def first_of_each_class(
    order: np.ndarray, num_samples: int, occurrences: Optional[Occurrences], count: int
) -> np.ndarray:
    """The samples that come first in an order among those of their class.

    Args:
        order (np.ndarray): int64 [M], indices of samples, each once.
        num_samples (int): N.
        occurrences (Occurrences, optional): The classes of samples.
        count (int): How many samples per class.

    Returns:
        np.ndarray: int64 [L], ascending, each once.
    """
    if occurrences is None or count == 0:
        return np.zeros(0, np.int64)
    ranks = np.full(num_samples, num_samples)
    ranks[order] = np.arange(len(order))
    listed = ranks[occurrences.samples] < num_samples
    samples, classes = occurrences.samples[listed], occurrences.classes[listed]
    sorting = np.lexsort((ranks[samples], classes))
    samples, classes = samples[sorting], classes[sorting]
    place = np.arange(len(classes)) - np.searchsorted(classes, classes)
    return np.unique(samples[place < count])


def choose_lists(
    table: SampleTable, occurrences: Optional[Occurrences], count: int, seed: int = 0
) -> List[SampleList]:
    """Choose the lists of the gallery that the table allows.

    A list has up to ``CLASS_IMAGES`` more images, so that its filter by class shows some of each.

    Args:
        table (SampleTable): Of N samples.
        occurrences (Occurrences, optional): The classes of samples.
        count (int): Length of a list.
        seed (int): For the list that is drawn at random. Defaults to 0.
    """
    orders = [
        (
            'Hardest by latest loss',
            'The highest scores: the loss of each image when it was last trained.',
            descending(table.scores),
        )
    ]
    if table.mean is not None and table.spread is not None:
        orders += [
            (
                'Hardest by mean loss',
                'The highest means over all passes. Images that are never learned are often '
                'labelled wrong.',
                descending(table.mean),
            ),
            (
                'Most ambiguous',
                'The largest spread of the losses over the passes: learned in some, not in others.',
                descending(table.spread),
            ),
        ]
    if table.skipped is not None and table.mean is not None and table.skipped.any():
        most = np.lexsort((table.mean, -table.skipped))
        seen = np.isfinite(table.mean)
        most = most[seen[most] & (table.skipped[most] > 0)]
        never = np.flatnonzero(seen & (table.skipped == 0))
        orders += [
            (
                'Most often skipped',
                'Skipped in the most passes; among equals, the lowest mean loss first.',
                most,
            ),
            (
                'Never skipped',
                f'A random draw of the {len(never):,} images that every pass has trained.',
                np.random.default_rng(seed).permutation(never),
            ),
        ]
    classes = 0 if occurrences is None else len(np.unique(occurrences.classes))
    per_class = min(6, CLASS_IMAGES // classes) if classes > 1 else 0
    lists = []
    for title, about, order in orders:
        top = order[:count]
        by_class = first_of_each_class(order, len(table), occurrences, per_class)
        lists.append(SampleList(title, about, top, np.setdiff1d(by_class, top)))
    return lists
