"""The histogram of the scores when a pass begins."""

from typing import Any, Dict, Optional

import numpy as np
import torch
from torch import Tensor

# 40 bins from 2**-14 (0.00006) to 2**6 (64), equally wide on a log scale but for rounding: edges
# with 8 significant bits are where the first 16 bits of a float32 change.
EDGES = torch.logspace(-14, 6, 41, base=2).bfloat16()
_CELLS = EDGES.view(torch.int16).tolist()


def histogram(scores: Tensor) -> Optional[Dict[str, Any]]:
    """The histogram of the scores, with the same edges in every pass of every run.

    A score below the first edge, such as 0 or one below 0, counts in the first bin, and one above
    the last edge in the last bin.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.

    Returns:
        dict, optional: ``edges`` (B + 1 floats, ascending), ``counts`` (B integers; bin i is from
        edge i on, up to and without edge i + 1) and ``unseen`` (the samples without a score). None
        where no sample has a score.
    """
    # Much faster than comparing with the edges: count the first 16 bits, sign, exponent and 7 bits
    # of the fraction. Positive numbers ascend with them.
    top = (scores.view(torch.int32) >> 16).bitwise_and_(0xFFFF)
    cells = torch.bincount(top, minlength=1 << 16).numpy()
    infinite, negative = 0x7F80, 0x8000  # NaN lies above infinity
    counts = np.add.reduceat(cells[:infinite], _CELLS[:-1])
    counts[0] += cells[: _CELLS[0]].sum() + cells[negative : negative + infinite].sum()
    unseen = len(scores) - int(counts.sum())
    if unseen == len(scores):
        return None
    return dict(edges=EDGES.tolist(), counts=counts.tolist(), unseen=unseen)
