"""How well a plan's gradient is that of all samples."""

from pathlib import Path
from typing import Any, Dict, List

import torch
from torch import Tensor

from mm_infobatch.scoring import classifier
from policy_comparison.equal_saving import policies_at


def gradients_of(model: Any, dataset: Any, count: int) -> Any:
    """The losses and gradients of the first samples.

    Returns:
        tuple[Tensor, Tensor]: float32 [n], and the inner products of the gradients, float64 [n, n].
    """
    model.eval()
    parameters = [each for each in model.parameters() if each.requires_grad]
    losses, gradients = [], []
    for index in range(count):
        # Twice the same sample, whose mean loss is its own: mmpretrain's LeNet-5 cannot take one.
        batch = classifier.collate([dataset[index]] * 2)
        data = model.data_preprocessor(batch, training=False)
        loss = model.loss(data['inputs'], data['data_samples'])['loss']
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients.append(torch.cat([each.flatten() for each in found if each is not None]))
        losses.append(float(loss.detach()))
    matrix = torch.stack(gradients)
    return torch.tensor(losses), (matrix @ matrix.t()).double()


def best_mean_weight(products: Tensor, weights: Tensor, batch_size: int) -> float:
    """The mean weight at which a step lowers the loss most, by the noise of a batch alone.

    Args:
        products (Tensor): The inner products of the samples' gradients, float64 [n, n].
        weights (Tensor): Of the samples in plans, 0 where skipped, float64 [plans, n].
        batch_size (int): The samples of a step.
    """
    count, squares = len(products), products.diagonal()
    signal = (products.sum() - squares.sum()) / (count * (count - 1))  # |E g|^2, unbiased
    noise = float(squares.mean() / batch_size / signal)
    mean_weight = weights.sum() / (weights != 0).sum()
    second = (weights**2 @ squares).sum() / (weights != 0).sum() / squares.mean()
    return (1 + noise) / (1 + noise * float(second / mean_weight**2))


def compare_gradients(
    products: Tensor, scores: Tensor, saving: float, plans: int, folder: Path, batch_size: int
) -> List[Dict[str, Any]]:
    """How well plans' gradients are that of all samples, a row a policy.

    Args:
        products (Tensor): The inner products of the samples' gradients, float64 [n, n].
        scores (Tensor): What the policies see, float32 [n].
        saving (float): The share that each of them skips.
        plans (int): How many plans of each.
        folder (Path): Where a file of scores may be written.
        batch_size (int): The samples of a step.
    """
    rows, count = [], len(scores)
    whole = float(products.sum())
    for name, policy in policies_at(saving, scores, folder).items():
        generator = torch.Generator().manual_seed(2)
        weights = torch.zeros(plans, count).double()
        for row in weights:
            plan = policy.plan(scores, generator)
            row[plan.indices] = plan.weights.double()
        errors = weights - 1
        around = weights - weights.mean(0)
        off = errors.mean(0)
        with_whole = (weights @ products).sum(1)
        own = ((weights @ products) * weights).sum(1)
        bias = float(off @ products @ off) / whole
        unbiased = bias < 0.01 and abs(float(off.mean())) < 0.01
        rows.append(
            dict(
                policy=name,
                skipped=float((weights == 0).double().mean()),
                error=float(((errors @ products) * errors).sum(1).mean()) / whole,
                variance=float(((around @ products) * around).sum(1).sum())
                / max(plans - 1, 1)
                / whole,
                bias=bias,
                cosine=float((with_whole / (own * whole).sqrt()).mean()),
                largest_weight=float(weights.max()),
                mean_weight=float(weights.sum() / (weights != 0).sum()),
                best_mean_weight=(
                    best_mean_weight(products, weights, batch_size) if unbiased else None
                ),
            )
        )
    return rows
