"""Stands for the ``dataloader_iterator`` of mmengine's loop over iterations."""

from typing import Any

from torch.utils.data import DataLoader


class PassIterator:
    """What hooks may read of the training dataloader's iterator.

    Args:
        dataloader (DataLoader): The training dataloader.
        epoch (int): The current pass, from 0.
    """

    def __init__(self, dataloader: DataLoader[Any], epoch: int) -> None:
        self._dataloader, self._epoch = dataloader, epoch

    def __iter__(self) -> 'PassIterator':
        return self

    def __next__(self) -> Any:
        """Refuse to take a batch.

        Raises:
            ValueError: Always: the batches after it would be weighed as the ones before.
        """
        raise ValueError(
            'a batch that a hook takes from train_loop.dataloader_iterator would be missing in the '
            'pass, and the weights of the batches after it would reach other samples; let the hook '
            'iterate over train_loop.dataloader instead'
        )
