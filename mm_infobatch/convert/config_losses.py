"""Finds the losses in the config of a model, at any depth."""

import copy
import inspect
import re
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.registry import MODELS
from torch import nn

from ..losses import InfoBatchLoss
from ..losses.custom_keys import custom_keys
from ..losses.is_loss import follows_convention, in_package, is_loss
from .config_tree import ConfigPath
from .registered import resolve

LossPlace = Tuple[ConfigPath, Optional[str]]  # the path of a loss, and the scope of its type
Wrap = Callable[[Dict[str, Any], ConfigPath], Optional[Dict[str, Any]]]
# The loss that a class of mmpretrain builds where a parameter is None, as it is by default
FOR_NONE: Dict[Tuple[str, str], Dict[str, Any]] = {
    ('RegressionHead', 'loss'): dict(type='mmpretrain.RegressionLoss', loss_type='L1Loss'),
}


def is_wrapped(cls: Optional[type]) -> bool:
    """Whether a class is ``InfoBatchLoss`` or a subclass of it."""
    return cls is not None and issubclass(cls, InfoBatchLoss)


def default_losses(
    cls: type, node: Dict[str, Any], scope: Optional[str]
) -> Iterator[Tuple[str, Any]]:
    """The parameters of a class that a config does not set and whose default is a loss.

    Parameters of a base class count if ``**kwargs`` passes them on, and those of :data:`FOR_NONE`
    also where a config sets them to None.

    Yields:
        tuple: The parameter's name, and the default.
    """
    seen = set(node)
    for base in cls.__mro__:
        if '__init__' not in vars(base) or base in (nn.Module, object):
            continue
        parameters = inspect.signature(vars(base)['__init__']).parameters
        for name, parameter in parameters.items():
            default = parameter.default
            if default is None and in_package(base.__module__, 'mmpretrain'):
                default = FOR_NONE.get((base.__name__, name))
                if default is not None and node.get(name) is None:
                    seen -= node.keys() & {name}  # the config sets it to None
            items = default if isinstance(default, (list, tuple)) else [default]
            if (
                name not in seen
                and items
                and all(
                    isinstance(item, dict) and is_loss(resolve(item.get('type'), scope), name)
                    for item in items
                )
            ):
                yield name, default
            seen.add(name)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return


def write_defaults(node: Dict[str, Any], cls: type, scope: Optional[str]) -> None:
    """Write the default losses of a class into its config, in place.

    A class may pass ``**kwargs`` to another base class than the next one, and then not take a
    parameter that it seems to have, as mmseg's ``IterativeDecodeHead``. So each one is tried.
    """
    for name, default in list(default_losses(cls, node, scope)):
        if takes(node, name, default, scope):
            node[name] = copy.deepcopy(default)


def takes(node: Dict[str, Any], name: str, value: Any, scope: Optional[str]) -> bool:
    """Whether the class of a config takes a parameter; it is built on the meta device."""
    config = copy.deepcopy(dict(node, **{name: value}))
    try:
        with MODELS.switch_scope_and_registry(scope) as registry, torch.device('meta'):
            registry.build(config)
    except TypeError as error:
        return f"'{name}'" not in str(error)
    except Exception:  # building the model will raise it again
        return True
    return True


def contains_losses(node: Any, scope: Optional[str]) -> bool:
    """Whether the config of a loss contains other losses."""
    return bool(replace_losses(copy.deepcopy(node), scope, lambda loss, path: loss))


def replace_losses(
    node: Any, scope: Optional[str], wrap: Wrap, path: ConfigPath = ()
) -> List[LossPlace]:
    """Replace every loss below a node of a config, in place.

    Default losses of classes are written into the config first. Wrapped losses stay as they are.
    If a loss contains other losses and its ``forward`` takes no ``reduction_override``, the others
    are replaced instead.

    Args:
        node (dict or list): The node.
        scope (str, optional): The scope in which types are looked up.
        wrap (callable): Takes the config and the path of a loss and returns what replaces it, or
            None.
        path (tuple): Where the node is. Defaults to the root.

    Returns:
        list[tuple]: The path and the scope of each loss, those included that were wrapped before.
    """
    losses: List[LossPlace] = []
    if isinstance(node, dict):
        scope = node.get('_scope_', scope)
        cls = resolve(node.get('type'), scope)
        if cls is not None:
            write_defaults(node, cls, scope)
        items: List[Tuple[Union[str, int], Any]] = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    else:
        return losses
    for key, value in items:
        here = path + (key,)
        if isinstance(value, tuple) and any(isinstance(item, dict) for item in value):
            node[key] = list(value)  # a tuple cannot be changed in place
            value = node[key]  # a ConfigDict copies what it is given
        parameter = next((k for k in reversed(here) if isinstance(k, str)), '')
        if not isinstance(value, dict):
            losses += replace_losses(value, scope, wrap, here)
            continue
        loss_scope = value.get('_scope_', scope)
        cls = resolve(value.get('type'), loss_scope)
        if is_wrapped(cls):
            losses.append((here, loss_scope))
        elif (
            cls is not None
            and is_loss(cls, parameter)
            and (follows_convention(cls) or not contains_losses(value, loss_scope))
        ):
            wrapper = wrap(value, here)
            if wrapper is not None:
                node[key] = wrapper
                losses.append((here, loss_scope))
        else:
            losses += replace_losses(value, scope, wrap, here)
    return losses


def rename_keys(optim_wrapper: Any, paths: Sequence[ConfigPath]) -> None:
    """Add the new names of wrapped losses to the settings of the optimizer for single parameters.

    A parameter ``head.loss_module.centers`` becomes ``head.loss_module.loss.centers``.

    Args:
        optim_wrapper (Any): The config of the optimizer wrapper, which is changed in place.
        paths (Sequence[tuple]): Where the wrapped losses are in the config.
    """
    names = {next(key for key in reversed(path) if isinstance(key, str)) for path in paths}
    if 'loss' in names:  # mmpretrain's heads keep it as loss_module
        names.add('loss_module')
    named = re.compile(rf'(?<![^.])((?:{"|".join(map(re.escape, names))})(?:\.\d+)?\.)(loss\.)?')
    for keys in custom_keys(optim_wrapper):
        for key, value in list(keys.items()):
            if not any(already for _, already in named.findall(key)):
                keys.setdefault(named.sub(r'\1loss.', key), value)
