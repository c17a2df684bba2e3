"""Wraps the losses of a config in ``InfoBatchLoss``."""

import copy
from typing import Any, Dict, List, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from ..losses.search import is_named, require_unweighted
from .check import describe
from .config_losses import LossPlace, rename_keys, replace_losses
from .config_tree import ConfigPath, at, dotted, nodes
from .hooks import hooks_of
from .loss_trial import context_of, wrapping_problem
from .options import Options
from .refusals import BROKEN, NO_LOSS, CannotConvert
from .registered import registered, short_name, type_name

PER_IMAGE = 'The option per_image=True trains the mean of its values for each image alone'


def wrap_losses(cfg: Config, scope: Optional[str], options: Options) -> None:
    """Wrap every loss of the model of a config, and those that hooks put into it later, in place.

    Raises:
        CannotConvert: If there is no loss, or one that cannot be wrapped.
        ValueError: If the option ``score`` names no loss.
    """
    unweighted = _unweighted(cfg)

    def wrap(loss: Any, path: ConfigPath) -> Optional[Dict[str, Any]]:
        named = is_named(dotted(path), unweighted)
        return None if named else dict(type='InfoBatchLoss', loss=loss)

    in_model = replace_losses(cfg.model, scope, wrap, ('model',))
    if not in_model:
        raise _no_loss(cfg.model, scope)
    in_hooks: List[LossPlace] = []
    if cfg.get('custom_hooks'):
        cfg.custom_hooks = list(cfg.custom_hooks)
        in_hooks = replace_losses(cfg.custom_hooks, scope, wrap, ('custom_hooks',))
    for path, inner in in_model + in_hooks:
        wrapper = at(cfg, path)
        if isinstance(wrapper.get('loss'), dict) and not wrapper.get('per_image', False):
            if _needs_per_image(cfg, wrapper['loss'], inner, path, options.per_image):
                wrapper['per_image'] = True
    rename_keys(cfg.get('optim_wrapper'), [path for path, _ in in_model])
    if options.score is not None:
        _set_score(cfg, in_model, in_hooks, options.score)


def _no_loss(model: Any, scope: Optional[str]) -> CannotConvert:
    """Why no loss was found in a model."""
    for path, node, inner in nodes(model, scope, ('model',)):
        is_loss = any(str(key).startswith('loss') for key in path)
        if is_loss and 'type' in node and registered(node['type'], inner) is None:
            return CannotConvert(
                BROKEN, f'{dotted(path)}.type={type_name(node["type"])!r} is not registered'
            )
    return CannotConvert(
        NO_LOSS,
        f'model.type={type_name(model.get("type"))!r}; register its loss in MODELS and build it '
        'from the config',
    )


def _unweighted(cfg: Config) -> List[str]:
    """The losses that the hook of a config leaves without weights, by their paths."""
    names: List[str] = []
    for hook in hooks_of(cfg):
        given = hook.get('unweighted', ()) if isinstance(hook, dict) else hook.unweighted
        names += require_unweighted(given)
    return [name.replace('.loss_module', '.loss') for name in names]


def _set_score(
    cfg: Config, in_model: List[LossPlace], in_hooks: List[LossPlace], score: Sequence[str]
) -> None:
    """Let the losses of these types give the score, and no others."""
    names = {path: _name_of_loss(at(cfg, path)) for path, _ in in_model + in_hooks}
    wanted = [short_name(name) for name in score]
    unknown = [name for name in wanted if name not in names.values()]
    if unknown or not any(names[path] in wanted for path, _ in in_model):
        raise ValueError(
            f'score={score} names {", ".join(unknown) or "no loss of the model"}, but the losses '
            f'are {", ".join(sorted(set(names.values())))}; name one or more of them'
        )
    for path, name in names.items():
        if name in wanted:
            at(cfg, path).pop('score', None)
        else:
            at(cfg, path)['score'] = False


def _name_of_loss(wrapper: Dict[str, Any]) -> str:
    """The type of a wrapped loss, or of a wrapper that builds its loss itself."""
    loss = wrapper.get('loss')
    return short_name((loss if isinstance(loss, dict) else wrapper).get('type'))


def _needs_per_image(
    cfg: Config, loss: Dict[str, Any], scope: Optional[str], path: ConfigPath, per_image: bool
) -> bool:
    """Whether a loss has to be evaluated on each image alone.

    Raises:
        CannotConvert: If it cannot be built or wrapped, or needs ``per_image`` without the option.
    """
    name, where = short_name(loss.get('type')), dotted(path)
    with torch.random.fork_rng(devices=[]):
        try:
            with MODELS.switch_scope_and_registry(scope) as registry:
                module = registry.build(copy.deepcopy(loss))
        except Exception as error:
            raise CannotConvert(BROKEN, f'{where}: {describe(error)}') from error
        context = context_of(cfg, path, scope)
        problem = wrapping_problem(module, False, context)
        if problem is None:
            return False
        other_problem = wrapping_problem(module, True, context)
    if other_problem is not None:
        raise CannotConvert(f'{name} cannot be wrapped', f'{where}: {other_problem}')
    if not per_image:
        hint = '' if 'per_image=True' in problem else f'. {PER_IMAGE}'
        raise CannotConvert(
            f'{name} is not a mean over samples, and per_image was not asked for',
            f'{where}: {problem}{hint}',
        )
    return True
