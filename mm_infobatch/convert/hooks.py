"""Finds the hooks of a config, and adds ``InfoBatchHook`` with its step length."""

from typing import Any, List, Type, Union

from mmengine._strategy import ColossalAIStrategy, DeepSpeedStrategy
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, OPTIMIZERS, STRATEGIES
from torch.optim import SGD

from ..hook import InfoBatchHook
from .registered import class_of

# Strategies that put an optimizer of their own around that of the config
OWN_OPTIMIZERS = (DeepSpeedStrategy, ColossalAIStrategy)


def hooks_of(cfg: Config, kind: Type[Hook] = InfoBatchHook) -> List[Any]:
    """The hooks of a config that are of a class or a subclass of it, as configs or objects."""
    return [
        hook
        for hook in [*(cfg.get('custom_hooks') or []), *(cfg.get('default_hooks') or {}).values()]
        if isinstance(hook, kind)
        or issubclass(class_of(hook, cfg.get('default_scope'), HOOKS), kind)
    ]


def set_hook(cfg: Config, step_length: Union[None, str, float]) -> None:
    """Add an ``InfoBatchHook`` to a config that has none, and set the length of the steps.

    Args:
        cfg (Config): A training config, changed in place.
        step_length (str or float, optional): See :class:`~mm_infobatch.InfoBatchHook`. None: what
            the hook of the config has; of a hook that is added, 'capped' where
            ``optim_wrapper.optimizer`` is SGD, else 'paper'.

    Raises:
        ValueError: If it is to be set in a hook that is an object.
    """
    if not hooks_of(cfg):
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='InfoBatchHook')]
        if step_length is None and _is_sgd(cfg):
            step_length = 'capped'
    if step_length is None:
        return
    for hook in hooks_of(cfg):
        if not isinstance(hook, dict):
            raise ValueError(
                f'step_length={step_length!r} cannot be set, as the InfoBatchHook of the config is '
                'an object; give it to the hook: InfoBatchHook(step_length=...)'
            )
        hook['step_length'] = step_length


def _is_sgd(cfg: Config) -> bool:
    """Whether one optimizer trains the model, and it is SGD and not one of a strategy's own."""
    scope = cfg.get('default_scope')
    if issubclass(class_of(cfg.get('strategy'), scope, STRATEGIES), OWN_OPTIMIZERS):
        return False
    wrapper = cfg.get('optim_wrapper')
    optimizer = wrapper.get('optimizer') if isinstance(wrapper, dict) else None
    return class_of(optimizer, scope, OPTIMIZERS) is SGD
