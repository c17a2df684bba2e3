"""Evaluates a loss a second time without side effects."""

import collections
import contextlib
import copy
from typing import Any, Iterator, List

import numpy as np
import torch
from torch import Tensor, nn

# What PyTorch keeps in each module besides tensors: hooks and submodules
OF_EVERY_MODULE = vars(nn.Module()).keys() - {'_parameters', '_buffers'}


@contextlib.contextmanager
def spare_evaluation(loss: nn.Module) -> Iterator[None]:
    """Evaluate a loss without side effects: without gradients, and with the state of the loss and
    the random generators restored at the end.

    The evaluation uses copies of the parameters too. ``autocast`` caches a parameter that it casts,
    and with PyTorch 2.1 one that was cast without a gradient would get no gradient in training.
    """
    state = [(vars(module), dict(vars(module))) for module in loss.modules()]
    for attributes, before in state:
        for name in before.keys() - OF_EVERY_MODULE:
            attributes[name] = with_own_tensors(before[name])
    devices: List[int] = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        for attributes, before in state:
            attributes.clear()
            attributes.update(before)


def with_own_tensors(value: Any) -> Any:
    """A copy of what a loss may change in place: tensors, arrays and containers, at any depth.
    Other objects stay the same."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (set, np.ndarray)):
        return value.copy()
    if not isinstance(value, (list, dict, collections.deque)):
        return value
    twin: Any = copy.copy(value)
    for key in value if isinstance(value, dict) else range(len(value)):
        twin[key] = with_own_tensors(value[key])
    return twin
