"""Reads the losses of all samples from the checkpoints of a run with InfoBatch."""

from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from .checkpoints import read_checkpoint
from .same_run import SameRunCheck


def logged_losses(paths: List[Path]) -> np.ndarray:
    """The scores that InfoBatch saved in checkpoints, [P, N], in the order of training.

    Raises:
        ValueError: If a checkpoint has none, or they are of datasets of different lengths or of
            different runs.
    """
    rows, same_run = [], SameRunCheck()
    for path in paths:
        checkpoint = read_checkpoint(path)
        state = checkpoint.get('infobatch')
        why = 'it was trained without InfoBatch' if state is None else _no_losses(state)
        if state is None or why:
            raise ValueError(
                f'checkpoint {path} has no losses: {why}; give the config before the checkpoints '
                'to evaluate them'
            )
        same_run.add(path, checkpoint)
        rows.append((int(state['schedule']['iters']), state['sampler']['scores'].numpy()))
    if len({len(scores) for _, scores in rows}) != 1:
        raise ValueError(
            'the checkpoints are of datasets of different lengths; give those of one run'
        )
    return np.stack([scores for _, scores in sorted(rows, key=lambda row: row[0])])


def _no_losses(state: Dict[str, Any]) -> str:
    kind = state['sampler'].get('batch_score')
    if kind:
        return f'its scores depend on the batch (batch_score={kind!r})'
    smoothing = (state.get('settings') or {}).get('score_smoothing')
    return f'its scores are moving averages (score_smoothing={smoothing:g})' if smoothing else ''
