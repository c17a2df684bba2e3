"""A checkpoint as a source of scores: its extraction, and passes over the images themselves."""

import hashlib
import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from .classifier import (
    build_model,
    build_train_set,
    check_validation_classes,
    digest_of,
    load_weights,
    train_set_config,
)
from .extraction import Arrays, Extraction, extract, walk


class Study(NamedTuple):
    """What the checkpoints of one call have in common.

    Args:
        cfg (Config): Of the classifier.
        model (BaseModel): The classifier, whose weights change from checkpoint to checkpoint.
        dataset (Dataset): The training data, without augmentation.
        listed (str): The digest of what it lists.
        folder (Path): Where extractions are kept.
        walking (dict): ``batch_size``, ``num_workers`` and ``say`` of :func:`.extraction.walk`.
    """

    cfg: Config
    model: Any
    dataset: Any
    listed: str
    folder: Path
    walking: Dict[str, Any]


def make_study(cfg: Config, folder: Path, **walking: Any) -> Study:
    """Build the model and the dataset of a config."""
    model, dataset = build_model(cfg), build_train_set(cfg)
    return Study(cfg, model, dataset, digest_of(dataset), folder, walking)


class Source:
    """One checkpoint of a study.

    Args:
        study (Study): What it shares with others.
        path (Path): The checkpoint.
        read (callable): Reads a checkpoint, once for each pass, so that the weights of several
            checkpoints are never in memory at once.
        meta (dict, optional): What it says of the run. Defaults to None: nothing.

    Attributes:
        seconds (float): The time of the passes that were asked for, in this call or earlier ones.
        waited (float): Their time in this call alone.
    """

    def __init__(
        self,
        study: Study,
        path: Path,
        read: Callable[[Path], Dict[str, Any]],
        meta: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.path, self.meta = path, meta or {}
        self.digest = _digest_of_file(path)
        self.seconds = self.waited = 0.0
        self._study, self._read = study, read
        self._extraction: Optional[Extraction] = None

    def extraction(self, features: bool = True) -> Extraction:
        """Logits, labels and features of the training data.

        Args:
            features (bool): Whether features are needed. Defaults to True.

        Raises:
            ValueError: If they are needed and the classifier has no linear last layer.
        """
        if self._extraction is None:
            self._extraction = self._extract(self._study.dataset, 'train', self._study.listed)
        if features and self._extraction.features is None:
            raise ValueError(
                f'{type(self._study.model).__name__} has no linear layer whose outputs are its '
                'logits, and this method needs what the last layer gets; take another method, such '
                'as el2n, or a model with a linear head'
            )
        return self._extraction

    @property
    def logits(self) -> np.ndarray:
        """np.ndarray: Z, of the training data, float32 [N, C]."""
        return self.extraction(features=False).logits

    @property
    def labels(self) -> np.ndarray:
        """np.ndarray: y, of the training data, int64 [N]."""
        return self.extraction(features=False).labels

    @property
    def arrays(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """tuple[np.ndarray, np.ndarray, np.ndarray]: Logits, features and labels of the training
        data; raises as :meth:`extraction` where there are no features."""
        return self.extraction().arrays

    @property
    def features(self) -> np.ndarray:
        """np.ndarray: H, of the training data, float32 [N, D]; raises as :attr:`arrays`."""
        return self.arrays[1]

    def validation(self) -> Extraction:
        """Logits, labels and features of ``val_dataloader.dataset``.

        Raises:
            ValueError: If its classes are not those of the training data, or as :meth:`extraction`.
        """
        dataset = DATASETS.build(dict(self._study.cfg.val_dataloader.dataset))
        check_validation_classes(dataset, self._study.dataset)
        return self._extract(dataset, 'val', digest_of(dataset))

    def _extract(self, dataset: Any, split: str, listed: str) -> Extraction:
        place = self._place(split, listed)
        with self._passing():
            extraction = extract(self._study.model, dataset, *place, **self._study.walking)
        self.seconds += extraction.seconds
        return extraction

    def walk(self, name: str, compute: Callable[[Any, Dict[str, Any]], Arrays]) -> np.ndarray:
        """Compute one number of each image of the training data.

        Args:
            name (str): What it is, with the settings that decide it.
            compute (callable): From the model and a batch to the numbers, [B], by a name.

        Returns:
            np.ndarray: float32 [N].
        """
        model, dataset = self._study.model, self._study.dataset
        place = self._place(name, self._study.listed)
        with self._passing():
            arrays, seconds = walk(
                lambda batch: compute(model, batch), dataset, *place, **self._study.walking
            )
        self.seconds += seconds
        (values,) = arrays.values()
        return np.array(values)

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """Load the weights for a pass, and measure it."""
        began = time.perf_counter()
        load_weights(self._study.model, self._read(self.path).get('state_dict'), self.path)
        yield
        self.waited += time.perf_counter() - began

    def _place(self, what: str, listed: str) -> Tuple[Path, str]:
        """The folder of an extraction, and its key, see :func:`.extraction.walk`.

        Args:
            what (str): What is extracted.
            listed (str): The digest of what the dataset lists.
        """
        cfg = self._study.cfg
        parts: List[Any] = [cfg.model, cfg.get('data_preprocessor'), train_set_config(cfg)]
        if what == 'val':
            parts.append(cfg.val_dataloader.dataset)
        text = json.dumps(Config(dict(parts=parts)).to_dict(), sort_keys=True, default=str)
        key = hashlib.sha256(f'{what} {self.digest} {listed} {text}'.encode()).hexdigest()
        return (
            self._study.folder / f'{self.path.parent.name}-{self.path.stem}-{what}-{key[:8]}',
            key,
        )


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        for block in iter(lambda: file.read(2**20), b''):
            digest.update(block)
    return digest.hexdigest()
