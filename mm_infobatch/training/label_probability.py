"""Warns if a policy reads label probabilities from scores that are another loss."""

from typing import Any, List, Optional

from torch import nn

from ..losses.search import find_losses, unwrap
from ..losses.trust import kind_of


def other_score_warning(model: nn.Module, policy: Any) -> Optional[str]:
    """Warn if a policy reads label probabilities from scores that are not a plain cross entropy.

    Args:
        model (nn.Module): The model.
        policy (object): The policy. Where its ``label_probability`` is True, it takes exp(-score)
            for the probability of the label.

    Returns:
        str, optional: A warning, if the policy does so and a score is not the plain cross entropy
        of one label. A user's own loss gives none: it may be the plain one.
    """
    if not getattr(policy, 'label_probability', False):
        return None
    scored: List[Any] = [loss.loss for loss in find_losses(model) if loss.score]
    preprocessor = getattr(unwrap(model), 'data_preprocessor', None)
    kind, loss, other = kind_of(scored[0]), scored[0], ''
    if len(scored) > 1:
        other = f'the sum of {len(scored)} losses'
    elif kind.toolbox == 'mmseg':
        other = 'a mean over the pixels of an image'
    elif kind.name not in ('', 'CrossEntropyLoss'):
        other = f'the {kind.name}'
    elif kind.name and (loss.use_sigmoid or loss.use_soft or loss.class_weight):
        other = 'a cross entropy with use_sigmoid, use_soft or class_weight'
    elif kind.name and loss.loss_weight != 1:
        other = f'{loss.loss_weight:g} times the cross entropy'
    elif getattr(preprocessor, 'batch_augments', None) is not None:
        other = 'the loss of mixed labels (batch_augments)'
    if not other:
        return None
    return (
        f'{type(policy).__name__} takes the probability of the label to be exp(-score), but a '
        f'score is {other} here, so it would take uncertain samples for sure ones, or the reverse; '
        'use another policy, such as SoftPruning, or the plain cross entropy of one label'
    )
