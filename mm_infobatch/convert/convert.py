"""Any training config of mmseg or mmpretrain, with InfoBatch switched on."""

import copy
from typing import Any, Dict, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.registry import MODELS

from ..losses import decompositions
from ..policies import build_policy
from .config_losses import Path, dotted, name_of, replace_losses
from .refusals import (
    LOOP,
    NO_LOSS,
    NO_TRAINING,
    SAMPLERS,
    CannotConvert,
    check_data,
    check_model,
)

PACKAGE = 'mm_infobatch'
LOOPS = {
    'IterBasedTrainLoop': 'InfoBatchIterLoop',
    'EpochBasedTrainLoop': 'InfoBatchEpochLoop',
    'InfoBatchIterLoop': 'InfoBatchIterLoop',
    'InfoBatchEpochLoop': 'InfoBatchEpochLoop',
}
DELTA, PRUNE_RATIO = 0.875, 0.5


def convert(
    cfg: Config,
    prune_ratio: Optional[float] = None,
    delta: Optional[float] = None,
    policy: Optional[Dict[str, Any]] = None,
    budget: Optional[str] = None,
    score: Optional[Sequence[str]] = None,
    per_image: bool = False,
) -> Config:
    """Switch InfoBatch on in a config.

    It sets the sampler, the loop and the hook, imports the package, and wraps every loss of the
    model (and of hooks that put another one into it): those that the config gives, wherever they
    sit, and those that a class of the model has by default. All other settings stay as they are.
    In a config that has InfoBatch on, only what is asked for changes.

    Args:
        cfg (Config): A training config. It is not changed.
        prune_ratio (float, optional): The share of the well-learned samples that a pass skips, in
            [0, 1). Defaults to None: 0.5, or what the config has.
        delta (float, optional): The share of the run in which passes may prune, in [0, 1].
            Defaults to None: 0.875, or what the config has.
        policy (dict, optional): Another policy than ``SoftPruning``, for ``PRUNING_POLICIES``.
            Defaults to None.
        budget (str, optional): 'passes' or 'iterations', for a run by iteration: see
            :class:`~mm_infobatch.InfoBatchIterLoop`. Defaults to None.
        score (Sequence[str], optional): The types of the losses that give the score, as in
            ``['CrossEntropyLoss']`` for a list of cross entropy and Dice. The others are weighted
            only. Defaults to None: all give it.
        per_image (bool): Whether to evaluate losses that are no mean over samples on each image
            alone, which trains another loss, instead of refusing them. Defaults to False.

    Returns:
        Config: The same training with InfoBatch.

    Raises:
        CannotConvert: If the training cannot work with InfoBatch, with the reason.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    if prune_ratio is not None and policy is not None:
        raise ValueError(
            f'prune_ratio={prune_ratio!r} and policy={policy!r} both say what to '
            "prune; give policy=dict(type='SoftPruning', prune_ratio=...) or one"
        )
    if isinstance(score, str):
        score = [score]
    cfg = copy.deepcopy(cfg)
    if (
        cfg.get('train_cfg') is None
        or cfg.get('train_dataloader') is None
        or cfg.get('model') is None
    ):
        raise CannotConvert(NO_TRAINING, 'model, train_dataloader or train_cfg is missing')
    scope = cfg.get('default_scope', None)
    check_model(cfg.model, scope)
    check_data(cfg.train_dataloader)
    _set_sampler(cfg.train_dataloader, prune_ratio, delta, policy)
    _set_loop(cfg.train_cfg, budget)
    _wrap_losses(cfg, scope, score, per_image)
    _set_hook(cfg)
    _set_import(cfg)
    return cfg


def _set_sampler(
    dataloader: Any,
    prune_ratio: Optional[float],
    delta: Optional[float],
    policy: Optional[Dict[str, Any]],
) -> None:
    old = dataloader.get('sampler') or {}
    kind = name_of(old.get('type')).split('.')[-1]
    if kind == 'InfoBatchSampler':
        sampler = dict(old)
    else:
        sampler = dict(
            type='InfoBatchSampler',
            delta=DELTA,
            policy=dict(type='SoftPruning', prune_ratio=PRUNE_RATIO),
        )
        sampler.update({key: old[key] for key in ('shuffle', 'seed') if key in old})
        if SAMPLERS.get(kind):  # batches of an endless sampler are all full
            dataloader.setdefault('drop_last', True)
    if delta is not None:
        sampler['delta'] = delta
    if policy is not None:
        sampler['policy'] = policy
    if prune_ratio is not None:
        kept = sampler.get('policy') or dict(type='SoftPruning')
        sampler['policy'] = dict(kept, prune_ratio=prune_ratio)
    if isinstance(sampler.get('policy'), dict):
        build_policy(copy.deepcopy(sampler['policy']))  # its errors, now
    dataloader['sampler'] = sampler


def _set_loop(train_cfg: Any, budget: Optional[str]) -> None:
    kind = train_cfg.get('type')
    if kind is None:
        by_iter = 'max_iters' in train_cfg
        kind = 'IterBasedTrainLoop' if by_iter else 'EpochBasedTrainLoop'
    name = name_of(kind).split('.')[-1]
    if name not in LOOPS:
        raise CannotConvert(
            LOOP,
            f"train_cfg.type={name!r}; write type='IterBasedTrainLoop' or "
            "'EpochBasedTrainLoop', or build yours upon InfoBatchIterLoop or InfoBatchEpochLoop",
        )
    train_cfg['type'] = LOOPS[name]
    # Not for a loop with a type; and neither loop of ours replays a resumed run's batches.
    train_cfg.pop('by_epoch', None)
    train_cfg.pop('fast_forward_on_resume', None)
    if budget is not None:
        if LOOPS[name] == 'InfoBatchEpochLoop':
            raise ValueError(
                f'budget={budget!r} is for runs by iteration, but this one is by '
                'epoch; remove budget'
            )
        train_cfg['budget'] = budget


def _wrap_losses(
    cfg: Config, scope: Optional[str], score: Optional[Sequence[str]], per_image: bool
) -> None:

    def wrap(loss: dict, cls: type, path: Path, scope: Optional[str]) -> dict:
        wrapper: Dict[str, Any] = dict(type='InfoBatchLoss', loss=loss)
        if score is not None and cls.__name__ not in score:
            wrapper['score'] = False
        if _needs_per_image(loss, scope, dotted(path), per_image):
            wrapper['per_image'] = True
        return wrapper

    found = replace_losses(cfg.model, scope, wrap, ('model',))
    if not found:
        raise CannotConvert(
            NO_LOSS,
            f'model.type={name_of(cfg.model.get("type"))!r}; register '
            'its loss in MODELS and build it from the config',
        )
    if score is not None and not any(_scores(cfg, path) for path in found):
        names = sorted({name_of(_at(cfg, path)['loss']['type']) for path in found})
        raise ValueError(
            f'score={list(score)} names none of the losses of the model, which are '
            f'{", ".join(names)}; name at least one'
        )
    if cfg.get('custom_hooks'):
        replace_losses(cfg.custom_hooks, scope, wrap, ('custom_hooks',))


def _needs_per_image(loss: dict, scope: Optional[str], where: str, per_image: bool) -> bool:
    """Whether a loss can be wrapped only if it is evaluated on each image alone."""
    with MODELS.switch_scope_and_registry(scope) as registry:
        module = registry.build(copy.deepcopy(loss))
    try:
        decompositions.find(module)
        return False
    except (TypeError, ValueError) as error:
        if not per_image:
            reason = (
                f'{name_of(loss["type"])} is no mean over samples, and per_image was not asked for'
            )
            raise CannotConvert(reason, f'{where}: {error}') from error
    decompositions.find(module, per_image=True)
    return True


def _at(cfg: Config, path: Path) -> Any:
    node: Any = cfg
    for key in path:
        node = node[key]
    return node


def _scores(cfg: Config, path: Path) -> bool:
    return _at(cfg, path).get('score', True)


def _set_hook(cfg: Config) -> None:
    hooks = list(cfg.get('custom_hooks') or [])
    if not any(
        name_of(hook.get('type')).split('.')[-1] == 'InfoBatchHook'
        for hook in hooks
        if isinstance(hook, dict)
    ):
        hooks.append(dict(type='InfoBatchHook'))
    cfg.custom_hooks = hooks


def _set_import(cfg: Config) -> None:
    """Have whoever loads the config import the package."""
    imports = dict(cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False))
    names: Tuple[str, ...] = (
        (imports['imports'],) if isinstance(imports['imports'], str) else tuple(imports['imports'])
    )
    if PACKAGE not in names:
        imports['imports'] = [*names, PACKAGE]
    cfg.custom_imports = imports
