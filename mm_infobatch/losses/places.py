"""Detects that a part of a model, or its batch augmentation, has been added or replaced."""

from itertools import chain
from typing import Any, List

from torch import nn


class Places:
    """The parts of a model, and its ``batch_augments``.

    A hook may replace a loss in the middle of a pass, or add one. :meth:`changed`, which is called
    in each step, compares the children of all modules without walking the model.

    Args:
        model (nn.Module): The model, without the wrapper of a distributed run.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        children = [module._modules for module in model.modules()]
        self._children = [named for named in children if named]
        self._leaves = [named for named in children if not named]
        self._parts = self._current_parts()
        self._augment = self._batch_augments()

    def _current_parts(self) -> List[Any]:
        return [*chain.from_iterable(named.values() for named in self._children)]

    def _batch_augments(self) -> Any:
        return getattr(getattr(self._model, 'data_preprocessor', None), 'batch_augments', None)

    def changed(self) -> bool:
        """Whether a part was added, removed or replaced, or the batch augmentation."""
        return (
            self._batch_augments() is not self._augment
            or any(self._leaves)
            or self._current_parts() != self._parts
        )
