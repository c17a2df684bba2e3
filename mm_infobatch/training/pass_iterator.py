"""The iterator of a pass, and what stands for it as mmengine's ``dataloader_iterator``."""

from typing import Any, Iterator

from torch.utils.data import DataLoader

PERSISTENT_LINE = 'train_dataloader=dict(persistent_workers=False)'


def batches_of_pass(batches: Any, dataloader: DataLoader[Any], sampler: Any) -> Iterator[Any]:
    """Iterate over the batches of a pass, as long as they are those of the pass.

    A dataloader with persistent workers has one iterator, which starts from the beginning whenever
    something iterates over the dataloader.

    Args:
        batches (Iterator): The iterator of the dataloader, just opened.
        dataloader (DataLoader): The training dataloader.
        sampler (InfoBatchSampler): Its sampler.

    Returns:
        Iterator: Over the batches. Raises ValueError where the next one would be another's.
    """
    return _unless_restarted(batches, sampler) if dataloader.persistent_workers else batches


def _unless_restarted(batches: Any, sampler: Any) -> Iterator[Any]:
    opened = sampler.iterators
    for batch in batches:
        yield batch
        if sampler.iterators != opened:
            raise ValueError(
                'a hook iterated over train_loop.dataloader in the middle of a pass, as '
                'PreciseBNHook does by iterations, and with persistent_workers=True that restarts '
                'the iterator of the run, so that the pass would continue with batches that are '
                f'not planned; write {PERSISTENT_LINE}'
            )


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
            ValueError: Always: the batches after it would get the weights of those before.
        """
        raise ValueError(
            'a batch that a hook takes from train_loop.dataloader_iterator would be missing in the '
            'pass, and the weights of the batches after it would reach other samples; let the hook '
            f'iterate over train_loop.dataloader instead, with {PERSISTENT_LINE}'
        )
