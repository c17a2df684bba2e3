"""Asks the policy for the plan of a pass, and describes the run to it."""

import inspect
from typing import Any, Callable, Dict, Optional, Union

import torch
from torch import Tensor

from ..arguments import require_integer
from ..policies import Plan, build_policy
from ..policies.run import Run
from .batch_fit import fit_to_batches, skips_unseen
from .batch_shape import BatchShape
from .sample_counter import SampleCounter
from .schedule import PassSchedule


class Planner:
    """Asks the policy for the plan of a pass, and counts the samples of the passes.

    A policy has ``plan(scores, generator) -> Plan``. It may also have the following:

    - ``plan(..., run)``: a third parameter of that name gets a :class:`Run`, or None if the length
      of the run is unknown.
    - ``begin_run(run)`` is called when training starts, and may raise a ValueError. A run that
      resumes is described as it began.
    - ``begin_pass(plan)`` is called when a pass begins, with the plan after it was fitted to whole
      batches, or None if everything is trained.
    - ``observe(indices, losses, num_samples)`` gets all finite losses when the ranks merge them. A
      fourth parameter named ``scores`` gets the scores that these samples had until then.
    - ``batch_score``: an attribute that says which scores it needs, see
      :mod:`~mm_infobatch.passes.batch_scores`.
    - ``weigh(plan) -> Plan``: weighs the samples of a plan that was fitted to whole batches, if
      weights depend on which samples are kept.
    - ``static``: True if it keeps the same subset in every pass. A run whose subset makes no whole
      batch is then refused, and never trains all samples instead.
    - ``keeps_losses``: True if it plans by the losses that ``observe`` got and not by scores, so
      that ``score_smoothing`` would have no effect.
    - ``label_probability``: True if it takes exp(-score) for the probability of the label, so that
      scores have to be the plain cross entropy of one label.
    - ``sample_labels``: an attribute with the class of each sample that it was made for. A run
      compares them with those of its dataset.
    - ``state_dict()`` and ``load_state_dict(state)``: tensors and plain numbers, which become a
      part of checkpoints.

    Args:
        policy (dict or object, optional): A config for ``PRUNING_POLICIES``, or a policy. None is
            ``dict(type='SoftPruning', prune_ratio=0.5)``.
        num_samples (int): N, the length of the dataset.
        warmup_passes (int): The first passes that prune nothing.
        shape (BatchShape): The shape of a batch, which the sampler sets when it joins a run.

    Attributes:
        counter (SampleCounter): The samples of the passes.
        shape (BatchShape): The shape of a batch.

    Raises:
        TypeError: If the policy cannot plan, or ``warmup_passes`` is not an integer.
        ValueError: If ``warmup_passes`` is below 0.
    """

    def __init__(
        self,
        policy: Union[Dict[str, Any], Any, None],
        num_samples: int,
        warmup_passes: int,
        shape: BatchShape,
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
        line = "sampler=dict(type='InfoBatchSampler', warmup_passes=0)"
        require_integer('warmup_passes', warmup_passes, line)
        if warmup_passes < 0:
            raise ValueError(
                f'warmup_passes={warmup_passes} has to be 0 or more: it is the number '
                f'of passes at the start that prune nothing; write {line}'
            )
        self._num_samples, self._warmup = num_samples, int(warmup_passes)
        self._last_begun = -1  # the pass for which ``policy.begin_pass`` was called last
        self._wants_run = _takes(self.policy.plan, 'run')
        self._wants_scores = _takes(getattr(self.policy, 'observe', None), 'scores')
        self.counter = SampleCounter()
        self.shape = shape

    @property
    def observer(self) -> Optional[Callable[[Tensor, Tensor, Tensor], None]]:
        """callable, optional: Hands new losses to the policy's ``observe``, where it has one."""
        return self._observe if hasattr(self.policy, 'observe') else None

    def _observe(self, indices: Tensor, losses: Tensor, scores: Tensor) -> None:
        extra = dict(scores=scores) if self._wants_scores else {}
        self.policy.observe(indices, losses, self._num_samples, **extra)

    def begin_run(self, schedule: PassSchedule) -> None:
        """Let the policy refuse a run, whose schedule stands at its beginning."""
        if hasattr(self.policy, 'begin_run'):
            self.policy.begin_run(self.run(schedule, 0))

    def run(self, schedule: PassSchedule, pass_index: int) -> Run:
        """Where the run stands when that pass is planned."""
        trained, skipped = self.counter.before(pass_index)
        full = self.shape.samples(self._num_samples)
        counted = (trained + skipped) * schedule.pass_length / full  # in steps
        return Run(
            pass_index=pass_index,
            walked=schedule.walked,
            total=schedule.total,
            pass_length=schedule.pass_length,
            samples_per_pass=full,
            delta=schedule.delta,
            first=max(1, self._warmup),
            samples_trained=trained,
            samples_skipped=skipped,
            by_iterations=schedule.budget == 'iterations',
            samples_per_iter=self.shape.samples_per_iter,
            drop_last=self.shape.drop_last,
            begin=schedule.walked - counted,
        )

    def plan(
        self,
        scores: Tensor,
        schedule: Optional[PassSchedule],
        pass_index: int,
        generator: torch.Generator,
    ) -> Optional[Plan]:
        """Plan a pass.

        Args:
            scores (Tensor): float32 [N], NaN where unseen.
            schedule (PassSchedule, optional): Where the run stands; None if its length is unknown.
            pass_index (int): The pass, from 0.
            generator (torch.Generator): Where the randomness comes from.

        Returns:
            Plan, optional: None where everything is trained: in the warm-up, while annealing, and
            where no smaller number of samples makes whole batches.

        Raises:
            TypeError: If the policy returns no plan.
            ValueError: If it plans for another number of samples, or a static policy keeps too few.
        """
        everything = pass_index < self._warmup or (schedule is not None and schedule.anneals)
        plan = None if everything else self._call_policy(scores, schedule, pass_index, generator)
        if plan is not None:
            plan = self._fit(plan, scores, generator)
        self._count(pass_index, self._num_samples if plan is None else plan.kept)
        if pass_index != self._last_begun and hasattr(self.policy, 'begin_pass'):
            self.policy.begin_pass(plan)
        self._last_begun = pass_index
        return plan

    def _fit(self, plan: Plan, scores: Tensor, generator: torch.Generator) -> Optional[Plan]:
        fitted = fit_to_batches(plan, scores, self.shape, generator)
        subset = getattr(self.policy, 'static', False) or skips_unseen(plan, scores)
        if fitted is None and subset:  # a subset never becomes the whole
            raise ValueError(
                f'{self.policy!r} keeps {plan.kept} of {plan.num_samples} samples, which make no '
                f'whole batch of {self.shape.batch_size} on {self.shape.world_size} processes; '
                'lower train_dataloader.batch_size, or have the policy keep more'
            )
        if fitted is None or fitted is plan or not hasattr(self.policy, 'weigh'):
            return fitted
        return self.policy.weigh(fitted)

    def resume(self, pass_index: int, kept: int) -> None:
        """Count the samples of a checkpoint's pass, whose ``begin_pass`` was called before."""
        self._count(pass_index, kept)
        self._last_begun = pass_index

    def _count(self, pass_index: int, kept: int) -> None:
        """Count the samples of a pass that keeps ``kept`` samples and is trained to its end."""
        samples = self.shape.samples
        self.counter.count(pass_index, samples(kept), samples(self._num_samples))

    def _call_policy(
        self,
        scores: Tensor,
        schedule: Optional[PassSchedule],
        pass_index: int,
        generator: torch.Generator,
    ) -> Plan:
        extra: Dict[str, Any] = {}
        if self._wants_run:
            extra['run'] = None if schedule is None else self.run(schedule, pass_index)
        plan = self.policy.plan(scores, generator, **extra)
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


def _takes(method: Any, name: str) -> bool:
    """Whether a method, or None, has a parameter of that name."""
    return callable(method) and name in inspect.signature(method).parameters
