"""Iterates over the batches of a pass, and replaces mmengine's ``dataloader_iterator``."""

from typing import Any, Iterator

from torch.utils.data import DataLoader

from ..passes.schedule import PassSchedule

PERSISTENT_LINE = 'train_dataloader=dict(persistent_workers=False)'


def batches_of_pass(
    batches: Iterator[Any], dataloader: DataLoader[Any], sampler: Any, schedule: PassSchedule
) -> Iterator[Any]:
    """Iterate over the batches of a pass, as long as they are those of the pass.

    A dataloader with persistent workers has one iterator, which starts from the beginning whenever
    something iterates over the dataloader. A loop of a user's own may leave out a batch, or train
    one twice.

    Args:
        batches (Iterator): The iterator of the dataloader, just opened.
        dataloader (DataLoader): The training dataloader.
        sampler (InfoBatchSampler): Its sampler.
        schedule (PassSchedule): The schedule of the loop, which counts the batches that it trains.

    Yields:
        Any: A batch.

    Raises:
        ValueError: If the next batch would get the weights of another one.
    """
    opened = sampler.iterators
    for batch in batches:
        done = schedule.iters
        yield batch
        trained = schedule.iters - done
        if trained != 1:
            raise ValueError(
                f'run_iter of the training loop trained a batch {trained} times, and weights and '
                'scores go to the samples of the batches in their order, each trained once; have '
                'it call super().run_iter(...) once for each batch'
            )
        if dataloader.persistent_workers and sampler.iterators != opened:
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
