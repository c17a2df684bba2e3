"""Checks a config with InfoBatch before a runner is built."""

import copy
import inspect
import traceback
from typing import Any, Dict, Optional

import torch
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, HOOKS, LOOPS, MODELS

from ..arguments import require_count, require_known, require_validation
from ..loops import InfoBatchEpochLoop, InfoBatchIterLoop
from ..losses.search import require_unweighted
from ..sampler import InfoBatchSampler
from ..training.checks import HOOK_LINE, SAMPLER_LINE
from ..training.step_length import require_step_length
from .config_losses import is_wrapped
from .config_tree import ConfigPath, dotted, nodes
from .hooks import hooks_of
from .loss_trial import context_of, wrapping_problem
from .options import check_budget, check_policy
from .refusals import check_sections
from .registered import class_of, type_name

LINES = {
    'InfoBatchSampler': SAMPLER_LINE,
    'InfoBatchIterLoop': "train_cfg=dict(type='InfoBatchIterLoop')",
    'InfoBatchEpochLoop': "train_cfg=dict(type='InfoBatchEpochLoop')",
    'InfoBatchHook': HOOK_LINE,
}
# Arguments that mmengine adds when it builds a part
GIVEN_BY_MMENGINE = ('runner', 'dataloader', 'dataset')


def check_config(cfg: Config) -> None:
    """Check the settings of InfoBatch's sampler, loop, hook and losses in a config.

    A run raises the same errors, but after mmengine has printed the whole config. A config without
    InfoBatch passes.

    Args:
        cfg (Config): A training config. It is not changed.

    Raises:
        TypeError: If an argument is unknown, or of the wrong type.
        ValueError: If a part is missing, or an argument is out of range.
    """
    check_sections(cfg)
    scope, train_cfg = cfg.get('default_scope'), cfg.get('train_cfg') or {}
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    loop_cls = class_of(train_cfg, scope, LOOPS)
    sampler_cls = class_of(sampler, scope, DATA_SAMPLERS)
    has_loop = issubclass(loop_cls, (InfoBatchIterLoop, InfoBatchEpochLoop))
    has_sampler = issubclass(sampler_cls, InfoBatchSampler)
    if has_loop or hooks_of(cfg):
        check_no_part_missing(cfg, has_sampler, has_loop)
        check_loop_settings(train_cfg, loop_cls)
        for hook in hooks_of(cfg):
            if isinstance(hook, dict):
                check_arguments('custom_hooks', hook, class_of(hook, scope, HOOKS))
                require_step_length(hook.get('step_length', 'paper'))
                require_unweighted(hook.get('unweighted', ()))
    if has_sampler:
        check_sampler_settings(sampler, sampler_cls)
    for path, node, inner in nodes(cfg.get('model'), scope, ('model',)):
        if is_wrapped(class_of(node, inner, MODELS)):
            check_loss(cfg, path, node, inner)


def check_no_part_missing(cfg: Config, has_sampler: bool, has_loop: bool) -> None:
    """Check that a config with InfoBatch's loop or hook has its sampler, loop and one hook.

    Raises:
        ValueError: If one is missing, or there are several hooks.
    """
    train_cfg = cfg.get('train_cfg') or {}
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    num_hooks = len(hooks_of(cfg))
    parts = {
        'InfoBatchSampler': has_sampler,
        'InfoBatchIterLoop' if 'max_iters' in train_cfg else 'InfoBatchEpochLoop': has_loop,
        'InfoBatchHook': num_hooks == 1,
    }
    missing = [name for name, present in parts.items() if not present]
    if missing:
        present = ' and '.join(name for name in parts if name not in missing)
        raise ValueError(
            f'{present} cannot work without {" and ".join(missing)}, but the config has '
            f'train_dataloader.sampler.type={type_name(sampler.get("type"))!r}, '
            f'train_cfg.type={type_name(train_cfg.get("type"))!r} and '
            f'{num_hooks} InfoBatchHook; write ' + ', '.join(LINES[name] for name in missing)
        )


def check_arguments(path: str, node: Dict[str, Any], cls: Any) -> None:
    """Refuse unknown and missing arguments of a class.

    Raises:
        TypeError: If there is one.
    """
    parameters = inspect.signature(cls).parameters
    taken = [name for name in parameters if name not in GIVEN_BY_MMENGINE]
    given = node.keys() - {'type', '_scope_', 'priority'}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        line = f'dict(_delete_=True, type={cls.__name__!r}, ...)'
        require_known(f'{path}: {cls.__name__}', given, taken, line)
    for name, p in parameters.items():
        required = p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        if required and name not in (*given, *GIVEN_BY_MMENGINE):
            raise TypeError(f'{path}: {cls.__name__} needs {name}; write {name}=...')


def check_loop_settings(train_cfg: Dict[str, Any], cls: type) -> None:
    """Check the settings of a training loop.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If one is out of range.
    """
    length = 'max_iters' if issubclass(cls, InfoBatchIterLoop) else 'max_epochs'
    if 'by_epoch' in train_cfg:
        raise ValueError(
            f'train_cfg has by_epoch={train_cfg["by_epoch"]!r} and type={cls.__name__!r}, but '
            'mmengine takes only one of them. If the config inherits by_epoch, write '
            f'train_cfg=dict(_delete_=True, type={cls.__name__!r}, {length}=...)'
        )
    check_arguments('train_cfg', train_cfg, cls)
    if length in train_cfg:
        require_count(f'train_cfg.{length}', train_cfg[length])
    require_validation(
        train_cfg.get('val_begin', 1),
        train_cfg.get('val_interval', 1),
        train_cfg.get('dynamic_intervals'),
    )
    if 'budget' in train_cfg:
        check_budget(train_cfg['budget'], 'train_cfg.budget')


def check_sampler_settings(sampler: Dict[str, Any], cls: type) -> None:
    """Check the settings of a sampler.

    Raises:
        TypeError: If an argument is unknown, or of the wrong type.
        ValueError: If one is out of range.
    """
    check_arguments('train_dataloader.sampler', sampler, cls)
    policy = sampler.get('policy')
    if policy is not None and not hasattr(policy, 'plan'):
        check_policy(policy)
    if cls is InfoBatchSampler:  # a subclass may need the dataset
        arguments: Dict[str, Any] = dict(seed=0, rank=0, world_size=1)
        arguments.update(copy.deepcopy(dict(sampler)))
        arguments.pop('type')
        arguments.pop('_scope_', None)
        InfoBatchSampler([0], **arguments)


def check_loss(cfg: Config, path: ConfigPath, node: Dict[str, Any], scope: Optional[str]) -> None:
    """Check a wrapped loss: build it, and try it on small batches.

    Raises:
        ValueError: If it cannot be built, or cannot be wrapped.
    """
    with MODELS.switch_scope_and_registry(scope) as registry, torch.random.fork_rng(devices=[]):
        try:
            built = registry.build(copy.deepcopy(dict(node)))
        except Exception as error:
            raise ValueError(f'{dotted(path)}: {describe(error)}') from error
        problem = wrapping_problem(built.loss, built.per_image, context_of(cfg, path, scope))
    if problem is not None:
        raise ValueError(f'{dotted(path)}: {problem}')


def describe(error: BaseException) -> str:
    """The message of an error; for an assertion without a message, its line of code."""
    frames = traceback.extract_tb(error.__traceback__)
    return str(error) or f'{type(error).__name__} at {frames[-1].line!r}'
