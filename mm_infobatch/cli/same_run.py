"""Checks that checkpoints are of one run, by their logged losses, or else by their seeds."""

from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np


class SameRunCheck:
    """Refuses a checkpoint that is of another run than those added before it, in any order.

    MMEngine saves the loss of each iteration in a checkpoint, and a resumed run continues the list.
    So of two checkpoints of one run, the longer list begins with the shorter one. Seed and config
    say less: two runs may have the same seed, and a resumed run may have another config. If a
    checkpoint has no such list, the seeds are compared, as a resumed run keeps its seed.
    """

    def __init__(self) -> None:
        self._path: Optional[Path] = None  # of the checkpoint with the longest list so far
        self._losses: Optional[np.ndarray] = None
        self._seeds: Dict[Any, Path] = {}

    def add(self, path: Path, checkpoint: Dict[str, Any]) -> None:
        """Compare a checkpoint with those before it.

        Raises:
            ValueError: If it is of another run.
        """
        losses, seed = _losses_of(checkpoint), _seed_of(checkpoint)
        if losses is not None and self._losses is not None:
            shared = min(len(losses), len(self._losses))
            same = losses[:shared] == self._losses[:shared]
            same |= np.isnan(losses[:shared]) & np.isnan(self._losses[:shared])
            if not same.all():
                raise ValueError(
                    f'checkpoints {self._path} and {path} are of different runs: their losses '
                    f'differ from iteration {int(same.argmin())} on; give those of one run'
                )
        elif seed is not None and self._seeds.keys() - {seed}:
            other, before = next(iter(self._seeds.items()))
            raise ValueError(
                f'checkpoints {before} and {path} are of different runs, with the seeds {other} '
                f'and {seed}; give those of one run'
            )
        if seed is not None:
            self._seeds.setdefault(seed, path)
        if losses is not None and (self._losses is None or len(losses) > len(self._losses)):
            self._path, self._losses = path, losses


def _seed_of(checkpoint: Dict[str, Any]) -> Any:
    """The seed of a run: that of its sampler, which may have one of its own with InfoBatch."""
    own = (checkpoint.get('infobatch') or {}).get('sampler') or checkpoint.get('meta') or {}
    return own.get('seed')


def _losses_of(checkpoint: Dict[str, Any]) -> Optional[np.ndarray]:
    """The loss of each iteration, float64 [T]; None where the checkpoint does not have all."""
    scalars = (checkpoint.get('message_hub') or {}).get('log_scalars') or {}
    buffer, iters = scalars.get('train/loss'), (checkpoint.get('meta') or {}).get('iter')
    if buffer is None or iters is None:
        return None
    losses = np.asarray(buffer.data[0], np.float64)
    # A checkpoint of the best metric counts one iteration more; a list that lost its beginning
    # has fewer.
    return losses if 0 <= iters - len(losses) <= 1 else None
