"""Augmentation that is a function of seed, pass and index."""

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
    """An index that knows the seed and the pass it is handed out in.

    It equals, hashes, computes and indexes as the plain integer, and what is computed from it is a
    plain integer. It travels to the workers of a dataloader by pickle.

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
        """Make the index, which an ``int`` can only be told when it is made."""
        self = super().__new__(cls, index)
        self.seed, self.epoch = seed, epoch
        return self

    def __reduce__(self) -> Tuple[type, Tuple[int, int, int]]:
        return type(self), (int(self), self.seed, self.epoch)


@contextlib.contextmanager
def seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Seed ``random``, ``numpy.random`` and PyTorch's CPU generator, and restore them afterwards.

    Args:
        seed (int): The seed of the run.
        epoch (int): The pass, from 0.
        index (int): The sample.
    """
    sequence = np.random.SeedSequence(seed % 2**63, spawn_key=(epoch, index))
    words = sequence.generate_state(12)
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(words[:4].tobytes())
        np.random.seed(words[4:8])
        # Not torch.manual_seed, which also seeds (or, in a worker, remembers to seed) every GPU.
        torch.default_generator.manual_seed(int.from_bytes(words[8:10].tobytes(), 'little'))
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Make each sample's augmentation a function of seed, pass and index.

    The same seed, pass and index give the same sample on any number of workers and ranks,
    persistent or not, and after a resume; other passes and other samples draw other numbers. With
    it a resumed run is that of an uninterrupted one bit for bit, augmentation included, as far as
    the rest of the run is (a model with dropout draws from a generator that mmengine does not
    restore).

    While it loads a sample, ``random``, ``numpy.random`` and PyTorch's CPU generator are seeded
    from the three; then they continue as if nothing had been drawn. The pass and the seed come with
    the index from :class:`~mm_infobatch.InfoBatchSampler`, so it has to be the outermost dataset,
    and wraps any others (``ConcatDataset``, ``ClassBalancedDataset``, ...).

    What it cannot seed: transforms that draw from a generator of their own (such as those of
    albumentations 2), or keep something of earlier samples (a cache of images to mix in); what
    happens after the dataset, in the collate function or in the model (``batch_augments``); and
    transforms that draw on a GPU.

    Args:
        dataset (dict or Dataset): The training dataset.
        lazy_init (bool): Whether to leave loading the annotations for later, as in mmengine's own
            wrappers. Defaults to False.

    Raises:
        TypeError: If ``dataset`` is not a dataset with indices.
    """

    def __init__(self, dataset: Union[dict, Dataset], lazy_init: bool = False) -> None:
        built: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if (
            isinstance(built, (str, IterableDataset))
            or not hasattr(built, '__getitem__')
            or not hasattr(built, '__len__')
        ):
            raise TypeError(
                f'SeededDataset(dataset={dataset!r}): samples are seeded by their index, but '
                f'{type(built).__name__} has none, or no length; write {SEEDED_LINE} with a '
                'map-style dataset'
            )
        self.dataset = built
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Load the annotations of the wrapped dataset, if that has any to load."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    @property
    def metainfo(self) -> Dict[str, Any]:
        """dict: The wrapped dataset's meta information."""
        return self.dataset.metainfo

    @property
    def CLASSES(self) -> Any:  # noqa: N802
        """Sequence[str], optional: The wrapped dataset's class names, as mmpretrain asks."""
        return self.dataset.CLASSES

    @property
    def pipeline(self) -> Any:
        """Callable: The wrapped dataset's pipeline, which some hooks exchange."""
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
            index (PassIndex): What the sampler handed out; the wrapped dataset gets a plain int.

        Raises:
            TypeError: If the index does not say which pass it belongs to.
        """
        if not isinstance(index, PassIndex):
            raise TypeError(
                f'SeededDataset got the index {index!r}, which does not say to which pass it '
                'belongs: it has to be the outermost dataset, and its sampler the '
                f'InfoBatchSampler; write {SEEDED_LINE} and train_dataloader=dict(sampler=dict('
                "_delete_=True, type='InfoBatchSampler')). To look at single samples, use "
                'SeededDataset.dataset'
            )
        with seeded(index.seed, index.epoch, index):
            return self.dataset[int(index)]


def unwrap_seeded(dataset: Any) -> Any:
    """The dataset itself, without a :class:`SeededDataset` around it."""
    return dataset.dataset if isinstance(dataset, SeededDataset) else dataset


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """The datasets that a wrapper of datasets holds, at any depth."""
    inner = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or [])]
    for each in inner:
        if isinstance(each, Dataset):
            yield each
            yield from inner_datasets(each)
