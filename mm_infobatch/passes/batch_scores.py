"""Scores that depend on the batch in which a sample was trained."""

from typing import Any, Optional

from torch import Tensor

BATCH_SCORES = ('mean', 'excess')


def batch_scores(kind: Optional[str], losses: Tensor) -> Tensor:
    """The scores that the samples of a batch get from their losses.

    The batch is that of this rank, repeated samples included. Computed where the losses are:
    nothing waits for the device. The mean is taken of the differences to the first loss, so that
    the mean of equal losses is exactly that loss, in float32. If one loss is NaN or infinite, no
    score is finite, so the score table keeps the old scores of the whole batch.

    Args:
        kind (str, optional): None for the losses as they are; ``'mean'`` for the mean loss of the
            batch, the same for all its samples, as in `Batch Loss Score, 2026
            <https://arxiv.org/abs/2604.04681>`_; ``'excess'`` for the loss minus that mean.
        losses (Tensor): float32 [B], B at least 1.

    Returns:
        Tensor: float32 [B].
    """
    if kind is None:
        return losses
    differences = losses - losses[:1]
    mean = differences.mean()
    if kind == 'excess':
        return differences - mean
    return (losses[:1] + mean).expand_as(losses)


def require_batch_score(value: Any, policy: Any) -> Optional[str]:
    """Check the argument ``batch_score`` of the sampler against what the policy needs.

    Args:
        value (str, optional): The argument.
        policy (object): The policy. If it has an attribute ``batch_score``, it needs that kind.

    Returns:
        str, optional: The kind of the scores.

    Raises:
        ValueError: If there is no such kind, or the policy needs another one.
    """
    if value not in (None, *BATCH_SCORES):
        raise ValueError(
            f'batch_score={value!r} has to be None (a score is the loss of the sample), '
            "'mean' (the mean loss of its batch) or 'excess' (its loss minus that mean); write "
            "sampler=dict(type='InfoBatchSampler', batch_score='mean')"
        )
    needed = getattr(policy, 'batch_score', value)
    if value not in (None, needed):
        raise ValueError(
            f'batch_score={value!r} does not fit {type(policy).__name__}, which needs scores of '
            f'the kind {needed!r}; remove batch_score from the sampler, or change its policy'
        )
    return needed


def check_same_kind(saved: Optional[str], now: Optional[str]) -> None:
    """Check that the scores of a checkpoint are of the same kind as those of this run.

    Raises:
        ValueError: If they are of another kind.
    """
    if saved != now:
        raise ValueError(
            f'the checkpoint has scores of the kind batch_score={saved!r}, but this run needs '
            f'{now!r}: they cannot be compared. Resume with the policy and batch_score of the '
            'checkpoint, or start a new run from its weights with load_from=CHECKPOINT and '
            'resume=False'
        )
