"""Asks the policy for plans, and tells it what it wants to know of the run."""

import inspect
from typing import Any, Callable, Dict, Optional, Union

import torch
from torch import Tensor

from ..policies import Plan, build_policy
from ..policies.run import Run
from .schedule import PassSchedule


class Planner:
    """Asks the policy for the plan of a pass, and counts what the passes trained and skipped.

    A policy has ``plan(scores, generator) -> Plan``. What else it has is used:

    - ``plan(..., run)``: a third parameter of that name is given a :class:`Run`, or None where
      nobody knows how long the run is.
    - ``begin_run(run)`` is called when training starts, and may raise a ValueError.
    - ``observe(indices, losses, num_samples)`` is given all finite losses, as the ranks merge them.
    - ``state_dict()`` and ``load_state_dict(state)``: tensors and plain numbers, which become a
      part of checkpoints.

    Args:
        policy (dict or object, optional): A config for ``PRUNING_POLICIES``, or a policy. None is
            ``dict(type='SoftPruning', prune_ratio=0.5)``.
        delta (float): The share of the run in which passes may prune.
        num_passes (int, optional): The passes of the run, where no schedule tells.
        warmup_passes (int): The first passes that prune nothing.

    Raises:
        TypeError: If the policy cannot plan, or ``warmup_passes`` is no integer.
        ValueError: If ``warmup_passes`` is below 0.
    """

    def __init__(
        self,
        policy: Union[dict, Any, None],
        delta: float,
        num_passes: Optional[int],
        warmup_passes: int,
    ) -> None:
        if policy is None:
            policy = dict(type='SoftPruning', prune_ratio=0.5)
        self.policy = build_policy(policy) if isinstance(policy, dict) else policy
        if not callable(getattr(self.policy, 'plan', None)):
            raise TypeError(
                f'policy={policy!r} has no method plan(scores, generator); write '
                "policy=dict(type='SoftPruning', prune_ratio=0.5) or register one of your own in "
                'PRUNING_POLICIES'
            )
        if isinstance(warmup_passes, bool) or not isinstance(warmup_passes, int):
            raise TypeError(f'warmup_passes has to be an integer, but is {warmup_passes!r}')
        if warmup_passes < 0:
            raise ValueError(
                f'warmup_passes={warmup_passes} has to be 0 or more: it is the number '
                'of passes at the start that prune nothing'
            )
        self._delta, self._num_passes, self._warmup = delta, num_passes, warmup_passes
        self._wants_run = 'run' in inspect.signature(self.policy.plan).parameters
        self._schedule: Optional[PassSchedule] = None
        self._batch_size, self._world_size, self._drop_last = 1, 1, False
        self._trained = self._skipped = 0  # in the passes before the current one

    @property
    def observer(self) -> Optional[Callable[[Tensor, Tensor, int], None]]:
        """callable, optional: The policy's ``observe``, where it has one."""
        return getattr(self.policy, 'observe', None)

    def begin_run(
        self,
        schedule: PassSchedule,
        num_samples: int,
        batch_size: int,
        world_size: int,
        drop_last: bool,
    ) -> None:
        """Learn what run this is; see :meth:`InfoBatchSampler.begin_run`."""
        self._schedule, self._drop_last = schedule, drop_last
        self._batch_size, self._world_size = batch_size, world_size
        if hasattr(self.policy, 'begin_run'):
            run = self.run(num_samples, 0)
            assert run is not None
            self.policy.begin_run(run)

    def _trains(self, kept: int) -> int:
        """How many samples a pass of ``kept`` samples trains: all but what ``drop_last`` leaves."""
        if not self._drop_last:
            return kept
        batches = -(-kept // self._world_size) // self._batch_size
        return min(kept, batches * self._batch_size * self._world_size)

    def run(self, num_samples: int, epoch: int) -> Optional[Run]:
        """Where the run stands when pass ``epoch`` is planned; None if its length is unknown."""
        schedule = self._schedule
        if schedule is not None:
            walked, total, pass_length = schedule.walked, schedule.total, schedule.pass_length
        elif self._num_passes is not None:
            walked, total, pass_length = epoch, self._num_passes, 1
        else:
            return None
        return Run(
            pass_index=epoch,
            walked=walked,
            total=total,
            pass_length=pass_length,
            samples_per_pass=self._trains(num_samples),
            delta=self._delta,
            first=max(1, self._warmup),
            samples_trained=self._trained,
            samples_skipped=self._skipped,
            by_iterations=schedule is not None and schedule.budget == 'iterations',
            samples_per_iter=self._batch_size * self._world_size,
            drop_last=self._drop_last,
        )

    def plan(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Optional[Plan]:
        """Plan pass ``epoch``; None in the warm-up, which trains everything.

        Raises:
            ValueError: If the policy plans for another number of samples.
        """
        if epoch < self._warmup:
            return None
        more = dict(run=self.run(len(scores), epoch)) if self._wants_run else {}
        plan = self.policy.plan(scores, generator, **more)
        if not isinstance(plan, Plan):
            raise TypeError(
                f'{self.policy!r}.plan(scores, generator) gave {plan!r}; it has to '
                'return a mm_infobatch.policies.Plan(indices, weights, N)'
            )
        if plan.num_samples != len(scores):
            raise ValueError(
                f'{self.policy!r} planned for {plan.num_samples} samples, but '
                f'the dataset has {len(scores)}'
            )
        return plan

    def end_pass(self, kept: Optional[int], num_samples: int, began_again: bool) -> None:
        """Count a pass that is over.

        Args:
            kept (int, optional): How many samples it kept; None if nobody asked for its plan.
            num_samples (int): The length of the dataset.
            began_again (bool): Whether the run begins anew instead.
        """
        if began_again:
            self._trained = self._skipped = 0
        elif kept is not None:
            trained = self._trains(kept)
            self._trained += trained
            self._skipped += self._trains(num_samples) - trained

    def state_dict(self) -> Dict[str, Any]:
        """The state: ``trained``, ``skipped``, and ``policy`` where the policy has a state."""
        state: Dict[str, Any] = dict(trained=self._trained, skipped=self._skipped)
        if hasattr(self.policy, 'state_dict'):
            state['policy'] = self.policy.state_dict()
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self._trained = int(state_dict.get('trained', 0))
        self._skipped = int(state_dict.get('skipped', 0))
        if 'policy' in state_dict and hasattr(self.policy, 'load_state_dict'):
            self.policy.load_state_dict(state_dict['policy'])
