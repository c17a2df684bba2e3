"""Checks by the names of some samples that the scores belong to the dataset."""

import zlib
from pathlib import PurePath
from typing import Any, List

import numpy as np
import torch
from mmengine.dist import all_gather, get_rank, get_world_size

from .sample_idx import annotation_of

COMPARED = 64  # samples, evenly spaced
REASON = (
    'scores are kept by index, so they would belong to other samples. Give '
    'train_dataloader.dataset a fixed order, such as that of sorted file names'
)


def sample_name(dataset: Any, index: int) -> str:
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
    return [sample_name(dataset, int(index)) for index in indices]


def check_names_in_checkpoint(saved: Any, names: List[str]) -> None:
    """Compare the names in a checkpoint with those of a training dataset of the same length.

    Args:
        saved (list[str]): What :func:`names_of` gave; None in a checkpoint of an earlier
            mm_infobatch.
        names (list[str]): Those of the dataset.

    Raises:
        ValueError: If a sample has another name. Unknown names are not compared.
    """
    if not isinstance(saved, list):
        return
    differing = [pair for pair in zip(saved, names) if all(pair) and pair[0] != pair[1]]
    if differing:
        raise ValueError(
            f'training cannot resume: {len(differing)} of {len(names)} samples that were compared '
            f'differ from the training dataset of the checkpoint ({differing[0][0]!r} there, '
            f'{differing[0][1]!r} here): {REASON}, or start a new run from the weights with '
            'load_from=CHECKPOINT and resume=False'
        )


def check_same_dataset(dataset: Any, length: int, names: List[str]) -> None:
    """Compare a training dataset with what it was when the run began; called once a pass.

    Args:
        dataset (Dataset): The outermost dataset.
        length (int): The number of its samples that have scores.
        names (list[str]): What :func:`names_of` gave when the run began.

    Raises:
        ValueError: If it has another length, or a sample another name.
    """
    change = ''
    if len(dataset) != length:
        change = f'it has {len(dataset)} samples, and had {length}'
    elif names != (now := names_of(dataset)):
        before, after = next(pair for pair in zip(names, now) if pair[0] != pair[1])
        change = f'{after!r} is where {before!r} was'
    if change:
        raise ValueError(
            f'the training dataset has changed since the run began: {change}; {REASON}. Remove the '
            'hook or the line of the dataset that changes it'
        )


def check_same_on_all_ranks(names: List[str]) -> None:
    """Compare the names of the samples over all ranks; a small collective, once a run.

    Args:
        names (list[str]): What :func:`names_of` gave on this rank.

    Raises:
        ValueError: If the names on a rank differ from those on rank 0.
    """
    if get_world_size() == 1:
        return
    own_row = torch.tensor([zlib.crc32(name.encode()) for name in names])
    rows = [row.tolist() for row in all_gather(own_row)]
    for rank, row in enumerate(rows):
        differing = [name for name, one, two in zip(names, rows[0], row) if one != two]
        if differing:
            raise ValueError(
                f'{len(differing)} of {len(names)} samples that were compared differ between rank '
                f'{rank} and rank 0 ({differing[0]!r} on rank {get_rank()}): {REASON}'
            )
