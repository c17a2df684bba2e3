"""Checks the optimizer's ``custom_keys`` for parameters of a loss that wrapping renames."""

from typing import Any, Dict, Iterator

from torch import nn

from .wrapper import InfoBatchLoss


def custom_keys(node: Any) -> Iterator[Dict[str, Any]]:
    """Every ``custom_keys`` of the config of an optimizer wrapper, or of several."""
    if not isinstance(node, dict):
        return
    if isinstance(node.get('custom_keys'), dict):
        yield node['custom_keys']
    for value in node.values():
        yield from custom_keys(value)


def check_custom_keys(model: nn.Module, optim_wrapper: Any) -> None:
    """Refuse a key that names a parameter of a loss as it was called before the loss was wrapped.

    mmengine applies a key to the parameters whose names contain it. It would be left out in
    silence.

    Args:
        model (nn.Module): The model.
        optim_wrapper (Any): The config of its optimizer wrapper.

    Raises:
        ValueError: If there is such a key, and not the one with the new name beside it.
    """
    wrapped = {
        path: [name for name, _ in module.loss.named_parameters()]
        for path, module in model.named_modules()
        if isinstance(module, InfoBatchLoss)
    }
    for keys in custom_keys(optim_wrapper):
        for path, names in wrapped.items():
            for name in names:
                before, now = f'{path}.{name}', f'{path}.loss.{name}'
                for key in keys:
                    if key not in before or key in now:
                        continue
                    start = before.index(key)
                    renamed = now[start : start + len(key) + len('.loss')]
                    if renamed not in keys:
                        raise ValueError(
                            f'custom_keys={key!r} of the optimizer names no parameter: that of '
                            f'the wrapped loss is called {now}; write paramwise_cfg=dict('
                            f'custom_keys={{{renamed!r}: {keys[key]!r}}})'
                        )
