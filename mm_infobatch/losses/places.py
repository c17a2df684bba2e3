"""Detects that a loss or the batch augmentation of a model has been replaced."""

from typing import Any, List, Sequence, Tuple

from torch import nn

from .wrapper import InfoBatchLoss


class Places:
    """The paths of the wrapped losses and of the ``batch_augments`` in a model.

    A hook may replace them in the middle of a pass. Checking takes a few look-ups for each loss.

    Args:
        model (nn.Module): The model, without the wrapper of a distributed run.
        losses (Sequence[InfoBatchLoss]): Its wrapped losses.
    """

    def __init__(self, model: nn.Module, losses: Sequence[InfoBatchLoss]) -> None:
        self._model = model
        self._losses: List[Tuple[List[str], nn.Module]] = [
            (path.split('.'), module) for path, module in model.named_modules() if module in losses
        ]
        self._augment = self._batch_augments()

    def _batch_augments(self) -> Any:
        return getattr(getattr(self._model, 'data_preprocessor', None), 'batch_augments', None)

    def changed(self) -> bool:
        """Whether one of them was replaced."""
        return self._batch_augments() is not self._augment or any(
            self._at(path) is not loss for path, loss in self._losses
        )

    def _at(self, path: Sequence[str]) -> Any:
        module: Any = self._model
        for name in path:
            module = None if module is None else module._modules.get(name)
        return module
