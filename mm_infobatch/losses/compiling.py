"""Decides what ``torch.compile`` may compile, by the version of PyTorch."""

from typing import Any, Callable

import torch
from mmengine.utils import digit_version

if digit_version(torch.__version__) < digit_version('2.5'):
    # It does not notice when a module's attributes change, as the weights of a batch do.
    from torch._dynamo import disable

    CAN_COMPILE = False
else:
    CAN_COMPILE = True


def is_compiling() -> bool:
    """Whether PyTorch compiles what runs."""
    return CAN_COMPILE and torch.compiler.is_compiling()


def not_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function compiled only where PyTorch can do it right."""
    return function if CAN_COMPILE else disable(function)
