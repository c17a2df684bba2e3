"""Which samples a dataset has, as far as some names tell: scores are kept by index."""

import zlib
from pathlib import PurePath
from typing import Any, List, Optional

import numpy as np
import torch
from mmengine.dist import all_gather, get_rank, get_world_size

from .sample_idx import annotation_of

COMPARED = 64  # samples, evenly spaced
REASON = (
    'scores are kept by index, and would be those of other samples. Give '
    'train_dataloader.dataset a fixed order, such as that of sorted file names'
)


def name_of(dataset: Any, index: int) -> str:
    """The name of a sample: its file's, without folders and ending, or a checksum of its image.

    Args:
        dataset (Dataset): The outermost dataset.
        index (int): The index into it.

    Returns:
        str: Empty if it is unknown.
    """
    info = annotation_of(dataset, index)
    path, image = info.get('img_path'), info.get('img')
    if isinstance(path, str):
        return PurePath(path).stem
    if isinstance(image, np.ndarray):
        return f'{zlib.crc32(np.ascontiguousarray(image).data):08x}'
    return ''


def names_of(dataset: Any) -> List[str]:
    """The names of up to ``COMPARED`` samples, from the first to the last."""
    indices = np.linspace(0, len(dataset) - 1, min(COMPARED, len(dataset))).round().astype(int)
    return [name_of(dataset, int(index)) for index in indices]


def other_samples(saved: Any, dataset: Any) -> Optional[str]:
    """Compare the names in a checkpoint with those of the training dataset.

    Args:
        saved (list[str]): What :func:`names_of` gave; None in a checkpoint of an earlier
            mm_infobatch.
        dataset (Dataset): The training dataset.

    Returns:
        str, optional: What is wrong; None where nothing is, or it cannot be told.
    """
    now = names_of(dataset)
    if not isinstance(saved, list) or len(saved) != len(now):  # another length is refused
        return None
    other = [pair for pair in zip(saved, now) if all(pair) and pair[0] != pair[1]]
    if not other:
        return None
    return (
        f'{len(other)} of {len(now)} samples that were compared are others than in the training '
        f'dataset of the checkpoint ({other[0][0]!r} there, {other[0][1]!r} here): {REASON}'
    )


def check_same_samples(dataset: Any) -> None:
    """Compare the names of some samples over all ranks; a small collective, once a run.

    Raises:
        ValueError: If a rank has others than rank 0.
    """
    if get_world_size() == 1:
        return
    names = names_of(dataset)
    mine = torch.tensor([zlib.crc32(name.encode()) for name in names])
    rows = [row.tolist() for row in all_gather(mine)]
    for rank, row in enumerate(rows):
        other = [name for name, one, two in zip(names, rows[0], row) if one != two]
        if other:
            raise ValueError(
                f'{len(other)} of {len(names)} samples that were compared are others on rank '
                f'{rank} than on rank 0 ({other[0]!r} on rank {get_rank()}): {REASON}'
            )
