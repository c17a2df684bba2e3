"""One pass over the training data: what methods need of each sample, kept in files."""

import json
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..seeding import seeded
from ..training.rng import capture
from ..training.sample_idx import check_samples
from .classifier import check_probabilities, check_sizes, collate, gt_label_of
from .last_layer import LastLayer

FLUSH = 2.0  # seconds of work that a kill can lose
SHOW = 10.0  # seconds between two lines on the progress
STATE = 'extraction.json'
LARGEST = 1e12  # of a feature: sums of products of many features stay in the range of float32
Arrays = Dict[str, np.ndarray]
Say = Callable[[str], None]


class Extraction(NamedTuple):
    """What one pass over the training data has extracted from a classifier.

    Args:
        logits (np.ndarray): Z, float32 [N, C].
        labels (np.ndarray): y, int64 [N].
        features (np.ndarray, optional): H, what the last linear layer gets, float32 [N, D]. None
            where the classifier has no such layer.
        weight (np.ndarray, optional): W, that of the last linear layer, float32 [C, D].
        seconds (float): The time that the pass took, over all calls that did a part of it.
    """

    logits: np.ndarray
    labels: np.ndarray
    features: Optional[np.ndarray] = None
    weight: Optional[np.ndarray] = None
    seconds: float = 0.0

    @property
    def arrays(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """tuple[np.ndarray, np.ndarray, np.ndarray]: Logits, features and labels, where there are
        features."""
        assert self.features is not None
        return self.logits, self.features, self.labels


def extract(model: Any, dataset: Any, folder: Path, key: str, **walking: Any) -> Extraction:
    """Extract the arrays that methods share, or read those that an earlier call has extracted.

    Args:
        model (BaseModel): The classifier.
        dataset (Dataset): The training data, without augmentation.
        folder (Path): Where the arrays are kept.
        key (str): See :func:`walk`.
        **walking (Any): Further arguments of :func:`walk`.

    Raises:
        ValueError: If a sample has no label, several, or one that is not a class of the classifier,
            the classifier does not choose one of its classes, a logit is not finite, a feature is
            far too large, or as :func:`walk`.
    """
    watch = LastLayer(model)
    saved: List[nn.Module] = []

    @torch.no_grad()
    def compute(batch: Dict[str, Any]) -> Arrays:
        labels = np.array([gt_label_of(sample) for sample in batch['data_samples']], np.int64)
        predicted = torch.stack([sample.pred_score for sample in model.val_step(batch)])
        check_probabilities(predicted)
        logits, layer, features = watch.take(predicted)
        arrays = dict(logits=logits.float().cpu().numpy(), labels=labels)
        if not np.isfinite(arrays['logits']).all():
            raise ValueError(
                'the classifier predicts NaN or infinite logits, so its samples have no scores; '
                'give a checkpoint of a training that has not diverged'
            )
        count = logits.shape[1]
        if not ((labels >= 0) & (labels < count)).all():
            raise ValueError(
                f'the dataset has labels from {labels.min()} to {labels.max()}, but the '
                f'classifier has {count} classes; give the config that the checkpoint was trained '
                'with'
            )
        if layer is not None:
            arrays['features'] = features.float().cpu().numpy()
            largest = float(np.abs(arrays['features']).max())
            if not largest < LARGEST:
                raise ValueError(
                    f'the last layer gets features of up to {largest:.3g}, of which float32 '
                    'cannot compute distances; give a checkpoint of a training that has not '
                    'diverged'
                )
            if not saved:
                saved.append(layer)
                np.save(folder / 'weight.npy', layer.weight.detach().float().cpu().numpy())
        return arrays

    try:
        arrays, seconds = walk(compute, dataset, folder, key, **walking)
    finally:
        watch.close()
    weight = _load(folder, 'weight') if 'features' in arrays else None
    return Extraction(arrays['logits'], arrays['labels'], arrays.get('features'), weight, seconds)


class RestOf(Dataset[Any]):
    """The samples of a dataset from one on.

    Where its pipeline is random, the numbers that a sample draws depend on its index alone, so that
    every call, on any number of workers, gets the same.

    Args:
        dataset (Dataset): N samples.
        first (int): The index of the first one.
    """

    def __init__(self, dataset: Any, first: int) -> None:
        self.dataset, self.first = dataset, first

    def __len__(self) -> int:
        return len(self.dataset) - self.first

    def __getitem__(self, index: int) -> Any:
        """Load a sample."""
        with seeded(0, 0, self.first + index):
            return self.dataset[self.first + index]


def draws_numbers(dataset: Any, index: int) -> bool:
    """Whether loading a sample of a dataset draws random numbers."""
    with seeded(0, 0, index):
        before = capture()
        dataset[index]
        return not torch.equal(before, capture())


def walk(
    compute: Callable[[Dict[str, Any]], Arrays],
    dataset: Any,
    folder: Path,
    key: str,
    batch_size: int = 256,
    num_workers: int = 0,
    say: Say = lambda line: None,
) -> Any:
    """Compute values of each sample, in memory-mapped arrays that a later call can complete.

    Args:
        compute (callable): From a batch to arrays of its samples, [B, ...] by name.
        dataset (Dataset): N samples.
        folder (Path): Where ``NAME.npy`` and ``extraction.json`` are kept.
        key (str): Identifies what decides the values: a digest of config and checkpoint.
        batch_size (int): Samples of a batch. Defaults to 256.
        num_workers (int): Processes that load them. Defaults to 0: this one.
        say (callable): Gets lines on size and progress.

    Returns:
        tuple[dict, float]: The arrays, [N, ...], and the seconds of work over all calls.

    Raises:
        ValueError: If the folder has arrays of something else or of another number of samples, or
            not all of them, or cannot be created; there is no room for them; images differ in size;
            or the dataset returns a sample in place of another.
    """
    total = len(dataset)
    if not total:
        raise ValueError('the training dataset has no samples; check data_root and its filters')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f'{folder}: {error.strerror}; give another --work-dir') from error
    with _alone(folder, say):
        state = _read_state(folder, key, total)
        done, before = state['done'], state['seconds']
        mode = 'r' if done == total else 'r+'
        arrays = {name: _load(folder, name, mode) for name in state['names']}
        if done:
            say(f'{folder} has {done:,} of {total:,} samples')
        if done < total and draws_numbers(dataset, done):
            say(
                'the pipeline of the validation draws random numbers: values are extracted from '
                'one draw for each sample, the same in every call'
            )
        loader: Any = DataLoader(
            RestOf(dataset, done),
            batch_size,
            num_workers=num_workers,
            collate_fn=collate,
        )
        began = flushed = shown = time.monotonic()
        first = done
        for batch in loader if done < total else ():
            check_sizes(batch)
            count = min(batch_size, total - done)
            samples = batch['data_samples'][:count]
            check_samples(dict(data_samples=samples), range(done, done + count), dataset)
            values = compute(batch)
            if not arrays:
                arrays = _create(folder, values, total)
                size = sum(array.nbytes for array in arrays.values())
                shapes = ', '.join(f'{name} {array.shape}' for name, array in arrays.items())
                say(f'{total:,} samples: {shapes} take {size / 1e6:,.1f} MB in {folder}')
            for name, array in arrays.items():
                array[done : done + count] = values[name][:count]
            done += count
            now = time.monotonic()
            if now - flushed > FLUSH or done == total:
                for array in arrays.values():
                    array.flush()
                flushed = now
                state.update(done=done, names=sorted(arrays), seconds=before + now - began)
                _write_state(folder, state)
            if now - shown > SHOW or done == total:
                shown = now
                left = (now - began) / (done - first) * (total - done)
                say(f'{done:,} of {total:,} samples, {now - began:.0f} s, {left:.0f} s left')
        return arrays, state['seconds']


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Wait until no other call writes to a folder: the second would empty the files of the first.

    The lock ends with the process. On a file system without locks nothing is locked.
    """
    from filelock import FileLock, Timeout  # PyTorch requires it

    lock = FileLock(folder / 'lock')
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f'waits for another call, which extracts to {folder}')
        lock.acquire()
    except (NotImplementedError, OSError):
        pass
    try:
        yield
    finally:
        lock.release()


def _create(folder: Path, first_batch: Arrays, total: int) -> Dict[str, Any]:
    sizes = [values[0].nbytes * total for values in first_batch.values()]
    free = shutil.disk_usage(folder).free
    if sum(sizes) > free:  # a mapped file that finds no room when it is written kills the process
        raise ValueError(
            f'the extraction takes {sum(sizes) / 1e6:,.1f} MB in {folder}, where '
            f'{free / 1e6:,.1f} MB are free; give another directory with --work-dir, or remove '
            'extractions that are not needed any more'
        )
    return {
        name: open_memmap(folder / f'{name}.npy', 'w+', values.dtype, (total, *values.shape[1:]))
        for name, values in first_batch.items()
    }


def _load(folder: Path, name: str, mode: Any = None) -> Any:
    try:
        return np.load(folder / f'{name}.npy', mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f'{folder} is not the whole extraction that its {STATE} describes ({error}); remove it'
        ) from error


def _read_state(folder: Path, key: str, total: int) -> Dict[str, Any]:
    path = folder / STATE
    fresh = dict(key=key, num_samples=total, done=0, names=[], seconds=0.0)
    if not path.is_file():
        return fresh
    try:
        state = json.loads(path.read_text())
        same = state.keys() == fresh.keys()
    except ValueError:
        same = False
    if not same or state['key'] != key or state['num_samples'] != total:
        what = f'{state["num_samples"]} samples' if same else 'something else'
        raise ValueError(
            f'{folder} has been extracted from {what}, another checkpoint, config or dataset than '
            f'this one of {total} samples; remove it, or give another directory with --work-dir'
        )
    return state


def _write_state(folder: Path, state: Dict[str, Any]) -> None:
    part = folder / f'{STATE}.part'
    part.write_text(json.dumps(state))
    os.replace(part, folder / STATE)
