"""Finds the losses of a model, those that are wrapped and those that are not."""

from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple

from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS, Registry
from torch import nn

from .is_loss import is_loss
from .wrapper import InfoBatchLoss

LOSS_LINE = (
    "loss_decode=dict(_delete_=True, type='InfoBatchLoss', loss=dict(...)) in each head "
    'of the model (in mmpretrain: loss=)'
)
UNWEIGHTED_LINE = "custom_hooks=[dict(type='InfoBatchHook', unweighted=[{}])]"


def unwrap(model: nn.Module) -> Any:
    """The model itself, without the wrapper of a distributed run."""
    return model.module if is_model_wrapper(model) else model


def is_only_logged(model: nn.Module, path: str, loss: nn.Module) -> bool:
    """Whether mmseg logs a loss and does not train it.

    Most heads of mmseg name what they evaluate by the ``loss_name`` of their ``loss_decode``, and
    mmengine's ``parse_losses`` adds up what has 'loss' in its name.

    Args:
        model (nn.Module): The model, without the wrapper of a distributed run.
        path (str): Where the loss is in it, as ``'decode_head.loss_decode.1'``.
        loss (nn.Module): The loss, wrapped or not.
    """
    name = getattr(loss, 'loss_name', 'loss')
    parts = path.split('.')
    if parts[0] not in ('decode_head', 'auxiliary_head') or not isinstance(name, str):
        return False
    return 'loss' not in name and 'loss_decode' in parts and _logs_by_name(_head_at(model, parts))


def _head_at(model: nn.Module, path: Sequence[str]) -> nn.Module:
    """The module whose ``loss_decode`` a path names, with or without wrappers of its parts."""
    for part in path[: path.index('loss_decode')]:
        model = getattr(model if hasattr(model, part) else unwrap(model), part)
    return unwrap(model)


def _logs_by_name(head: nn.Module) -> bool:
    """Whether a head names its losses by their ``loss_name``. PIDNet's and DDRNet's give them names
    of their own, and so may a user's whose ``loss`` calls no ``loss_by_feat``."""
    called = _names_in(type(head), 'loss')
    own = bool(called) and not {'loss', 'loss_by_feat', 'loss_name'} & set(called)
    return not own and 'loss_name' in _names_in(type(head), 'loss_by_feat')


def _names_in(cls: type, method: str) -> Sequence[str]:
    """The names in the code of a method, of the base class where it calls that by ``super()``."""
    for base in cls.__mro__:
        code = getattr(vars(base).get(method), '__code__', None)
        if code is not None and 'super' not in code.co_names:
            names: Sequence[str] = code.co_names
            return names
    return ()


def in_containers(module: nn.Module) -> Iterator[Tuple[str, nn.Module]]:
    """The modules that a module keeps in lists and dicts, and in those inside them, that PyTorch
    does not know as modules, with the name of the list or dict and the indices and keys."""
    seen: Set[int] = set()  # a container may hold itself

    def walk(path: str, value: Any) -> Iterator[Tuple[str, nn.Module]]:
        items = enumerate(value) if isinstance(value, (list, tuple)) else ()
        for key, held in value.items() if isinstance(value, dict) else items:
            if isinstance(held, nn.Module):
                yield f'{path}.{key}', held
            elif isinstance(held, (list, tuple, dict)) and id(held) not in seen:
                seen.add(id(held))
                yield from walk(f'{path}.{key}', held)

    for name, value in vars(module).items():
        if name != '_modules':
            yield from walk(name, value)


def wrapped_losses(part: nn.Module) -> Dict[InfoBatchLoss, str]:
    """The wrapped losses of a model or of a part of it, with their paths.

    A part may also keep losses in a list or a dict that PyTorch does not know as a module.
    """
    paths: Dict[InfoBatchLoss, str] = {}
    for path, module in part.named_modules():
        if isinstance(module, InfoBatchLoss):
            paths[module] = path
        for place, held in in_containers(module):
            if isinstance(held, InfoBatchLoss):
                paths.setdefault(held, f'{path}.{place}' if path else place)
    return paths


def find_losses(model: nn.Module) -> List[InfoBatchLoss]:
    """The wrapped losses that a model trains.

    Raises:
        ValueError: If there is none, or none that gives scores.
    """
    model = unwrap(model)
    losses = [
        loss
        for loss, path in wrapped_losses(model).items()
        if not is_only_logged(model, path, loss)
    ]
    if not losses:
        raise ValueError(
            f'no loss of {type(model).__name__} is an InfoBatchLoss, so nothing would be '
            f'weighted or scored; write {LOSS_LINE}'
        )
    if not any(loss.score for loss in losses):
        raise ValueError(
            'every InfoBatchLoss has score=False, so no sample would get a score; '
            'remove it from at least one'
        )
    return losses


def registered_classes(registry: Registry = MODELS) -> Set[Any]:
    """The classes that are registered in a registry or in one below it."""
    classes = set(registry.module_dict.values())
    for child in registry.children.values():
        classes |= registered_classes(child)
    return classes


def plain_losses(model: nn.Module) -> Dict[str, nn.Module]:
    """The registered losses of a model that are not wrapped, by their paths.

    Losses inside a wrapped one belong to it. PyTorch's own losses are not registered: a model may
    have one that only measures. One that mmseg only logs needs no weights.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.

    Returns:
        dict: From paths such as ``'model.auxiliary_head.loss_decode'`` to the losses.
    """
    registered = registered_classes()
    wrapped = {id(wrapper.loss) for wrapper in wrapped_losses(model)}
    known = {id(module) for module in model.modules()}

    def children(module: nn.Module) -> Iterator[Tuple[str, Any]]:
        yield from module.named_children()
        for place, held in in_containers(module):  # a teacher hidden there is not searched
            if id(held) not in known and is_loss(type(held), place.partition('.')[0]):
                yield place, held

    def walk(module: Any, path: str, key: str) -> Iterator[Tuple[str, nn.Module]]:
        for name, child in children(module):
            if is_model_wrapper(child):  # of a part of the model
                child = child.module
            here, nearest = f'{path}.{name}', key if name.isdigit() else name.partition('.')[0]
            if isinstance(child, InfoBatchLoss) or id(child) in wrapped:
                continue
            if is_loss(type(child), nearest) and not registered.isdisjoint(type(child).__mro__):
                if not is_only_logged(unwrap(model), here.partition('.')[2], child):
                    yield here, child
            else:
                yield from walk(child, here, nearest)

    return dict(walk(unwrap(model), 'model', ''))


def is_named(path: str, names: Sequence[str]) -> bool:
    """Whether one of the names is the path of a loss, or of a part of the model that contains it.
    In mmpretrain the parameter ``loss`` of a head becomes its attribute ``loss_module``."""
    paths = (path, path.replace('.loss_module', '.loss'))
    return any(f'{known}.'.startswith(f'{name}.') for known in paths for name in names)


def check_plain_losses(model: nn.Module, unweighted: Sequence[str] = ()) -> None:
    """Refuse a model with a loss that carries no weights, beside wrapped ones.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.
        unweighted (Sequence[str]): The losses that are meant to carry none, or parts of the model
            that they are in, as ``'model.teacher'``. Defaults to (): none.

    Raises:
        ValueError: If there is one that is not named.
    """
    plain = plain_losses(model)
    left = [path for path in plain if not is_named(path, unweighted)]
    if not left:
        return
    path, names = left[0], ', '.join(f'{path} ({type(plain[path]).__name__})' for path in left)
    named = UNWEIGHTED_LINE.format(', '.join(map(repr, [*unweighted, *left])))
    raise ValueError(
        f'{names} would carry no weights beside the losses that are wrapped, so pruning would '
        'shift the gradient. Write '
        f'{line_of(path, type(plain[path]).__name__)}, with score=False in it for a loss that is '
        'weighted but gives no scores. A loss that is meant to carry no weights, such as one '
        f'that training never calls or that of a frozen teacher, has to be named: {named}'
    )


def line_of(path: str, name: str) -> str:
    """What to write in a config for the loss at a path."""
    parts = path.replace('.loss_module', '.loss').split('.')
    place = f' at position {parts.pop()} of the list' if parts[-1].isdigit() else ''
    loss = f"dict(_delete_=True, type='InfoBatchLoss', loss=dict(type={name!r}, ...))"
    return f'{".".join(parts)}={loss}{place}'


def require_unweighted(paths: Any) -> Sequence[str]:
    """Check the argument ``unweighted`` of :class:`~mm_infobatch.InfoBatchHook`.

    Raises:
        TypeError: If it is not a list of strings.
    """
    if not isinstance(paths, (list, tuple)) or not all(isinstance(path, str) for path in paths):
        raise TypeError(
            f'unweighted={paths!r} has to be a list of paths; write '
            + UNWEIGHTED_LINE.format("'model.teacher.head.loss'")
        )
    return paths


def check_unweighted(model: nn.Module, unweighted: Sequence[str]) -> None:
    """Refuse names of losses that a model does not have.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.
        unweighted (Sequence[str]): The names.

    Raises:
        ValueError: If one names no loss that carries no weights.
    """
    plain = plain_losses(model)
    for name in unweighted:
        if not any(is_named(path, [name]) for path in plain):
            listed = ', '.join(plain) or 'none'
            raise ValueError(
                f'unweighted={list(unweighted)} names {name!r}, where the model has no loss that '
                f'is not wrapped; those that are not wrapped: {listed}'
            )
