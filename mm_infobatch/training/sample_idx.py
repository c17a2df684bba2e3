"""Finds a sample in a wrapped dataset, and checks batches by ``sample_idx`` and ``img_path``."""

import bisect
import operator
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from mmengine.dataset import BaseDataset

from ..seeding import SeededDataset, inner_datasets, seeded, unwrap_seeded
from .user_code import is_known


def inside(dataset: Any, index: int) -> Optional[Tuple[Any, int]]:
    """Find the dataset inside a wrapper, and the index of a sample in it.

    This works for ``SeededDataset``, for the wrappers of MMEngine, both toolboxes and PyTorch, and
    for any other wrapper with a ``dataset`` of the same length, whose order it is taken to keep.

    Args:
        dataset (Dataset): The wrapper.
        index (int): The index into it.

    Returns:
        tuple[Dataset, int], optional: None if it wraps no dataset, or the index in it is not known.
    """
    if type(dataset).__name__ == '_SlicedDataset':  # by num_batch_per_epoch: the first samples
        return dataset._dataset, index  # what else it seems to have is what that one has
    if hasattr(dataset, 'datasets') and hasattr(dataset, 'cumulative_sizes'):
        which = bisect.bisect_right(dataset.cumulative_sizes, index)
        if which == len(dataset.datasets):  # a class of one's own, longer than the datasets in it
            return None
        before = dataset.cumulative_sizes[which - 1] if which else 0
        return dataset.datasets[which], index - before
    inner: Any = getattr(dataset, 'dataset', None)
    if isinstance(inner, str) or not (hasattr(inner, '__getitem__') and hasattr(inner, '__len__')):
        return None
    indices: Any = getattr(dataset, 'indices', None)
    if hasattr(indices, '__len__') and len(indices) == len(dataset):
        try:
            return inner, operator.index(indices[index])
        except (TypeError, KeyError):  # pairs of a video and a frame, for example
            return None
    if isinstance(dataset, SeededDataset) or len(dataset) == len(inner):
        return inner, index
    if hasattr(dataset, '_get_ori_dataset_idx'):
        return inner, int(dataset._get_ori_dataset_idx(index))
    return None


def annotation_of(dataset: Any, index: int) -> Dict[str, Any]:
    """Read the annotation of a sample by ``get_data_info`` of the outermost dataset that has it.

    A ``get_data_info`` that draws random numbers, to choose one of several images for example,
    returns the same in each call and on each rank, and does not advance the generators of the run.

    Args:
        dataset (Dataset): The outermost dataset.
        index (int): The index into it.

    Returns:
        dict: Empty if there is none, or it cannot be read.
    """
    while not hasattr(dataset, 'get_data_info'):
        inner = inside(dataset, index)
        if inner is None:
            return {}
        dataset, index = inner
    try:
        with seeded(0, 0, index):
            return dict(dataset.get_data_info(index))
    except Exception:  # whatever a user's dataset raises; training shows it
        return {}


def sample_idx_is_index(dataset: Any) -> bool:
    """Whether ``sample_idx`` of a dataset's samples is the index that the sampler hands out.

    If a dataset overrides ``__len__``, to repeat rare samples for example, its indices differ.
    """
    dataset = unwrap_seeded(dataset)
    return isinstance(dataset, BaseDataset) and type(dataset).__len__ is BaseDataset.__len__


def plain_place(dataset: Any, index: int) -> Optional[Tuple[Any, int]]:
    """The dataset inside all wrappers, and the index of a sample in it: its ``sample_idx``.

    Args:
        dataset (Dataset): The outermost dataset.
        index (int): The index into it.

    Returns:
        tuple[BaseDataset, int], optional: None if it is unknown: the inner dataset gives its
        samples no ``sample_idx``, or a wrapper is not a toolbox's own, and may hand out its samples
        in any order.
    """
    while not sample_idx_is_index(dataset):
        inner = inside(dataset, index) if is_known(type(dataset)) else None
        if inner is None:
            return None
        dataset, index = inner
    return unwrap_seeded(dataset), index


def sample_idx_of(dataset: Any, index: int) -> Optional[int]:
    """The ``sample_idx`` of a sample, see :func:`plain_place`."""
    place = plain_place(dataset, index)
    return None if place is None else place[1]


def check_samples(data_batch: Any, due: Sequence[int], dataset: Any) -> None:
    """Compare the samples of a batch with those that are due, by ``sample_idx`` where there is one.

    Args:
        data_batch (dict): A batch, whose ``data_samples`` may carry ``sample_idx``.
        due (Sequence[int]): The indices that the batch was to hold.
        dataset (Dataset): The dataset that they are indices into.

    Raises:
        ValueError: If they differ.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if not isinstance(samples, (list, tuple)):
        return
    got = [getattr(sample, 'sample_idx', None) for sample in samples]
    if all(each is None for each in got):
        return
    plain = sample_idx_is_index(dataset)
    expected: List[Optional[int]] = (
        list(due) if plain else [sample_idx_of(dataset, index) for index in due]
    )
    if len(got) == len(expected) and all(
        one is None or other is None or one == other for one, other in zip(got, expected)
    ):
        return
    where = '' if plain else f' (indices into what is inside {type(dataset).__name__})'
    raise _mismatch(got, expected, where)


def _mismatch(got: Any, expected: Any, where: str = '') -> ValueError:
    return ValueError(
        f'the batch holds the samples {got}, but {expected} are due here{where}: weights or scores '
        'would go to other samples. Something regroups or replaces samples between the sampler and '
        'the model: a collate function, or a dataset that returns another sample where a file '
        "cannot be read (its pipeline returned None); fix train_dataloader's dataset or "
        'collate_fn'
    )


class PathCheck:
    """Compares the samples of batches with those that are due, by ``img_path``: for data samples
    without ``sample_idx``, such as mmseg's by default.

    A pipeline may set another ``img_path``. So a batch is refused only if the path is that of
    another sample of the dataset.
    """

    def __init__(self) -> None:
        self._listed: Dict[int, Set[Any]] = {}  # the paths in a dataset, once they are needed

    def check(self, data_batch: Any, due: Sequence[int], dataset: Any) -> None:
        """Compare a batch, with the arguments of :func:`check_samples`.

        Raises:
            ValueError: If it holds other samples.
        """
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        if not isinstance(samples, (list, tuple)):
            return
        for sample, index in zip(samples, due):
            got = getattr(sample, 'img_path', None)
            if not isinstance(got, str) or getattr(sample, 'sample_idx', None) is not None:
                continue
            place = plain_place(dataset, index)
            if place is None or type(place[0]).get_data_info is not BaseDataset.get_data_info:
                continue
            expected = place[0].get_data_info(place[1]).get('img_path')
            if got != expected and got in self._paths(dataset):
                raise _mismatch(repr(got), repr(expected))

    def _paths(self, dataset: Any) -> Set[Any]:
        """The paths in a dataset and in all datasets inside it."""
        if id(dataset) not in self._listed:
            self._listed[id(dataset)] = {
                str(part.get_data_info(index).get('img_path'))
                for part in (dataset, *inner_datasets(dataset))
                if isinstance(part, BaseDataset)
                for index in range(len(part))
            }
        return self._listed[id(dataset)]
