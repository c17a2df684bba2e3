"""Refuses training data whose batches would not be the planned ones, with the line to change."""

from typing import Any, Iterator

from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from ..losses.whole_batch import TRANSFORM_REASONS, reason_of
from ..passes.batch_shape import BatchShape
from ..sampler import InfoBatchSampler
from ..seeding import SEEDED_LINE, SeededDataset, inner_datasets
from .checks import SAMPLER_LINE


def check_dataloader(dataloader: DataLoader[Any], loop: str) -> InfoBatchSampler:
    """Check that batch k of a pass will be the k-th piece of the sampler's order.

    Args:
        dataloader (DataLoader): The training dataloader.
        loop (str): The name of the training loop, for the messages.

    Returns:
        InfoBatchSampler: The dataloader's sampler.

    Raises:
        ValueError: If it may not be.
    """
    if not hasattr(dataloader, 'batch_sampler'):
        raise ValueError(
            f'{loop} needs a DataLoader of PyTorch, but the training dataloader is a '
            f"{type(dataloader).__name__}; give a tool that simulates a training, as mmpretrain's "
            'vis_scheduler.py does, the config without InfoBatch, whose schedule is the same'
        )
    if isinstance(dataloader.dataset, IterableDataset):
        raise ValueError(
            f'the training dataset {type(dataloader.dataset).__name__} is iterable: its samples '
            'have no index to keep a score under; use a map-style dataset in '
            'train_dataloader.dataset'
        )
    batch_sampler = dataloader.batch_sampler
    if batch_sampler is None:
        raise ValueError(
            'train_dataloader.batch_size=None hands out single samples; give it a batch size'
        )
    sampler = getattr(batch_sampler, 'sampler', None)
    if type(batch_sampler) is not BatchSampler:
        raise ValueError(
            f'the batch sampler {type(batch_sampler).__name__} may regroup samples, but weights '
            'are handed out in the order of the sampler; remove train_dataloader.batch_sampler'
        )
    if not isinstance(sampler, InfoBatchSampler):
        raise ValueError(
            f'{loop} needs the InfoBatchSampler, but train_dataloader.sampler is '
            f'{type(sampler).__name__}; write {SAMPLER_LINE}'
        )
    if type(sampler).__iter__ is not InfoBatchSampler.__iter__:
        raise ValueError(
            f'{type(sampler).__name__} overrides __iter__, so it may hand out other samples than '
            'those of its plan, or in another order, and they would get the weights of those; '
            'remove its __iter__, and choose samples by a policy of your own in '
            'train_dataloader.sampler.policy'
        )
    if getattr(dataloader, 'in_order', True) is False:
        raise ValueError(
            'in_order=False lets batches arrive in another order than the sampler gave, so that '
            'weights would reach other samples; remove train_dataloader.in_order'
        )
    dataset: Any = dataloader.dataset
    if len(sampler.dataset) != len(dataset):
        raise ValueError(
            f'the sampler was built for {len(sampler.dataset)} samples, but the dataset has '
            f'{len(dataset)}; build both from one train_dataloader'
        )
    for inner in inner_datasets(dataloader.dataset):
        if isinstance(inner, SeededDataset):
            raise ValueError(
                f'a SeededDataset lies inside {type(dataloader.dataset).__name__}, which does not '
                'hand on the pass that an index belongs to; make it the outermost dataset: '
                f'{SEEDED_LINE}, without num_batch_per_epoch'
            )
    check_transforms(dataset)
    shape = BatchShape.of(dataloader, sampler.world_size)
    if not shape.iters(len(sampler.dataset)):
        raise ValueError(
            f'with drop_last=True a dataset of {len(sampler.dataset)} samples gives no batch of '
            f'{shape.batch_size} to each of {shape.world_size} processes; lower '
            'train_dataloader.batch_size, or set train_dataloader.drop_last=False, and where the '
            'config without InfoBatch has an InfiniteSampler, for which the conversion sets '
            "drop_last=True, also train_dataloader.sampler.type='DefaultSampler'"
        )
    return sampler


def check_not_replaced(dataloader: Any, checked: DataLoader[Any], sampler: Any) -> None:
    """Refuse a dataloader, sampler or batch size with which a hook has replaced the one that was
    checked.

    Raises:
        ValueError: If it is another one.
    """
    batches: Any = dataloader.batch_sampler
    replaced = None
    if dataloader is not checked:
        replaced = 'dataloader'
    elif batches.sampler is not sampler:
        replaced = 'dataloader.batch_sampler.sampler'
    elif BatchShape.of(dataloader, sampler.world_size) != sampler.shape:
        replaced = f'dataloader.batch_sampler.batch_size by {batches.batch_size}'
        if batches.drop_last != sampler.shape.drop_last:
            replaced = f'dataloader.batch_sampler.drop_last by {batches.drop_last}'
    if replaced is not None:
        raise ValueError(
            f'a hook has replaced train_loop.{replaced}, but scores, weights and the schedule are '
            'those of the sampler and the batch size of the dataloader that the run began with; '
            'have the hook change what that loads, such as train_loop.dataloader.dataset.pipeline, '
            'or train what follows as a run of its own, with load_from=CHECKPOINT'
        )


def check_transforms(dataset: Any) -> None:
    """Refuse a dataset that makes several views of a sample.

    Raises:
        ValueError: If it, or one inside it, has such a transform.
    """
    for part in [dataset, *inner_datasets(dataset)]:
        for transform in transforms_in(getattr(part, 'pipeline', None)):
            refused = reason_of(type(transform), TRANSFORM_REASONS)
            if refused is not None:
                name, reason = refused
                raise ValueError(
                    f'the pipeline of {type(part).__name__} has a {name}, with which InfoBatch '
                    f'cannot train: {reason}; remove it from train_dataloader.dataset, or train '
                    'without InfoBatch'
                )


def transforms_in(pipeline: Any) -> Iterator[Any]:
    """The transforms of a pipeline, and those inside one of them, at any depth."""
    for transform in pipeline if isinstance(pipeline, (list, tuple)) else [pipeline]:
        if transform is not None:
            yield transform
            yield from transforms_in(getattr(transform, 'transforms', None))
