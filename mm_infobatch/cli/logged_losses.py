"""Reads the losses of all samples from the checkpoints of a run with InfoBatch."""

from pathlib import Path
from typing import Any, List

import numpy as np
import torch

from .checkpoints import read_checkpoint
from .same_run import SameRunCheck


def logged_losses(paths: List[Path]) -> np.ndarray:
    """The scores that InfoBatch saved in checkpoints, [P, N], in the order of training.

    Raises:
        ValueError: If a checkpoint has none, they are of datasets of different lengths, of
            different runs, or all of one iteration, or a sample has no loss in any of them.
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
    iters = {iters for iters, _ in rows}
    if len(iters) < 2:
        raise ValueError(
            f'all checkpoints are of iteration {iters.pop()}, which says nothing of what was '
            'learned or forgotten between them; give those of different epochs'
        )
    losses = np.stack([scores for _, scores in sorted(rows, key=lambda row: row[0])])
    untrained = int(np.isnan(losses).all(0).sum())
    if untrained:
        raise ValueError(
            f'{untrained} of {losses.shape[1]} samples have no loss in any of the checkpoints, as '
            'the run trained a subset or their losses are NaN: they would count as never learned, '
            'and be kept first; give the config before the checkpoints to evaluate all samples'
        )
    return losses


def _no_losses(state: Any) -> str:
    if not _is_whole(state):
        return 'its InfoBatch state is damaged'
    kind = state['sampler'].get('batch_score')
    if kind:
        return f'its scores depend on the batch (batch_score={kind!r})'
    smoothing = (state.get('settings') or {}).get('score_smoothing')
    return f'its scores are moving averages (score_smoothing={smoothing:g})' if smoothing else ''


def _is_whole(state: Any) -> bool:
    """Whether a state has what is read here."""
    if not isinstance(state, dict):
        return False
    schedule, sampler = state.get('schedule'), state.get('sampler')
    if not isinstance(schedule, dict) or not isinstance(sampler, dict):
        return False
    scores = sampler.get('scores')
    return isinstance(schedule.get('iters'), int) and torch.is_tensor(scores) and scores.ndim == 1
