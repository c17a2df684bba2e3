"""Any training config of mmseg or mmpretrain, with InfoBatch switched on."""

import copy
from typing import Any, Dict, Optional, Sequence, Union

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop

from ..loops import InfoBatchEpochLoop, InfoBatchIterLoop
from ..policies import build_policy
from ..sampler import InfoBatchSampler
from .check import check_config
from .hooks import set_hook
from .options import Options, check_options
from .refusals import (
    BROKEN,
    NO_TRAINING,
    CannotConvert,
    check_data,
    check_model,
    check_replaced_sampler,
    check_sections,
    loop_class,
    sampler_class,
)
from .registered import type_name
from .wrap_losses import wrap_losses

PACKAGE = 'mm_infobatch'
DELTA, PRUNE_RATIO = 0.875, 0.5


def convert(
    cfg: Config,
    prune_ratio: Optional[float] = None,
    delta: Optional[float] = None,
    policy: Optional[Dict[str, Any]] = None,
    budget: Optional[str] = None,
    score: Optional[Sequence[str]] = None,
    per_image: bool = False,
    step_length: Union[None, str, float] = None,
    track: Optional[bool] = None,
) -> Config:
    """Switch InfoBatch on in a config.

    It sets the sampler, the loop and the hook, imports the package, and wraps every loss of the
    model: those in the config, at any depth, those that a class has by default, and those that a
    hook puts into the model later. All other settings stay as they are. In a config that has
    InfoBatch on, only the given options change. Subclasses of InfoBatch's sampler, loops, hook and
    loss stay. A loss that the config's ``InfoBatchHook`` names in ``unweighted`` stays as it is.

    Args:
        cfg (Config): A training config. It is not changed.
        prune_ratio (float, optional): The share of the well-learned samples that a pass skips, in
            [0, 1). Defaults to None: 0.5, or what the config has.
        delta (float, optional): The share of the run in which passes may prune, in [0, 1].
            Defaults to None: 0.875, or what the config has.
        policy (dict, optional): The config of a policy. Defaults to None: ``SoftPruning``, or what
            the config has.
        budget (str, optional): 'passes' or 'iterations', what ``max_iters`` of
            :class:`~mm_infobatch.InfoBatchIterLoop` means. Defaults to None: 'passes', or what the
            config has.
        score (Sequence[str], optional): The types of the losses that give the score, such as
            ``['CrossEntropyLoss']`` for cross entropy and Dice. The others are only weighted.
            Defaults to None: all losses.
        per_image (bool): Whether to evaluate losses that are not a mean over samples on each image
            alone, which is another loss. Defaults to False: refuse them.
        step_length (str or float, optional): The length of the steps of a pruned pass, see
            :class:`~mm_infobatch.InfoBatchHook`. Defaults to None: 'capped' with SGD and 'paper'
            with other optimizers, or what the config has.
        track (bool, optional): Whether to track how often each sample is trained, and the mean and
            spread of its losses. Defaults to None: True, or what the config has.

    Returns:
        Config: The same training with InfoBatch.

    Raises:
        CannotConvert: If this config cannot work with InfoBatch, with the reason.
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range, or does not fit this config.
    """
    options = check_options(
        Options(prune_ratio, delta, policy, budget, score, per_image, step_length, track)
    )
    cfg = copy.deepcopy(cfg)
    for name in ('model', 'train_dataloader', 'train_cfg'):
        if cfg.get(name) is None:
            raise CannotConvert(NO_TRAINING, 'model, train_dataloader or train_cfg is missing')
    check_sections(cfg)
    scope = cfg.get('default_scope', None)
    check_model(cfg.model, scope)
    check_data(cfg.train_dataloader, scope)
    _set_sampler(cfg.train_dataloader, scope, options)
    _set_loop(cfg.train_cfg, scope, options)
    wrap_losses(cfg, scope, options)
    set_hook(cfg, options.step_length)
    _set_import(cfg)
    try:
        check_config(cfg)
    except (TypeError, ValueError) as error:
        raise CannotConvert(BROKEN, str(error)) from error
    return cfg


def _set_sampler(dataloader: Any, scope: Optional[str], options: Options) -> None:
    old = dataloader.get('sampler')
    cls = sampler_class(old, scope)
    if issubclass(cls, InfoBatchSampler):
        sampler: Any = copy.deepcopy(old)
    else:
        sampler = dict(
            type='InfoBatchSampler',
            delta=DELTA,
            policy=dict(type='SoftPruning', prune_ratio=PRUNE_RATIO),
        )
        if old is None:  # PyTorch's own sampler
            sampler['shuffle'] = bool(dataloader.pop('shuffle', 'sampler' not in dataloader))
        else:
            check_replaced_sampler(old, cls)
            sampler.update({key: old[key] for key in ('shuffle', 'seed') if key in old})
        if cls is InfiniteSampler:  # it never ends, so that every batch was full
            dataloader['drop_last'] = True
    if options.delta is not None:
        sampler['delta'] = options.delta
    if options.track is not None:
        sampler['track'] = options.track
    if options.policy is not None:
        sampler['policy'] = options.policy
    if options.prune_ratio is not None:
        policy = copy.deepcopy(sampler.get('policy')) or dict(type='SoftPruning')
        policy['prune_ratio'] = options.prune_ratio
        try:
            build_policy(copy.deepcopy(policy))
        except TypeError as error:
            raise ValueError(
                f'prune_ratio={options.prune_ratio!r} does not fit the policy of the config, '
                f'{type_name(policy.get("type"))}; set policy=dict(type=..., ...) instead'
            ) from error
        sampler['policy'] = policy
    dataloader['sampler'] = sampler


def _set_loop(train_cfg: Any, scope: Optional[str], options: Options) -> None:
    cls = loop_class(train_cfg, scope)
    by_iter = issubclass(cls, (InfoBatchIterLoop, IterBasedTrainLoop))
    if not issubclass(cls, (InfoBatchIterLoop, InfoBatchEpochLoop)):
        train_cfg['type'] = 'InfoBatchIterLoop' if by_iter else 'InfoBatchEpochLoop'
        train_cfg.pop('fast_forward_on_resume', None)  # InfoBatch's loops replay no batches
    train_cfg.pop('by_epoch', None)  # mmengine takes it only without a type
    for name in ('val_begin', 'val_interval'):
        if isinstance(train_cfg.get(name), bool):  # mmengine's loops take True for 1
            train_cfg[name] = int(train_cfg[name])
    if options.budget is not None:
        if not by_iter:
            raise ValueError(
                f'budget={options.budget!r} is for runs by iteration, but this one is by epoch; '
                'remove budget'
            )
        train_cfg['budget'] = options.budget


def _set_import(cfg: Config) -> None:
    """Import the package when the config is loaded."""
    imports = dict(cfg.get('custom_imports') or dict(allow_failed_imports=False))
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if PACKAGE not in names:
        imports['imports'] = [*names, PACKAGE]
    cfg.custom_imports = imports
