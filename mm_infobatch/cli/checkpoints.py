"""Reads checkpoints of MMEngine without running code in them, if PyTorch supports that.

MMEngine saves its log buffers in a checkpoint, and OneCycleLR a bound method, so
``weights_only=True`` alone refuses it. PyTorch 2.5 and later can allow single classes: those of
MMEngine and NumPy that are needed are allowed, and nothing else is called. An older PyTorch cannot,
so the checkpoint is loaded as MMEngine itself loads it, which may run code in it: load only
checkpoints that you trust.
"""

import warnings
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Dict, List
from zipfile import is_zipfile

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

INSTEAD = 'give one that MMEngine wrote, or torch.save(dict(state_dict=weights))'


def classes_of_mmengine() -> List[Any]:
    """The classes in a checkpoint of MMEngine besides tensors and plain values."""
    allowed: List[Any] = [HistoryBuffer, OneCycleParamScheduler, getattr, np.ndarray, np.dtype]
    allowed += [type(np.dtype(kind)) for kind in 'dlf']
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # NumPy has renamed the module
        try:
            from numpy._core import multiarray
        except ImportError:
            from numpy.core import multiarray  # type: ignore
    for name in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed += [
            (multiarray._reconstruct, f'{name}._reconstruct'),
            (multiarray.scalar, f'{name}.scalar'),
        ]
    return allowed


def read_checkpoint(path: Path, mmap: bool = False) -> Dict[str, Any]:
    """Read a checkpoint of MMEngine, on the CPU.

    Args:
        path (Path): The file.
        mmap (bool): Whether tensors stay in the file until they are used, which saves memory. It
            has no effect on the format before torch 1.6. Defaults to False.

    Raises:
        ValueError: If it cannot be read, or does not contain a dict.
    """
    safe = hasattr(torch.serialization, 'safe_globals')
    mmap = mmap and is_zipfile(path)
    allowed = torch.serialization.safe_globals(classes_of_mmengine()) if safe else nullcontext()
    try:
        with allowed:
            checkpoint = torch.load(str(path), map_location='cpu', weights_only=safe, mmap=mmap)
    except (UnpicklingError, EOFError, IndexError, RuntimeError) as error:
        raise ValueError(
            f'checkpoint {path} is damaged, or contains objects that cannot be read without '
            f'running code of theirs; {INSTEAD}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'checkpoint {path} contains a {type(checkpoint).__name__}, where MMEngine saves a '
            f'dict; {INSTEAD}'
        )
    if not isinstance(checkpoint.get('meta'), (dict, type(None))):
        raise ValueError(
            f'the meta of checkpoint {path} is a {type(checkpoint["meta"]).__name__}, where '
            f'MMEngine saves a dict; {INSTEAD}'
        )
    return checkpoint
