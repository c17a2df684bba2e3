"""Files of scores: what ``mm-infobatch scores`` writes and the policy ``FromFile`` reads."""

import hashlib
import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np

WRITE = 'write it with mm-infobatch scores, or change policy.path'


@dataclass(frozen=True)
class ScoreFile:
    """What a file of scores contains.

    Args:
        scores (np.ndarray): float32 or float64 [N], finite; the highest are kept.
        labels (np.ndarray, optional): The class of each sample, int64 [N]. Defaults to None.
        weights (np.ndarray, optional): The weight of each sample that is kept, float32 [N], at
            least 0. Defaults to None.
        per_class (bool): Whether the highest of each class are kept, and not those over all
            classes. Defaults to False.
        count (int, optional): The number of samples that the file was made to keep. Defaults to
            None: it serves any number.
    """

    scores: np.ndarray
    labels: Optional[np.ndarray] = None
    weights: Optional[np.ndarray] = None
    per_class: bool = False
    count: Optional[int] = None

    def digest(self) -> str:
        """The first 8 digits of the SHA-256 of the contents."""
        sha256 = hashlib.sha256()
        for name, value in vars(self).items():
            plain = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            sha256.update(name.encode() + plain)
        return sha256.hexdigest()[:8]


def write_score_file(path: Path, content: ScoreFile) -> None:
    """Write a file of scores. Whatever interrupts it, a reader sees the old file or the new one.

    Args:
        path (Path): With the suffix ``.npy`` the file contains the scores alone.
        content (ScoreFile): What to write.
    """
    part = path.with_name(f'{path.name}.part')
    with open(part, 'wb') as file:
        if path.suffix == '.npy':
            np.save(file, content.scores)
        else:
            values = {key: value for key, value in vars(content).items() if value is not None}
            np.savez(file, **values)
    os.replace(part, path)


def read_score_file(path: str) -> ScoreFile:
    """Read a file of scores.

    Args:
        path (str): A ``.npy`` file with one number per sample, or a ``.npz`` file with the arrays
            that :class:`ScoreFile` names; only ``scores`` is required.

    Raises:
        ValueError: If the file does not exist, or does not hold a finite number for each sample.
    """
    if not Path(path).is_file():
        raise ValueError(f'the file of scores {path!r} does not exist; {WRITE}')
    try:
        with open(path, 'rb') as file:
            loaded = np.load(file, allow_pickle=False)
            arrays: Dict[str, Any] = {'scores': loaded}
            if not isinstance(loaded, np.ndarray):
                arrays = {key: loaded[key] for key in loaded.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is not a .npy or .npz file of numbers ({error}); {WRITE}') from (
            error
        )
    names = [field.name for field in fields(ScoreFile)]
    unknown = sorted(set(arrays) - set(names))
    if 'scores' not in arrays or unknown:
        raise ValueError(
            f'{path} contains the arrays {", ".join(arrays)}; it needs scores, and may have '
            f'{", ".join(names[1:])}; {WRITE}'
        )
    scores = _numbers(path, 'scores', arrays['scores'], 'fiu')
    # float32 would make many large integers, and many float64 close to 1, equal.
    scores = scores.astype(np.float64 if scores.dtype.itemsize > 4 else np.float32)
    if not np.isfinite(scores).all():
        raise ValueError(f'{path} contains a NaN or infinite score; {WRITE}')
    labels, weights = arrays.get('labels'), arrays.get('weights')
    for name, values, kinds in (('labels', labels, 'iu'), ('weights', weights, 'fiu')):
        if values is not None and len(_numbers(path, name, values, kinds)) != len(scores):
            raise ValueError(f'{path} has {len(scores)} scores and {len(values)} {name}; {WRITE}')
    if weights is not None:
        with np.errstate(over='ignore'):
            weights = weights.astype(np.float32)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError(
                f'{path} contains a weight that is negative, NaN or infinite in float32; {WRITE}'
            )
    for name, kinds in (('per_class', 'biu'), ('count', 'iu')):
        value = arrays.get(name, np.array(0))
        if value.ndim or value.dtype.kind not in kinds:
            raise ValueError(f'{path} has {value.tolist()!r} as {name}; {WRITE}')
    count = None if 'count' not in arrays else int(arrays['count'])
    if count is not None and not 1 <= count <= len(scores):
        raise ValueError(f'{path} is for {count} of {len(scores)} samples; {WRITE}')
    return ScoreFile(
        scores,
        None if labels is None else labels.astype(np.int64),
        weights,
        bool(arrays.get('per_class', False)),
        count,
    )


def _numbers(path: str, name: str, values: np.ndarray, kinds: str) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in kinds or not len(values):
        raise ValueError(
            f'{path} has to contain an array of numbers of shape [N] as {name}, but contains '
            f'{values.dtype} of shape {values.shape}; {WRITE}'
        )
    return values
