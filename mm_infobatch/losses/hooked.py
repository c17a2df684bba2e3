"""Detects forward hooks that change the arguments or the value of a module."""

import contextlib
from typing import Any, Iterator, List

from torch import nn


@contextlib.contextmanager
def changed_by_hooks(module: nn.Module) -> Iterator[List[str]]:
    """Watch the forward hooks of a module, with hooks before and after them.

    Yields:
        list[str]: What a hook has changed so far: 'arguments', 'value'.
    """
    changed: List[str] = []
    seen: List[Any] = []

    def first(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen[:] = [*args, *kwargs.values()]

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        now = [*args, *kwargs.values()]
        if len(now) != len(seen) or any(a is not b for a, b in zip(now, seen)):
            changed.append('arguments')

    def after(module: nn.Module, args: Any, value: Any) -> None:
        seen[:] = [value]

    def last(module: nn.Module, args: Any, value: Any) -> None:
        if value is not seen[0]:
            changed.append('value')

    handles = [
        module.register_forward_pre_hook(first, prepend=True, with_kwargs=True),
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, prepend=True),
        module.register_forward_hook(last),
    ]
    try:
        yield changed
    finally:
        for handle in handles:
            handle.remove()
