"""Configs that InfoBatch cannot be switched on for, each with the reason."""

from typing import Any, Dict, Iterator, Optional, Tuple

from .config_losses import Path, dotted, name_of, resolve


class CannotConvert(ValueError):
    """A config for which InfoBatch cannot be switched on.

    Args:
        reason (str): The reason, the same for all configs of its kind.
        where (str): The value of this config that it is about, and what to do.

    Attributes:
        reason (str): The reason.
    """

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f'{reason}: {where}')
        self.reason = reason


VIEWS = (
    'contrastive or multi-crop self-supervision compares views of all samples in a batch, so '
    'no sample has a loss of its own'
)
REPEATED = 'repeated augmentation trains several copies of a sample in a batch'
SETS = (
    'a set loss matches queries to objects and divides by the objects of the whole batch, so '
    'no image has a loss of its own'
)
TOKENS = (
    'its head merges the tokens of all samples before the loss, so that no row of the loss '
    'belongs to one sample'
)
MIXED = 'it mixes the images of a batch inside the backbone, and no sample has a loss of its own'
TEXT = (
    'its loss is over the tokens of texts, or over all pairs of images and texts of a batch, '
    'so that no row of it belongs to one sample'
)
NO_LOSS = 'it computes its loss without a registered loss module, so there is nothing to wrap'
NO_TRAINING = 'it has no training section'
SAMPLER = 'its sampler does more than shuffle, which replacing it by InfoBatchSampler would undo'
LOOP = "its training loop is none of mmengine's"

# Heads by the names of their classes and of those that they inherit from
HEADS: Dict[str, str] = {
    'MaskFormerHead': SETS,
    'Mask2FormerHead': SETS,
    'SideAdapterCLIPHead': SETS,
    'BEiTV1Head': TOKENS,
    'BEiTV2Head': TOKENS,
    'CAEHead': TOKENS,
    'iTPNClipHead': TOKENS,
    'MixMIMPretrainHead': MIXED,
    'ContrastiveHead': VIEWS,
    'LatentPredictHead': VIEWS,
    'LatentCrossCorrelationHead': VIEWS,
    'MoCoV3Head': VIEWS,
    'SwAVHead': VIEWS,
}
# mmpretrain's models of images and texts, by what their names begin with (their classes exist only
# where transformers is installed)
MULTIMODAL = ('Blip', 'ChineseCLIP', 'CLIP', 'Flamingo', 'Llava', 'MiniGPT4', 'OFA', 'Otter', 'RAM')
# Samplers that only shuffle, and whether they never end
SAMPLERS = {'DefaultSampler': False, 'InfiniteSampler': True}


def nodes(node: Any, path: Path = ()) -> Iterator[Tuple[Path, dict]]:
    """Every dictionary of a config, with its path."""
    if isinstance(node, dict):
        yield path, node
        children: Any = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    else:
        return
    for key, value in children:
        yield from nodes(value, path + (key,))


def check_model(model: Any, scope: Optional[str]) -> None:
    """Refuse models whose loss belongs to no single sample.

    Raises:
        CannotConvert: If the model has such a head.
    """
    root = name_of(model.get('type')).split('.')[-1]
    if root.startswith(MULTIMODAL):
        raise CannotConvert(TEXT, f'model.type={root!r}; train it without InfoBatch')
    for path, node in nodes(model):
        kind = name_of(node.get('type')).split('.')[-1]
        where = f'{dotted(("model",) + path)}.type={kind!r}'
        cls = resolve(node.get('type'), node.get('_scope_', scope))
        for name in [kind] + [base.__name__ for base in cls.__mro__] if cls else [kind]:
            if name in HEADS:
                raise CannotConvert(HEADS[name], f'{where}; train it without InfoBatch')
        if node.get('assigner') is not None:
            raise CannotConvert(SETS, f'{where} has an assigner; train it without InfoBatch')


def check_data(dataloader: Any) -> None:
    """Refuse a training dataloader whose batches are not one view of each of the sampler's samples.

    Raises:
        CannotConvert: If it is one.
    """
    if not isinstance(dataloader, dict):
        raise CannotConvert(NO_TRAINING, f'train_dataloader={dataloader!r}; give it a config')
    for path, node in nodes(dataloader.get('dataset')):
        if name_of(node.get('type')).split('.')[-1] == 'MultiView':
            raise CannotConvert(
                VIEWS,
                f"train_dataloader.dataset.{dotted(path)}.type='MultiView'; train it "
                'without InfoBatch',
            )
    if dataloader.get('batch_sampler') is not None:
        raise CannotConvert(
            SAMPLER,
            f'train_dataloader.batch_sampler={dataloader["batch_sampler"]!r} may regroup '
            'samples; remove it, or train without InfoBatch',
        )
    sampler = dataloader.get('sampler') or dict(type='DefaultSampler', shuffle=True)
    kind = name_of(sampler.get('type')).split('.')[-1]
    if kind == 'RepeatAugSampler':
        raise CannotConvert(
            REPEATED,
            f'train_dataloader.sampler.type={kind!r}; write '
            "sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True) to train without it",
        )
    if kind != 'InfoBatchSampler' and kind not in SAMPLERS:
        raise CannotConvert(
            SAMPLER,
            f'train_dataloader.sampler.type={kind!r}; write '
            "sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True) if that is meant",
        )
    if sampler.get('round_up', True) is False:
        raise CannotConvert(
            SAMPLER,
            'train_dataloader.sampler.round_up=False gives the processes shares of '
            'unequal length, of which the longer would wait for ever; remove it',
        )
