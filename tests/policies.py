"""What the tests of policies share: a model's gradients, plans as weights, and the policies."""

import numpy as np
import torch
from small_runner import seeded
from torch import nn

from mm_infobatch.policies import (
    IES,
    KAKURENBO,
    UCB,
    EpsilonGreedy,
    FromFile,
    OrderDP,
    QuantilePruning,
    RandomPruning,
    RePB,
    SeTa,
    SoftPruning,
    StaticRandom,
    TargetSaving,
)


class HalfSettled(IES):
    """Every other sample has settled, whatever its losses."""

    def changes(self, num_samples):
        return (torch.arange(num_samples) % 2).float()


class OfOneBatch(RePB):
    """All samples were trained in one batch; a third of them was skipped before."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.begin_pass(None)
        self.begin_pass(StaticRandom(2 / 3).plan(torch.zeros(LENGTH), seeded()))

    def plan(self, scores, generator):
        if torch.is_tensor(scores) and scores.dtype == torch.float32:
            scores = scores - scores.nanmean()
        return super().plan(scores, generator)


UNBIASED = {
    'SoftPruning': lambda: SoftPruning(0.5),
    'SoftPruning, median': lambda: SoftPruning(0.6, threshold='median'),
    'SoftPruning, quantile': lambda: SoftPruning(0.5, threshold=0.8),
    'SoftPruning, reverse': lambda: SoftPruning(0.5, reverse=True),
    'QuantilePruning': lambda: QuantilePruning(),
    'TargetSaving': lambda: TargetSaving(0.5),
    'TargetSaving, small': lambda: TargetSaving(0.2, max_weight=2),
    'TargetSaving, quantile': lambda: TargetSaving(0.4, quantile=0.8),
    'TargetSaving, shrink': lambda: shrinking(0.5),
    'RandomPruning, rescale': lambda: RandomPruning(0.4, rescale=True),
    'EpsilonGreedy, rescale': lambda: EpsilonGreedy(0.4, epsilon=0.3, rescale=True),
    'IES, rescale': lambda: HalfSettled(prune_ratio=0.6, rescale=True),
}
BIASED = {
    'SoftPruning, no rescale': lambda: SoftPruning(0.5, rescale=False),
    'QuantilePruning, no rescale': lambda: QuantilePruning(rescale=False),
    'TargetSaving, no rescale': lambda: TargetSaving(0.5, rescale=False),
    'RandomPruning': lambda: RandomPruning(0.4),
    'EpsilonGreedy': lambda: EpsilonGreedy(0.4),
    'UCB': lambda: observed(UCB(0.4)),
    'UCB, rescale': lambda: observed(UCB(0.4, rescale=True)),
    'RePB': lambda: OfOneBatch(0.5),
    'RePB, no rescale': lambda: OfOneBatch(0.5, rescale=False),
    'OrderDP': lambda: OrderDP(),
    'OrderDP, rescale': lambda: OrderDP(0.6, 0.7, rescale=True),
    'SeTa': lambda: SeTa(0.2),
    'KAKURENBO': lambda: KAKURENBO(0.4),
    'IES': lambda: HalfSettled(prune_ratio=0.6),
    'StaticRandom': lambda: StaticRandom(0.6),
    'StaticRandom, rescale': lambda: StaticRandom(0.6, rescale=True),
}
NORMALIZED = {
    'SoftPruning': lambda: SoftPruning(0.5, rescale='normalized'),
    'QuantilePruning': lambda: QuantilePruning(rescale='normalized'),
    'TargetSaving': lambda: TargetSaving(0.5, rescale='normalized'),
    'TargetSaving, quantile': lambda: TargetSaving(0.4, quantile=0.8, rescale='normalized'),
    'IES': lambda: HalfSettled(prune_ratio=0.6, rescale='normalized'),
}


def skewed(length, seed=0):
    """Skewed as losses are, float32 [N]: most of them below the mean."""
    return -torch.rand(length, generator=seeded(seed)).clamp_min(1e-6).log()


def observed(policy, length=None):
    """A policy that has seen three passes of losses."""
    for seed in range(3):
        values = skewed(length or LENGTH, seed)
        policy.observe(torch.arange(len(values)), values, len(values))
    return policy


def shrinking(saving):
    """A policy that has seen scores foretell losses about half."""
    policy, values = TargetSaving(saving, shrink=True), skewed(LENGTH)
    losses = torch.where(torch.arange(LENGTH) % 2 > 0, values, skewed(LENGTH, 1))
    policy.observe(torch.arange(LENGTH), losses, LENGTH, values)
    return policy


def all_weights(plan):
    """The weights of a plan over all samples, float64 [N], 0 where skipped."""
    weights = torch.zeros(plan.num_samples).double()
    weights[plan.indices] = plan.weights.double()
    return weights


LENGTH = 150


def model_gradients():
    """A small classifier that has learned a little, on points of which some are hard.

    Returns:
        tuple[Tensor, Tensor]: Each sample's loss, float32 [N], and gradient, float64 [N, D].
    """
    generator = seeded(3)
    labels = torch.arange(LENGTH) % 3
    noise = torch.rand(LENGTH, 1, generator=generator).double() * 2
    inputs = (
        nn.functional.one_hot(labels, 4).double() * 2
        + noise * torch.randn(LENGTH, 4, generator=generator).double()
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    losses = nn.functional.cross_entropy(model(inputs), labels, reduction='none')
    parameters = list(model.parameters())
    gradients = torch.stack(
        [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)]
            )
            for loss in losses
        ]
    )
    return losses.detach().float(), gradients


def weights_of_plans(policy, scores, plans, seed=1):
    """The weights of many plans, float64 [M, N]."""
    generator = seeded(seed)
    return torch.stack([all_weights(policy.plan(scores, generator)) for _ in range(plans)])


def distances(weights, gradients, factor=1.0):
    """How far the mean of the plans' gradients is from ``factor`` times the whole one, in standard
    errors of that mean, float64 [D]; 0 where both are the same but for rounding."""
    estimates = weights @ gradients / gradients.shape[0]
    difference = estimates.mean(0) - factor * gradients.mean(0)
    error = estimates.std(0) / len(estimates) ** 0.5
    difference[difference.abs() < 1e-7] = 0
    return difference.abs() / error.clamp_min(1e-12)


def write_scores(path, values):
    np.save(path, np.asarray(values, dtype=np.float32))
    return FromFile(str(path), keep=0.6)
