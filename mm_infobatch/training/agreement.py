"""Checks that all ranks train the same pass."""

import zlib

import torch
from mmengine.dist import all_gather, get_rank, get_world_size

from ..passes.order import PassOrder


def check_agreement(order: PassOrder, start: int) -> None:
    """Compare the pass of this rank with those of the others; a small collective, once a pass.

    Ranks that plan another number of samples would wait for each other without end, and ranks that
    plan other samples would train and score the wrong ones.

    Args:
        order (PassOrder): The pass.
        start (int): How many of its samples, over all ranks, are done.

    Raises:
        ValueError: If they differ.
    """
    if get_world_size() == 1:
        return
    checksum = 0
    for part in (order.indices, order.weights):
        checksum = zlib.crc32(part.contiguous().numpy().data, checksum)
    own_row = torch.tensor([order.num_samples, order.kept, start, checksum])
    rows = [row.tolist() for row in all_gather(own_row)]
    other = next((rank for rank, row in enumerate(rows) if row != rows[0]), None)
    if other is None:
        return
    (length, kept, done, _), (other_length, other_kept, other_done, _) = rows[0], rows[other]
    if length != other_length:
        reason = (
            f'the training dataset has {length} samples on rank 0 and {other_length} on rank '
            f'{other}; make the files of train_dataloader.dataset the same on every machine'
        )
    elif done != other_done:
        reason = (
            f'rank 0 has trained {done} samples of the pass and rank {other} {other_done}; resume '
            'all processes from the same checkpoint'
        )
    else:
        reason = (
            f'rank 0 keeps {kept} samples and rank {other} {other_kept}, or others; a policy must '
            'draw all random numbers from the generator that plan() is given, and '
            'train_dataloader.sampler.seed has to be the same on every rank'
        )
    raise ValueError(f'the ranks do not train the same pass: {reason} (this is rank {get_rank()})')
