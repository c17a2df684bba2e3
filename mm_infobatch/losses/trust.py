"""Decides whether a module computes exactly a loss of mmseg or mmpretrain, and which one.

For the toolboxes' own losses it is known how the loss of a batch follows from the losses of its
samples. For a subclass or a changed instance this holds only if it runs the same code. A subclass
that overrides ``__init__`` or ``loss_name`` does; one that overrides ``forward``, or a method that
``forward`` calls, does not. Functions and classes are compared by identity, not by name.
"""

import sys
from inspect import getattr_static
from types import CodeType, FunctionType, MethodType
from typing import Any, Dict, Iterator, List, NamedTuple, Set

from torch import nn


class Kind(NamedTuple):
    """A loss of a toolbox.

    Attributes:
        toolbox (str): 'mmseg', 'mmpretrain', or '' for every other loss.
        name (str): The class that defines ``forward``, or ''.
    """

    toolbox: str
    name: str


UNKNOWN = Kind('', '')
# The modules of the losses in the tables of decompositions.py
MODULES: Dict[str, Dict[str, str]] = {
    'mmseg': {
        'CrossEntropyLoss': 'cross_entropy_loss',
        'FocalLoss': 'focal_loss',
        'DiceLoss': 'dice_loss',
        'LovaszLoss': 'lovasz_loss',
        'SiLogLoss': 'silog_loss',
        'TverskyLoss': 'tversky_loss',
        'HuasdorffDisstanceLoss': 'huasdorff_distance_loss',
        'KLDivLoss': 'kldiv_loss',
        'OhemCrossEntropy': 'ohem_cross_entropy_loss',
        'BoundaryLoss': 'boundary_loss',
    },
    'mmpretrain': {
        'CrossEntropyLoss': 'cross_entropy_loss',
        'LabelSmoothLoss': 'label_smooth_loss',
        'FocalLoss': 'focal_loss',
        'AsymmetricLoss': 'asymmetric_loss',
        'SeesawLoss': 'seesaw_loss',
        'RegressionLoss': 'regression',
        'PixelReconstructionLoss': 'reconstruction_loss',
        'CosineSimilarityLoss': 'cosine_similarity_loss',
        'CrossCorrelationLoss': 'cross_correlation_loss',
        'SwAVLoss': 'swav_loss',
        'CAELoss': 'cae_loss',
    },
}
# What runs between a call of a module and its forward
CALLING = ('__call__', '_wrapped_call_impl', '_call_impl', '__getattr__', '__getattribute__')


def kind_of(loss: nn.Module) -> Kind:
    """The toolbox's loss that a module computes; ``UNKNOWN`` if it may compute anything else.

    Forward hooks are not considered: whether one changes a value shows only when it is called.

    Args:
        loss (nn.Module): The loss.
    """
    kind, owner = inherited_kind(loss), owner_of_forward(loss)
    return kind if kind != UNKNOWN and runs_code_of(loss, owner, kind) else UNKNOWN


def inherited_kind(loss: nn.Module) -> Kind:
    """The toolbox's loss whose ``forward`` a module has. What that calls is not considered."""
    owner = owner_of_forward(loss)
    toolbox = owner.__module__.split('.')[0]
    module = MODULES.get(toolbox, {}).get(owner.__name__)
    if module is None or owner.__module__ != f'{toolbox}.models.losses.{module}':
        return UNKNOWN
    name: str = owner.__name__
    known = vars(sys.modules[owner.__module__]).get(name) is owner
    return Kind(toolbox, name) if known else UNKNOWN


def owner_of_forward(loss: nn.Module) -> Any:
    """The class that defines the ``forward`` of a module."""
    return next((cls for cls in type(loss).__mro__ if 'forward' in vars(cls)), nn.Module)


def runs_code_of(loss: nn.Module, owner: type, kind: Kind) -> bool:
    """Whether ``forward``, and all that it reaches on ``self``, is that of a toolbox's class."""
    cls = type(loss)
    if any(getattr_static(cls, name) is not getattr_static(nn.Module, name) for name in CALLING):
        return False
    seen: Set[str] = set()
    pending: List[str] = ['forward']
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        member = getattr_static(owner, name, None)
        if getattr_static(cls, name, None) is not member:
            return False  # overridden by a subclass
        if is_method_of_loss(name, member):
            if name in vars(loss) or member.__globals__ is not vars(sys.modules[owner.__module__]):
                return False  # replaced in the instance, or in the toolbox's class
            pending += names_in(member.__code__)
            continue
        value = vars(loss).get(name, loss._modules.get(name))
        if isinstance(value, MethodType):  # LabelSmoothLoss.smooth_label
            pending.append(value.__func__.__name__)
            if value.__func__ is not getattr_static(owner, value.__func__.__name__, None):
                return False
        elif isinstance(value, nn.Module):
            if not is_own_part(value, kind.toolbox):
                return False
        elif isinstance(value, FunctionType):
            if not is_own_function(value, owner) or value.__name__ not in criteria_of(loss, kind):
                return False
        elif callable(value):
            return False
    return True


def is_method_of_loss(name: str, member: Any) -> bool:
    """Whether a member of a loss's class is ``forward`` or a method that is not ``nn.Module``'s."""
    return isinstance(member, FunctionType) and not hasattr(nn.Module, name) or name == 'forward'


def names_in(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes that a function reads, inner functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def is_own_function(function: FunctionType, owner: type) -> bool:
    """Whether a function is the one that its toolbox's module, that of the loss, defines."""
    module = sys.modules[owner.__module__]
    return (
        function.__globals__ is vars(module) and getattr(module, function.__name__, 0) is function
    )


def is_own_part(part: nn.Module, toolbox: str) -> bool:
    """Whether a module inside a loss is one of PyTorch's, without reduction, or of the toolbox."""
    if type(part) is getattr(nn, type(part).__name__, None):
        return 'forward' not in vars(part) and getattr(part, 'reduction', '') == 'none'
    return kind_of(part).toolbox == toolbox


def criteria_of(loss: Any, kind: Kind) -> List[str]:
    """The functions that may be a loss's ``cls_criterion``, as its settings say."""
    if kind.name == 'LovaszLoss':
        return ['lovasz_hinge', 'lovasz_softmax']
    if kind.name == 'SeesawLoss':
        return ['seesaw_ce_loss']
    if loss.use_sigmoid:
        return ['binary_cross_entropy']
    if getattr(loss, 'use_mask', False):
        return ['mask_cross_entropy']
    return ['soft_cross_entropy' if getattr(loss, 'use_soft', False) else 'cross_entropy']
