"""The momentum of PyTorch's ``OneCycleLR``, which mmengine's lacks."""

import math
from typing import Any, List, Optional

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.registry import PARAM_SCHEDULERS

from ..arguments import require_bool, require_number

INF = int(1e9)


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, _ParamScheduler):
    """Lower the momentum while ``OneCycleLR`` raises the learning rate, and the other way around.

    What ``torch.optim.lr_scheduler.OneCycleLR`` does with ``cycle_momentum=True``, its default:
    from ``max_momentum`` to ``base_momentum`` and back, by the same phases as the learning rate.
    For optimizers like Adam it is the first of the ``betas``. Use it beside mmengine's
    ``OneCycleLR``, with the same ``total_steps``, ``pct_start``, ``anneal_strategy`` and
    ``three_phase``::

        param_scheduler = [
            dict(type='OneCycleLR', eta_max=0.05, total_steps=200, convert_to_iter_based=True),
            dict(type='OneCycleMomentum', total_steps=200, convert_to_iter_based=True),
        ]

    Args:
        optimizer (Optimizer or BaseOptimWrapper): The optimizer, given by mmengine.
        base_momentum (float): The momentum at the peak of the learning rate. Defaults to 0.85.
        max_momentum (float): The momentum at the start and at the end. Defaults to 0.95.
        total_steps (int, optional): The length of the cycle. Defaults to None: from ``begin`` to
            ``end``.
        pct_start (float): The share of the cycle in which the momentum falls. Defaults to 0.3.
        anneal_strategy (str): 'cos' or 'linear'. Defaults to 'cos'.
        three_phase (bool): Whether the momentum rises in as many steps as it falls, and then stays.
            Defaults to False.
        begin (int): The step at which the cycle begins. Defaults to 0.
        end (int): The step at which it ends. Defaults to INF.
        last_step (int): The last step, in mmengine's meaning. Defaults to -1.
        by_epoch (bool): Whether steps are epochs. Defaults to True.
        verbose (bool): Whether to print each value. Defaults to False.

    Raises:
        ValueError: If an argument is out of range, or the optimizer has no momentum.
    """

    def __init__(
        self,
        optimizer: Any,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        total_steps: Optional[int] = None,
        pct_start: float = 0.3,
        anneal_strategy: str = 'cos',
        three_phase: bool = False,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        line = "dict(type='OneCycleMomentum', base_momentum=0.85, max_momentum=0.95)"
        for name, value in (('base_momentum', base_momentum), ('max_momentum', max_momentum)):
            if not 0 <= require_number(name, value, 'in [0, 1)', line) < 1:
                raise ValueError(f'{name}={value!r} has to lie in [0, 1); write {line}')
        if not 0 <= pct_start <= 1:
            raise ValueError(
                f'pct_start={pct_start!r} has to lie in [0, 1]: it is the share of the cycle in '
                f'which the momentum falls; write {line[:-1]}, pct_start=0.3)'
            )
        if anneal_strategy not in ('cos', 'linear'):
            raise ValueError(
                f"anneal_strategy={anneal_strategy!r} is neither 'cos' nor 'linear'; write "
                f"{line[:-1]}, anneal_strategy='cos')"
            )
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.total_steps = end - begin if total_steps is None else total_steps
        if self.total_steps < 1:
            raise ValueError(f'total_steps={total_steps!r} has to be at least 1')
        require_bool('three_phase', three_phase, f'{line[:-1]}, three_phase=True)')
        self.pct_start, self.anneal_strategy = pct_start, anneal_strategy
        self.three_phase = three_phase
        super().__init__(
            optimizer,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: Any,
        *,
        begin: int = 0,
        end: int = INF,
        total_steps: Optional[int] = None,
        by_epoch: bool = True,
        epoch_length: Optional[int] = None,
        **kwargs: Any,
    ) -> 'OneCycleMomentum':
        """Build a scheduler by iteration from settings in epochs, as mmengine's do."""
        assert by_epoch and epoch_length is not None and epoch_length > 0
        return cls(
            optimizer,
            begin=int(begin * epoch_length),
            end=end if end == INF else int(end * epoch_length),
            total_steps=None if total_steps is None else total_steps * epoch_length,
            by_epoch=False,
            **kwargs,
        )

    def _value(self) -> float:
        """The momentum at ``last_step``, by PyTorch's arithmetic; after the cycle, its last."""
        down, last = self.pct_start * self.total_steps - 1, self.total_steps - 1.0
        up = 2 * down if self.three_phase else last
        step, top, base = min(self.last_step, last), self.max_momentum, self.base_momentum
        if step <= down:
            share, start, end = step / down if down else 1.0, top, base
        elif step <= up:
            share, start, end = (step - down) / (up - down), base, top
        else:
            return top
        if self.anneal_strategy == 'linear':
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    def _get_value(self) -> List[float]:
        return [self._value()] * len(self.optimizer.param_groups)
