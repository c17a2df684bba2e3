"""Measures whether the steps of an optimizer scale with the gradient or the learning rate."""

import collections
from typing import Any, Dict, List, Tuple

import torch
from mmengine.optim import ZeroRedundancyOptimizer
from torch import Tensor

# More steps than RAdam's first five, which are proportional to the gradient. PyTorch's Adafactor
# makes steps of min(rate, 1 / sqrt(step)), which is below twice this rate from step 26 on.
RATE, STEPS = 0.1, 30
SMALL = ([1.0, -2.0], [[0.5, 1.5], [-1.0, 2.0]])  # in float64, as some steps are much smaller
# Settings of the copy: steps by the gradient alone, computed on the CPU. ASGD decays by lambd.
OVERRIDDEN = dict(weight_decay=0.0, lambd=0.0, foreach=False, fused=None, capturable=False)


def is_proportional(optimizer: Any) -> bool:
    """Whether twice the gradient makes twice the step, in every parameter group.

    It is so for SGD, with momentum or without. Adam, LARS, Lion and others divide by the size of
    the gradient, all of it or in part. A copy of the optimizer with its settings, but without
    weight decay, takes 30 steps on small parameters of one and of two dimensions, once with some
    gradients and once with twice as large ones.

    Args:
        optimizer (Optimizer): It is not changed.

    Returns:
        bool: False also if a copy cannot take steps, because it needs a GPU for example.
    """
    try:
        once, twice = (_moved(*_copy_of(optimizer), factor) for factor in (1.0, 2.0))
    except Exception:  # whatever an optimizer that is not PyTorch's raises
        return False
    return _doubled(once, twice)


def follows_rate(optimizer: Any) -> bool:
    """Whether the next step grows in proportion to the learning rate, in every parameter group.

    It is so for Adam, LARS, LAMB and most others. Rprop and Adafactor have step sizes of their own.
    Momentum that contains the learning rate, as in LARS, adds a part of earlier steps, which is the
    same at every rate. Three copies take 30 steps as in :func:`is_proportional`, and then one more
    at once, twice and three times the rate.

    Args:
        optimizer (Optimizer): It is not changed.

    Returns:
        bool: True also if a copy cannot take steps, because it needs a GPU for example.
    """
    try:
        moved = []
        for factor in (1, 2, 3):
            copy, parameters = _copy_of(optimizer)
            _moved(copy, parameters)
            for group in copy.param_groups:
                group['lr'] *= factor
            moved.append(_moved(copy, parameters, steps=1))
    except Exception:
        return True
    at_rate, at_twice, at_thrice = moved
    once = [two - one for one, two in zip(at_rate, at_twice)]  # what one rate more adds
    twice = [three - one for one, three in zip(at_rate, at_thrice)]
    return _doubled(once, twice)


def _doubled(once: List[Tensor], twice: List[Tensor]) -> bool:
    return all(
        bool(one.abs().sum() > 0) and torch.allclose(2 * one, two, rtol=1e-4, atol=0)
        for one, two in zip(once, twice)
    )


def _copy_of(optimizer: Any) -> Tuple[Any, List[Tensor]]:
    """A copy of an optimizer that has taken no step, and small parameters of each group."""
    if isinstance(optimizer, ZeroRedundancyOptimizer):
        optimizer = optimizer.optim  # takes the steps of this rank; it itself cannot be copied
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
        small = [torch.tensor(values, dtype=torch.float64).requires_grad_() for values in SMALL]
        parameters += small
        probe.param_groups.append(dict(settings, params=small))
    return probe, parameters


def _moved(
    optimizer: Any, parameters: List[Tensor], factor: float = 1.0, steps: int = STEPS
) -> List[Tensor]:
    """How far the parameters move in ``steps`` steps, by gradients multiplied by ``factor``."""
    before = [parameter.detach().clone() for parameter in parameters]
    for step in range(steps):
        for parameter in parameters:
            values = torch.arange(1, parameter.numel() + 1).to(parameter).view_as(parameter)
            parameter.grad = factor * (0.01 * values + 0.02 * step)
        optimizer.step()
    return [parameter.detach() - old for parameter, old in zip(parameters, before)]
