"""Refuses configs that cannot be converted, with the reason."""

import inspect
from typing import Any, Dict, Optional

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, DATASETS, LOOPS, MODELS, TASK_UTILS, TRANSFORMS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from ..loops import InfoBatchEpochLoop, InfoBatchIterLoop
from ..losses.whole_batch import REASONS, TEXT, TRANSFORM_REASONS, is_text_class
from ..sampler import InfoBatchSampler
from .config_tree import ConfigPath, dotted, nodes
from .registered import overridden, registered, resolve, toolbox_names, type_name


class CannotConvert(ValueError):
    """A config that cannot be converted.

    Args:
        reason (str): The reason, the same for all configs of its kind.
        where (str): The value in this config, and what to change.

    Attributes:
        reason (str): The reason.
    """

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f'{reason}: {where}')
        self.reason = reason


REPEATED = 'repeated augmentation trains several copies of a sample in a batch'
NO_LOSS = 'it computes its loss without a registered loss module, so there is nothing to wrap'
NO_TRAINING = 'it has no training section'
SAMPLER = 'its sampler does more than shuffle, and InfoBatchSampler would replace it'
LOOP = "its training loop is not one of mmengine's, and a loop of InfoBatch would replace it"
BROKEN = 'a part of the config cannot be built'
STOCK_SAMPLER = "sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True)"


def is_text_model(kind: Any, scope: Optional[str]) -> bool:
    """Whether a ``type`` is one of mmpretrain's models of images and texts.

    If ``transformers`` is not installed, mmpretrain registers a function instead of each class.
    """
    cls = registered(kind, scope, MODELS)
    if inspect.isfunction(cls):
        return cls.__module__ == 'mmpretrain.utils.dependency'
    return isinstance(cls, type) and is_text_class(cls)


def check_sections(cfg: Any) -> None:
    """Refuse a config in which a section that is read here is not a dict, or ``custom_hooks`` not a
    list.

    Raises:
        CannotConvert: If one is something else.
    """
    sections: Dict[str, Any] = {
        name: cfg.get(name)
        for name in ('train_dataloader', 'train_cfg', 'default_hooks', 'custom_imports')
    }
    if isinstance(sections['train_dataloader'], dict):
        sections['train_dataloader.sampler'] = sections['train_dataloader'].get('sampler')
    for name, value in sections.items():
        if value is not None and not isinstance(value, dict):
            raise CannotConvert(BROKEN, f'{name}={value!r}; write {name}=dict(...)')
    hooks = cfg.get('custom_hooks')
    if hooks is not None and not isinstance(hooks, (list, tuple)):
        raise CannotConvert(BROKEN, f'custom_hooks={hooks!r}; write custom_hooks=[dict(...)]')


def check_model(model: Any, scope: Optional[str]) -> None:
    """Refuse models whose loss belongs to no single sample.

    Raises:
        CannotConvert: If the model or one of its parts is such a class.
    """
    if not isinstance(model, dict):
        raise CannotConvert(BROKEN, f'model={model!r}; write model=dict(...)')
    if is_text_model(model.get('type'), model.get('_scope_', scope)):
        name = type_name(model['type'])
        raise CannotConvert(TEXT, f'model.type={name!r}; train it without InfoBatch')
    for path, node, inner in nodes(model, scope, ('model',)):
        _check_type(path, node.get('type'), inner, REASONS, MODELS, TASK_UTILS)


def _check_type(
    path: ConfigPath, kind: Any, scope: Optional[str], reasons: Dict[str, str], *registries: Any
) -> None:
    """Refuse a ``type`` that is, or inherits from, a toolbox's class that has a reason."""
    for name in sorted(toolbox_names(kind, scope, *registries) & reasons.keys()):
        where = f'{dotted(path)}.type={type_name(kind)!r}; train it without InfoBatch'
        raise CannotConvert(reasons[name], where)


def check_data(dataloader: Any, scope: Optional[str] = None) -> None:
    """Refuse a training dataloader whose batches are not one view of each sample that was drawn.

    Raises:
        CannotConvert: If the dataset makes several views, or a sampler does more than shuffle.
    """
    root = ('train_dataloader', 'dataset')
    for path, node, inner in nodes(dataloader.get('dataset'), scope, root):
        registry = DATASETS if {'pipeline', 'transforms'}.isdisjoint(path) else TRANSFORMS
        _check_type(path, node.get('type'), inner, TRANSFORM_REASONS, registry)
    if dataloader.get('batch_sampler') is not None:
        raise CannotConvert(
            SAMPLER,
            f'train_dataloader.batch_sampler={dataloader["batch_sampler"]!r} may regroup '
            'samples; remove it, or train without InfoBatch',
        )
    sampler_class(dataloader.get('sampler'), scope)


def sampler_class(sampler: Any, scope: Optional[str]) -> type:
    """The class of a training dataloader's sampler.

    Args:
        sampler (dict, optional): The config of the sampler.
        scope (str, optional): The scope in which its type is looked up.

    Returns:
        type: ``InfoBatchSampler`` or a subclass of it, or the sampler of mmengine that draws the
        same samples.

    Raises:
        CannotConvert: If it is any other sampler.
    """
    if sampler is None:  # PyTorch's own sampler
        return DefaultSampler
    kind = sampler.get('type')
    where = f'train_dataloader.sampler.type={type_name(kind)!r}'
    if 'RepeatAugSampler' in toolbox_names(kind, scope, DATA_SAMPLERS):
        raise CannotConvert(REPEATED, f'{where}; write {STOCK_SAMPLER} to train without it')
    cls = resolve(kind, scope, DATA_SAMPLERS)
    if cls is not None and issubclass(cls, InfoBatchSampler):
        return cls
    for base in (DefaultSampler, InfiniteSampler):
        if cls is None or not issubclass(cls, base):
            continue
        changed = overridden(cls, base)
        if changed:
            where += f' overrides {", ".join(changed)} of {base.__name__}'
            break
        if sampler.get('round_up', True) is False:
            raise CannotConvert(
                SAMPLER,
                'train_dataloader.sampler.round_up=False gives the ranks different numbers of '
                'samples, so that training with InfoBatch would deadlock; remove it',
            )
        return base
    raise CannotConvert(
        SAMPLER,
        f'{where}; write {STOCK_SAMPLER} if the order does not matter, or make it a subclass of '
        'InfoBatchSampler',
    )


def loop_class(train_cfg: Dict[str, Any], scope: Optional[str]) -> type:
    """The class of a training loop.

    Args:
        train_cfg (dict): The config of the loop.
        scope (str, optional): The scope in which its type is looked up.

    Returns:
        type: A loop of InfoBatch or a subclass of it, or the loop of mmengine that trains the same.

    Raises:
        CannotConvert: If it is any other loop.
    """
    kind = train_cfg.get('type')
    if kind is None:
        return IterBasedTrainLoop if 'max_iters' in train_cfg else EpochBasedTrainLoop
    where = f'train_cfg.type={type_name(kind)!r}'
    cls = resolve(kind, scope, LOOPS)
    if cls is not None and issubclass(cls, (InfoBatchIterLoop, InfoBatchEpochLoop)):
        return cls
    for base in (IterBasedTrainLoop, EpochBasedTrainLoop):
        if cls is None or not issubclass(cls, base):
            continue
        changed = overridden(cls, base)
        if not changed:
            return base
        where += f' overrides {", ".join(changed)} of {base.__name__}'
    raise CannotConvert(
        LOOP,
        f"{where}; write type='IterBasedTrainLoop' or 'EpochBasedTrainLoop', or make it a "
        'subclass of InfoBatchIterLoop or InfoBatchEpochLoop',
    )


def check_replaced_sampler(old: Any, cls: type) -> None:
    """Refuse settings of a stock sampler that it does not take: they may be meant for InfoBatch's.

    Args:
        old (dict): The config of the stock sampler.
        cls (type): Its class.

    Raises:
        ValueError: If there is such a setting.
    """
    for key in old:
        if key not in ('type', '_scope_', *inspect.signature(cls).parameters):
            raise ValueError(
                f'train_dataloader.sampler.{key}={old[key]!r} is not a setting of {cls.__name__}, '
                'which InfoBatchSampler is about to replace, so it would be lost; set '
                '--infobatch-options delta=... policy=..., or convert the config and change the '
                'result'
            )
