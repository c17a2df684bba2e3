"""Looks up the registered classes of a config: its parts are known by class, not by name."""

import inspect
from typing import Any, List, Optional, Set

from mmengine.registry import MODELS, Registry

from ..losses.is_loss import toolbox_bases

# What Python itself sets in each class
NOT_OVERRIDDEN = ('_abc_impl', '__annotate__', '__annotate_func__')


def registered(kind: Any, scope: Optional[str], registry: Registry = MODELS) -> Any:
    """Look up a ``type`` of a config.

    Args:
        kind (str or type): The ``type``.
        scope (str, optional): The scope in which it is looked up.
        registry (Registry): The registry. Defaults to ``MODELS``.

    Returns:
        type or callable, optional: What is registered; None if nothing is.
    """
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(scope) as current:
        try:
            return current.get(kind)
        # mmengine raises a RuntimeError for a dotted name that it cannot import
        except (ImportError, AttributeError, KeyError, RuntimeError):
            return None


def resolve(kind: Any, scope: Optional[str], registry: Registry = MODELS) -> Optional[type]:
    """The registered class of a ``type``; None if there is no class of that name."""
    cls = registered(kind, scope, registry)
    return cls if isinstance(cls, type) else None


def class_of(node: Any, scope: Optional[str], registry: Any) -> type:
    """The registered class of a node of a config; ``object`` if there is none."""
    node = node if isinstance(node, dict) else {}
    return resolve(node.get('type'), node.get('_scope_', scope), registry) or object


def type_name(kind: Any) -> str:
    """The name of a ``type``, for messages."""
    return kind if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))


def short_name(kind: Any) -> str:
    """The name of a ``type`` without its scope or module."""
    return type_name(kind).split('.')[-1]


def toolbox_names(kind: Any, scope: Optional[str], *registries: Registry) -> Set[str]:
    """The names of the toolboxes' classes that a ``type`` is or inherits from.

    A user's class with the name of a toolbox's class is not one of them. If no registry has the
    class, because its package is not installed, the result is the name of the ``type`` itself.

    Args:
        kind (str or type): The ``type``.
        scope (str, optional): The scope in which it is looked up.
        registries (Registry): The registries to search, in order.
    """
    for registry in registries:
        cls = resolve(kind, scope, registry)
        if cls is not None:
            return toolbox_bases(cls)
    return {short_name(kind)}


def overridden(cls: type, base: type) -> List[str]:
    """The names of the methods and attributes of a base class that a class overrides."""
    names = []
    for name in dir(base):
        theirs, own = inspect.getattr_static(base, name), inspect.getattr_static(cls, name)
        method = callable(theirs) or isinstance(theirs, property) or not name.startswith('__')
        if method and own is not theirs and name not in NOT_OVERRIDDEN:
            names.append(name)
    return names
