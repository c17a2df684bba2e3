"""Whether the steps of an optimizer are proportional to the gradient: measured, on a copy."""

import collections
from typing import Any, Dict, List

import torch
from mmengine.optim import ZeroRedundancyOptimizer
from torch import Tensor

RATE, STEPS = 0.1, 20  # RAdam's first five steps are proportional, later ones are not
# Settings of the copy: steps by the gradient alone, computed on the CPU.
OVERRIDDEN = dict(weight_decay=0.0, foreach=False, fused=None, capturable=False)


def is_proportional(optimizer: Any) -> bool:
    """Whether twice the gradient makes twice the step, in every parameter group.

    It is so for SGD, with momentum or without. Adam, LARS, Lion and others divide by the size of
    the gradient, all of it or in part. A copy of the optimizer with its settings, but without
    weight decay, takes 20 steps on small parameters of one and of two dimensions, once with some
    gradients and once with twice as large ones.

    Args:
        optimizer (Optimizer): It is not changed.

    Returns:
        bool: False also where a copy cannot take steps, as one that needs a GPU.
    """
    if isinstance(optimizer, ZeroRedundancyOptimizer):
        optimizer = optimizer.optim  # takes the steps of this rank; it itself cannot be copied
    try:
        once, twice = _moved(optimizer, 1.0), _moved(optimizer, 2.0)
    except Exception:  # whatever an optimizer that is not PyTorch's raises
        return False
    return all(
        bool(one.abs().sum() > 0) and torch.allclose(2 * one, two, rtol=1e-4, atol=0)
        for one, two in zip(once, twice)
    )


def _moved(optimizer: Any, factor: float) -> List[Tensor]:
    """How far parameters of each group move in 20 steps by gradients times a factor."""
    probe = object.__new__(type(optimizer))
    probe.__dict__.update(optimizer.__dict__)
    probe.__dict__.pop('step', None)  # what schedulers of PyTorch put there
    probe.state = collections.defaultdict(dict)
    for name in ('_optimizer_step_pre_hooks', '_optimizer_step_post_hooks'):
        setattr(probe, name, collections.OrderedDict())
    parameters, probe.param_groups, seen = [], [], []
    for group in optimizer.param_groups:
        settings: Dict[str, Any] = {
            key: OVERRIDDEN.get(key, value)
            for key, value in group.items()
            if key not in ('params', 'param_names', 'name')
        }
        settings['lr'] = RATE
        # Groups that differ only in what schedulers keep in them take the same steps.
        kind = {
            key: repr(value)
            for key, value in settings.items()
            if not key.startswith(('initial_', 'max_', 'min_'))
        }
        if kind in seen:
            continue
        seen.append(kind)
        small = [torch.tensor([1.0, -2.0]), torch.tensor([[0.5, 1.5], [-1.0, 2.0]])]
        parameters += small
        probe.param_groups.append(dict(settings, params=[each.requires_grad_() for each in small]))
    before = [each.detach().clone() for each in parameters]
    for step in range(STEPS):
        for each in parameters:
            values = torch.arange(1.0, each.numel() + 1).view_as(each)
            each.grad = factor * (0.01 * values + 0.02 * step)
        probe.step()
    return [each.detach() - old for each, old in zip(parameters, before)]
