"""Compares the loss that a model trains with the sum of its wrapped losses, in one batch."""

import math
from typing import Any, Dict, Optional, Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from .call import is_trained
from .search import LOSS_LINE
from .wrapper import InfoBatchLoss


def unweighted_warning(total: float, wrapped: float) -> Optional[str]:
    """Compare the loss that a model trained with the sum of its wrapped losses.

    Args:
        total (float): The loss that the model trained.
        wrapped (float): The sum of the wrapped losses.

    Returns:
        str, optional: A warning, if they differ.
    """
    if not math.isfinite(total) or math.isclose(total, wrapped, rel_tol=1e-3, abs_tol=1e-6):
        return None
    return (
        f'the model trains a loss of {total:.6g}, of which {wrapped:.6g} comes from '
        'InfoBatchLoss: the rest carries no weights, so pruning shifts its gradient. Wrap '
        f'every loss that the model trains ({LOSS_LINE}). If a head scales its losses after it has '
        'evaluated them, their gradient is weighted all the same, but scores add them up without '
        'the factor: write it as the loss_weight of the loss'
    )


def logged_total(outputs: Dict[str, Any], has_own: bool) -> Optional[Tensor]:
    """The loss that a model trained, from what its ``train_step`` returned.

    Args:
        outputs (dict): The log variables.
        has_own (bool): Whether ``loss`` in them is a head's, which overwrites the total.

    Returns:
        Tensor, optional: ``loss``, or one that is called a total; else the sum of all losses, as
        ``parse_losses`` adds them up; None where there is none.
    """
    losses = {
        name: torch.as_tensor(value).detach().float().mean()
        for name, value in outputs.items()
        if 'loss' in name and isinstance(value, (Tensor, float))
    }
    totals = [name for name in losses if name == 'loss' and not has_own or 'total' in name]
    added = [losses[name] for name in totals[:1] or losses]
    return sum(added[1:], added[0]) if added else None


class TrainedLoss:
    """Compares the loss that a model trains with the sum of its wrapped losses, in one batch.

    Both stay on the device until :meth:`end_pass`.

    Args:
        model (nn.Module): The model, without the wrapper of a distributed run. It has a forward
            hook until the batch has been compared.
        batch (int): The batch of the pass in which it compares, from 0.
    """

    def __init__(self, model: nn.Module, batch: int) -> None:
        self._batches_before = batch  # how many batches come before the compared one
        self._in_step = False  # a hook may evaluate the model before and after a step
        self._total: Any = None  # the loss that the model trained in the compared batch
        self._has_own = False  # whether the model gave a loss called ``loss``
        self._wrapped: Any = None  # the sum of the wrapped losses in it
        self._watch: Any = model.register_forward_hook(self._keep)

    def stop(self) -> None:
        """Remove the hook from the model."""
        if self._watch is not None:
            self._watch.remove()
            self._watch = None

    def _keep(self, model: Any, args: Any, output: Any) -> None:
        """Keep the loss that the model trains: ``parse_losses`` of what the model returned.

        What a model evaluates without a gradient is not trained and left out.

        The log variables are not used, because a head's own key ``loss`` may overwrite the total
        there. If a model has its own ``parse_losses``, which may count its calls or change its
        argument, :meth:`end_batch` takes the total from the log variables instead.
        """
        compares = self._in_step and not self._batches_before and torch.is_grad_enabled()
        own_parser = getattr(type(model), 'parse_losses', None) is not BaseModel.parse_losses
        if compares and isinstance(output, dict):
            self._has_own = 'loss' in output
        if compares and isinstance(output, dict) and not own_parser:
            trained = {name: value for name, value in output.items() if is_trained(value)}
            with torch.no_grad():
                total = model.parse_losses(trained or output)[0]
            self._total = total if self._total is None else self._total + total

    def begin_batch(self) -> None:
        """Begin a training step."""
        self._in_step = True

    def end_batch(
        self,
        losses: Sequence[InfoBatchLoss],
        outputs: Optional[Dict[str, Any]],
        device: torch.device,
    ) -> None:
        """End a training step, before the losses drop their values.

        Args:
            losses (Sequence[InfoBatchLoss]): The wrapped losses of the model.
            outputs (dict, optional): What the model's ``train_step`` returned, for a model that
                does not return its losses from ``forward``, or adds them up itself.
            device (torch.device): Where the losses are added up.
        """
        self._in_step = False
        if self._watch is not None and not self._batches_before:
            self.stop()
            if self._total is None and isinstance(outputs, dict):
                self._total = logged_total(outputs, self._has_own)
            if self._total is not None:
                self._total = self._total.detach().clone()
            values = [loss.trained for loss in losses]
            self._wrapped = sum(value.to(device) for value in values if value is not None)
        self._batches_before = max(0, self._batches_before - 1)

    def drop_batch(self) -> None:
        """Leave a training step that failed."""
        self._in_step = False

    def end_pass(self) -> Optional[str]:
        """Read what was kept on the device; waits for it.

        Returns:
            str, optional: A warning, if a part of the loss carried no weights.
        """
        self.stop()  # of a pass that ended before
        total, self._total = self._total, None
        return None if total is None else unweighted_warning(float(total), float(self._wrapped))
