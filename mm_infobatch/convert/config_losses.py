"""Finds the losses of a model's config, wherever they sit, by what is registered."""

import copy
import inspect
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import torch
from mmengine.registry import MODELS
from torch import nn

Key = Union[str, int]
Path = Tuple[Key, ...]
Wrap = Callable[[dict, type, Path, Optional[str]], dict]
WRAPPER = 'InfoBatchLoss'


def resolve(kind: Any, scope: Optional[str]) -> Optional[type]:
    """The class that a ``type`` of a config names in the registry of models.

    Args:
        kind (str or type): The ``type``.
        scope (str, optional): The scope in which it is looked up.

    Returns:
        type, optional: None where nothing of that name is registered.
    """
    if isinstance(kind, type):
        return kind
    if not isinstance(kind, str):
        return None
    with MODELS.switch_scope_and_registry(scope) as registry:
        try:
            found = registry.get(kind)
        except (ImportError, AttributeError, KeyError):  # the package of its scope is missing
            return None
    return found if isinstance(found, type) else None


def is_loss(cls: Optional[type], key: Key) -> bool:
    """Whether a class is a loss: by its own or its module's name, because it follows OpenMMLab's
    convention for losses, or because a parameter that is named ``loss...`` takes it.

    Args:
        cls (type, optional): The class.
        key (str or int): The nearest parameter's name, or the index in a list of them.
    """
    if cls is None or not issubclass(cls, nn.Module):
        return False
    return (
        any(base.__name__.endswith('Loss') for base in cls.__mro__)
        or 'losses' in cls.__module__.split('.')
        or str(key).startswith('loss')
        or 'reduction_override' in inspect.signature(cls.forward).parameters
    )


def name_of(kind: Any) -> str:
    """The name of a ``type``, for a message."""
    return kind if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))


def default_losses(
    cls: type, node: Dict[str, Any], scope: Optional[str]
) -> Iterator[Tuple[str, Any]]:
    """The parameters of a class whose default is a loss, and which a config does not give.

    Parameters of base classes count as far as ``**kwargs`` hands them on.

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
    """Write the losses that a class has by default into its config, in place.

    A class may hand ``**kwargs`` on to another base than the next one, and then not take a
    parameter that it seems to have (mmseg's ``IterativeDecodeHead`` does), so it is tried.
    """
    for name, default in list(default_losses(cls, node, scope)):
        if takes(node, name, default, scope):
            node[name] = copy.deepcopy(default)


def takes(node: Dict[str, Any], name: str, value: Any, scope: Optional[str]) -> bool:
    """Whether the class of a config takes a parameter; it is built without memory for weights."""
    config = copy.deepcopy(dict(node, **{name: value}))
    try:
        with MODELS.switch_scope_and_registry(scope) as registry, torch.device('meta'):
            registry.build(config)
    except TypeError as error:
        return f"'{name}'" not in str(error)
    except Exception:  # what else may be wrong with it, building the model will show
        return True
    return True


def replace_losses(node: Any, scope: Optional[str], wrap: Wrap, path: Path = ()) -> List[Path]:
    """Replace every loss below a node of a config by another config, in place.

    Losses that are wrapped already are left as they are; those that a class would have by default
    are written out.

    Args:
        node (dict or list): The node.
        scope (str, optional): The scope in which types are looked up.
        wrap (callable): From the loss's config, class, path and scope to what replaces it.
        path (tuple): Where the node is. Defaults to the root.

    Returns:
        list[tuple]: The paths of the wrapped losses, old and new.
    """
    found: List[Path] = []
    if isinstance(node, dict):
        scope = node.get('_scope_', scope)
        cls = resolve(node.get('type'), scope)
        if cls is not None:
            write_defaults(node, cls, scope)
        items: List[Tuple[Key, Any]] = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    else:
        return found
    for key, value in items:
        here = path + (key,)
        kind = value.get('type') if isinstance(value, dict) else None
        if isinstance(value, tuple) and any(isinstance(item, dict) for item in value):
            node[key] = list(value)  # to replace losses in it
            value = node[key]  # not the same list: a ConfigDict copies what it is given
        if kind is not None and name_of(kind).split('.')[-1] == WRAPPER:
            found.append(here)
            continue
        parameter = next((k for k in reversed(here) if isinstance(k, str)), '')
        cls = resolve(kind, scope)
        if isinstance(value, dict) and cls is not None and is_loss(cls, parameter):
            node[key] = wrap(value, cls, here, scope)
            found.append(here)
        else:
            found += replace_losses(value, scope, wrap, here)
    return found


def dotted(path: Path) -> str:
    """A path as ``--cfg-options`` writes it."""
    return '.'.join(str(key) for key in path)
