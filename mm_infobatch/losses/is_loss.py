"""Decides which classes are losses."""

import inspect
from typing import Any, Optional, Set, Union

from mmengine.model import BaseModule
from torch import nn

# Modules with losses, and packages with the other parts of models
LOSSES = (
    'mmseg.models.losses',
    'mmpretrain.models.losses',
    'mmdet.models.losses',
    'mmcv.ops.focal_loss',
    'torch.nn.modules.loss',
)
TOOLBOXES = ('mmseg', 'mmpretrain', 'mmdet')
PARTS = (*TOOLBOXES, 'mmcv', 'mmengine', 'torch')


def in_package(module: str, *packages: str) -> bool:
    """Whether a module is one of some packages, or lies in one."""
    return any(module == package or module.startswith(f'{package}.') for package in packages)


def toolbox_bases(cls: type) -> Set[str]:
    """The names of the toolboxes' classes that a class is or inherits from."""
    return {base.__name__ for base in cls.__mro__ if in_package(base.__module__, *TOOLBOXES)}


def follows_convention(cls: type) -> bool:
    """Whether a class has the ``reduction_override`` of OpenMMLab's losses."""
    forward: Any = getattr(cls, 'forward', None)
    return 'reduction_override' in inspect.signature(forward).parameters


def is_loss(cls: Optional[type], key: Union[str, int]) -> bool:
    """Whether a class is a loss.

    It is one if it is, or inherits from, a loss of a toolbox or of PyTorch, or if it follows
    OpenMMLab's convention for losses. It is not one if it is, or inherits from, another part of a
    toolbox's models, or has the methods of a head. For any other class, names decide: its own, that
    of its module, or that of the parameter or attribute that holds it.

    Args:
        cls (type, optional): The class.
        key (str or int): The nearest parameter's name, or the index in a list of them.
    """
    if cls is None or not issubclass(cls, nn.Module):
        return False
    bases = [base for base in cls.__mro__ if base not in (nn.Module, BaseModule, object)]
    if any(in_package(base.__module__, *LOSSES) for base in bases) or follows_convention(cls):
        return True
    if any(in_package(base.__module__, *PARTS) for base in bases) or hasattr(cls, 'predict'):
        return False
    if any(base.__name__.endswith('Loss') for base in bases):
        return True
    named = 'losses' in cls.__module__.split('.') or str(key).startswith('loss')
    return named and not hasattr(cls, 'loss')
