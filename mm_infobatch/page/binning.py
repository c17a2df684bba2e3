"""Counts for the charts: histograms of scores, and the map of means against spreads."""

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np


def rebin(counts: np.ndarray, edges: np.ndarray, new_edges: np.ndarray) -> np.ndarray:
    """Counts in other bins, as if the values were spread evenly within each bin.

    Args:
        counts (np.ndarray): [B].
        edges (np.ndarray): [B + 1], ascending.
        new_edges (np.ndarray): [C + 1], ascending.

    Returns:
        np.ndarray: float64 [C]; counts outside of the new edges are left out.
    """
    below = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    return np.diff(np.interp(new_edges, edges, below))


def scores_by_pass(
    passes: Sequence[Dict[str, Any]],
) -> Optional[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The distributions of the scores that the passes were planned from.

    Args:
        passes (list[dict]): The records of ``infobatch.json``.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray], optional: The number of each pass [P], the edges
        of the bins [B + 1] without empty ones at both ends, and the share of the samples in each
        bin [P, B]. None if no pass has a histogram.
    """
    numbers: List[int] = []
    rows: List[np.ndarray] = []
    edges: Optional[np.ndarray] = None
    for record in passes:
        histogram = record.get('histogram')
        if not histogram or not sum(histogram['counts']):
            continue
        counts, own_edges = (np.array(histogram[key], float) for key in ('counts', 'edges'))
        if edges is None:
            edges = own_edges
        if len(own_edges) != len(edges) or not np.array_equal(own_edges, edges):
            counts = rebin(counts, own_edges, edges)
        numbers.append(record['pass'])
        rows.append(counts / (sum(histogram['counts']) + histogram['unseen']))
    if edges is None:
        return None
    shares = np.stack(rows)
    used = np.flatnonzero(shares.sum(0))
    first, last = used[0], used[-1] + 1
    return np.array(numbers), edges[first : last + 1], shares[:, first:last]


def spread_map(
    mean: np.ndarray, spread: np.ndarray, trained: np.ndarray, bins: Optional[int] = None
) -> Optional[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Count the samples by mean and spread of their losses, as in dataset cartography.

    Samples trained less than twice have no spread and are left out. The axes end at the largest of
    99.8 % of the samples; those beyond are counted at the end.

    Args:
        mean (np.ndarray): [N], NaN where unseen.
        spread (np.ndarray): [N].
        trained (np.ndarray): [N].
        bins (int, optional): Along each axis. Defaults to the root of the number of samples, but
            15 to 60.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray], optional: The edges of the spreads and of the
        means, each [bins + 1], and the counts [bins, bins], a row for each bin of the means. None
        if no sample was trained twice.
    """
    chosen = (trained > 1) & np.isfinite(mean) & np.isfinite(spread)
    if not chosen.any():
        return None
    if bins is None:
        bins = int(min(max(math.sqrt(chosen.sum()), 15), 60))
    edges, placed = [], []
    for values in (spread[chosen], mean[chosen]):
        low, high = float(values.min()), float(np.quantile(values, 0.998))
        edges.append(np.linspace(low, high if high > low else low + 1.0, bins + 1))
        place = np.searchsorted(edges[-1], values, 'right') - 1
        placed.append(np.clip(place, 0, bins - 1))
    counts = np.bincount(placed[1] * bins + placed[0], minlength=bins * bins)
    return edges[0], edges[1], counts.reshape(bins, bins)
