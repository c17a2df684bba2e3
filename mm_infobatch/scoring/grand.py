"""GraNd: the norm of the gradient of a sample's loss.

Paul et al. 2021, Deep Learning on a Data Diet, https://arxiv.org/abs/2107.07075: the mean over
networks, early in training; the highest are kept. At initialization their results have not been
reproduced (Kirsch 2023, https://arxiv.org/abs/2303.14753), so give checkpoints of a trained one.

Differences:
1. ``grand`` takes the gradient of the last layer, as DeepCore does; ``grand_of_model`` takes that
   of all parameters, as the original does, with one backward pass per sample.
2. The product EL2N * norm(x) is averaged over checkpoints, not its factors.
"""

from typing import Any, Dict

import numpy as np
import torch

from .classifier import collate
from .gradients import norms
from .rows import by_rows, errors


def grand(logits: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The norm of each sample's gradient of the last layer.

    Args:
        logits (np.ndarray): float32 [N, C].
        features (np.ndarray): What the last layer gets, float32 [N, D].
        labels (np.ndarray): int64 [N].

    Returns:
        np.ndarray: float32 [N].
    """

    def block(logits: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return norms(errors(logits, labels), features)

    return by_rows(block, logits, features, labels)


def grand_of_model(model: Any, batch: Dict[str, Any]) -> np.ndarray:
    """The norm of each sample's gradient of all parameters, by the loss of the model itself.

    Args:
        model (BaseModel): A classifier of mmpretrain, in eval mode.
        batch (dict): What ``collate`` gives, of B samples.

    Returns:
        np.ndarray: float32 [B].

    Raises:
        ValueError: If the model has no loss, such as the distilled ones of mmpretrain.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lengths = []
    for inputs, sample in zip(batch['inputs'], batch['data_samples']):
        # Twice the same sample, whose mean loss is its own.
        data = model.data_preprocessor(collate([dict(inputs=inputs, data_samples=sample)]), False)
        try:
            losses = model.loss(data['inputs'], data['data_samples'])
        except NotImplementedError as error:
            raise ValueError(
                f'the model has no loss, of which --all-parameters takes the gradient: {error}; '
                'leave it out, or take another method, such as el2n'
            ) from error
        loss, _ = model.parse_losses(losses)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        squares = [grad.double().square().sum() for grad in gradients if grad is not None]
        lengths.append(float(torch.stack(squares).sum().sqrt()))
    return np.array(lengths, np.float32)
