"""Refuses parts of models whose loss belongs to no single sample, with the reason."""

from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from mmengine.model import is_model_wrapper
from torch import nn

from .is_loss import in_package, toolbox_bases
from .search import UNWEIGHTED_LINE, is_named, wrapped_losses

VIEWS = (
    'contrastive or multi-crop self-supervision compares views of all samples in a batch, so '
    'no sample has a loss of its own'
)
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

# Classes of parts of a model, by name. Models of texts are those of a package: see is_text_class.
REASONS: Dict[str, str] = {
    'BaseAssigner': SETS,
    'HungarianAssigner': SETS,
    'MaskHungarianAssigner': SETS,
    'MaskFormerHead': SETS,
    'Mask2FormerHead': SETS,
    'SideAdapterCLIPHead': SETS,
    'BEiTV1Head': TOKENS,
    'BEiTV2Head': TOKENS,
    'CAEHead': TOKENS,
    'iTPNClipHead': TOKENS,
    'MixMIM': MIXED,  # whatever its head, as the algorithms below
    'MixMIMPretrainHead': MIXED,
    'BarlowTwins': VIEWS,
    'DenseCL': VIEWS,
    'MoCo': VIEWS,
    'MoCoV3': VIEWS,
    'SimCLR': VIEWS,
    'SwAV': VIEWS,
    'ContrastiveHead': VIEWS,
    'LatentPredictHead': VIEWS,
    'LatentCrossCorrelationHead': VIEWS,
    'MoCoV3Head': VIEWS,
    'SwAVHead': VIEWS,
    'GroundingHead': TEXT,
    'ITCHead': TEXT,
    'ITMHead': TEXT,
    'SeqGenerationHead': TEXT,
    'VQAGenerationHead': TEXT,
}
# Classes of transforms
TRANSFORM_REASONS: Dict[str, str] = {'MultiView': VIEWS}


def is_text_class(cls: type) -> bool:
    """Whether a class is one of mmpretrain's models of images and texts."""
    return any(in_package(base.__module__, 'mmpretrain.models.multimodal') for base in cls.__mro__)


def reason_of(cls: type, reasons: Dict[str, str] = REASONS) -> Optional[Tuple[str, str]]:
    """The toolbox's class that a class is or inherits from, and why it is refused.

    Args:
        cls (type): The class of a part of a model, or of a transform.
        reasons (dict): From names of the toolboxes' classes to reasons.

    Returns:
        tuple[str, str], optional: Name and reason; None if it is not refused.
    """
    names = sorted(toolbox_bases(cls) & reasons.keys())
    if not names:
        return None
    name = cls.__name__ if cls.__name__ in names else names[0]
    return name, reasons[name]


def check_whole_batch(model: nn.Module, unweighted: Sequence[str] = ()) -> None:
    """Refuse a model with a part whose loss belongs to no single sample.

    A part that has no wrapped loss, and a loss that is named as one without weights, may stay.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.
        unweighted (Sequence[str]): The losses that are meant to carry no weights, see
            :func:`~mm_infobatch.losses.search.check_plain_losses`. Defaults to (): none.

    Raises:
        ValueError: If it has one.
    """
    for path, part in parts_of(model):
        if path == 'model' and is_text_class(type(part)):
            raise _refusal(path, type(part), type(part).__name__, TEXT)
        for held in [part, *_held_by(part)]:
            refused = reason_of(type(held))
            if refused is not None and not _is_unweighted(path, part, unweighted):
                raise _refusal(path, type(held), *refused, has=held is not part)


def parts_of(module: Any, path: str = 'model') -> Iterator[Tuple[str, nn.Module]]:
    """A model and all modules in it, by paths that leave out the wrappers of a distributed run."""
    module = module.module if is_model_wrapper(module) else module
    yield path, module
    for name, child in module.named_children():
        yield from parts_of(child, f'{path}.{name}')


def _held_by(part: nn.Module) -> List[Any]:
    """The attributes of a module that are not modules, such as an assigner."""
    return [value for value in vars(part).values() if not isinstance(value, (type, nn.Module))]


def _is_unweighted(path: str, part: nn.Module, unweighted: Sequence[str]) -> bool:
    """Whether the losses of a part are meant to carry no weights, and carry none."""
    if wrapped_losses(part):
        return False
    return any(is_named(path, [name]) or is_named(name, [path]) for name in unweighted)


def _refusal(path: str, cls: type, base: str, reason: str, has: bool = False) -> ValueError:
    kind = base if cls.__name__ == base else f'{cls.__name__}, a {base}'
    named = UNWEIGHTED_LINE.format(repr(path))
    return ValueError(
        f'{path} {"has" if has else "is"} a {kind}, which cannot be trained with InfoBatch: '
        f'{reason}; train it without InfoBatch (without InfoBatchSampler, InfoBatchHook, '
        "InfoBatchLoss and InfoBatch's loop). Beside other losses that are wrapped, it may stay if "
        f'its own loss is meant to carry no weights, is not wrapped, and is named: {named}'
    )
