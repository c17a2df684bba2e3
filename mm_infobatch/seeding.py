"""Augmentation that depends on seed, pass and index alone."""

import contextlib
import random
from typing import Any, Dict, Iterator, List, Tuple, Union

import numpy as np
import torch
from mmengine.registry import DATASETS
from torch.utils.data import Dataset, IterableDataset

SEEDED_LINE = (
    "train_dataloader=dict(dataset=dict(_delete_=True, type='SeededDataset', "
    'dataset={{_base_.train_dataloader.dataset}}))'
)


class PassIndex(int):
    """The index of a sample, with the seed and the pass.

    It behaves as the plain integer; arithmetic gives plain integers. It can be pickled, to be sent
    to the workers of a dataloader.

    Args:
        index (int): The index into the outermost dataset.
        seed (int): The sampler's seed.
        epoch (int): The pass, from 0.

    Attributes:
        seed (int): The sampler's seed.
        epoch (int): The pass, from 0.
    """

    seed: int
    epoch: int

    def __new__(cls, index: int, seed: int, epoch: int) -> 'PassIndex':
        """Make the index. The value of an ``int`` can only be set here."""
        self = super().__new__(cls, index)
        self.seed, self.epoch = seed, epoch
        return self

    def __reduce__(self) -> Tuple[type, Tuple[int, int, int]]:
        return type(self), (int(self), self.seed, self.epoch)


@contextlib.contextmanager
def seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Seed ``random``, ``numpy.random`` and PyTorch's CPU generator, and restore them at the end.

    Args:
        seed (int): The seed of the run.
        epoch (int): The pass, from 0.
        index (int): The index of the sample.
    """
    sequence = np.random.SeedSequence(seed % 2**63, spawn_key=(epoch, index))
    words = sequence.generate_state(12)
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(words[:4].tobytes())
        np.random.seed(words[4:8])
        # torch.manual_seed would also seed all GPUs, or in a worker register that for later.
        torch.default_generator.manual_seed(int.from_bytes(words[8:10].tobytes(), 'little'))
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)


@DATASETS.register_module()
class SeededDataset(Dataset[Any]):
    """Make the augmentation of each sample depend on seed, pass and index alone.

    The same seed, pass and index give the same sample on any number of workers and ranks, with
    persistent workers or without, and after a resume. Other passes and other samples are augmented
    differently. So a resumed run has the augmentation of an uninterrupted one, bit for bit.
    (:class:`~mm_infobatch.InfoBatchHook` restores the global generators, which dropout uses.)

    While a sample is loaded, ``random``, ``numpy.random`` and PyTorch's CPU generator are seeded
    from the three numbers; afterwards their states are restored.
    :class:`~mm_infobatch.InfoBatchSampler` sends seed and pass along with the index, so this has to
    be the outermost dataset. It may wrap other wrappers (``ConcatDataset``,
    ``ClassBalancedDataset``, ...).

    Not seeded: transforms with a generator of their own (such as those of albumentations 2) or with
    a cache of earlier samples; the collate function and the model (``batch_augments``); random
    numbers on a GPU.

    Args:
        dataset (dict or Dataset): The training dataset.
        lazy_init (bool): Whether to load the annotations later, as in mmengine's wrappers.
            Defaults to False.

    Raises:
        TypeError: If ``dataset`` is not a map-style dataset.
    """

    def __init__(
        self, dataset: Union[Dict[str, Any], Dataset[Any]], lazy_init: bool = False
    ) -> None:
        built: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if (
            isinstance(built, (str, IterableDataset))
            or not hasattr(built, '__getitem__')
            or not hasattr(built, '__len__')
        ):
            raise TypeError(
                f'SeededDataset(dataset={dataset!r}) needs a map-style dataset, because it seeds '
                f'samples by their index, but {type(built).__name__} has no index or no length; '
                f'write {SEEDED_LINE}'
            )
        self.dataset = built
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Load the annotations of the wrapped dataset, if it has a ``full_init``."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    @property
    def metainfo(self) -> Dict[str, Any]:
        """dict: The meta information of the wrapped dataset."""
        return self.dataset.metainfo

    @property
    def CLASSES(self) -> Any:  # noqa: N802
        """Sequence[str], optional: The class names of the wrapped dataset, for mmpretrain."""
        return self.dataset.CLASSES

    @property
    def pipeline(self) -> Any:
        """Callable: The pipeline of the wrapped dataset. Some hooks replace it."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def get_data_info(self, idx: int) -> Dict[str, Any]:
        """Get the annotation of a sample."""
        return self.dataset.get_data_info(int(idx))

    def get_cat_ids(self, idx: int) -> List[int]:
        """Get the category ids of a sample."""
        return self.dataset.get_cat_ids(int(idx))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Load a sample.

        Args:
            index (PassIndex): An index from the sampler. The wrapped dataset gets a plain int.

        Raises:
            TypeError: If it is a plain index.
        """
        if not isinstance(index, PassIndex):
            raise TypeError(
                f'SeededDataset got the index {index!r} without seed and pass; it has to be the '
                f'outermost dataset, with an InfoBatchSampler as its sampler. Write {SEEDED_LINE} '
                "and train_dataloader=dict(sampler=dict(_delete_=True, type='InfoBatchSampler')). "
                'To load single samples, use SeededDataset.dataset'
            )
        with seeded(index.seed, index.epoch, index):
            return self.dataset[int(index)]


def unwrap_seeded(dataset: Any) -> Any:
    """Remove a :class:`SeededDataset` around a dataset."""
    return dataset.dataset if isinstance(dataset, SeededDataset) else dataset


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """The datasets inside a wrapper, at any depth."""
    # num_batch_per_epoch has mmengine wrap the dataset, as _dataset.
    candidates = [getattr(dataset, name, None) for name in ('dataset', '_dataset')]
    candidates += getattr(dataset, 'datasets', None) or []
    for inner in candidates:
        # Wrappers of the toolboxes, such as RepeatDataset, are not a Dataset of PyTorch.
        if isinstance(inner, Dataset) or hasattr(inner, 'get_data_info'):
            yield inner
            yield from inner_datasets(inner)
