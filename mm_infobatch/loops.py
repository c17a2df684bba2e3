"""The training loops, by epoch and by iteration: they train passes until the schedule is done."""

import bisect
from typing import Any, Dict, List, Optional, Tuple, Union

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.nn import Module
from torch.utils.data import DataLoader

from .arguments import OF_LOOP, require_count, require_validation, set_once
from .training.pass_loop import PassLoop


@LOOPS.register_module()
class InfoBatchEpochLoop(PassLoop, EpochBasedTrainLoop):
    """Train by epochs. Each epoch is a pass over the samples that the plan keeps.

    ``max_epochs`` keeps its meaning; a pruned epoch has fewer iterations. Schedulers by epoch step
    once an epoch. Schedulers that were converted to iterations follow the progress of the run and
    reach their final value at its end.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader or dict): The training dataloader, with an ``InfoBatchSampler``.
        max_epochs (int): The epochs to train.
        val_begin (int): The first epoch that may be followed by a validation. Defaults to 1.
        val_interval (int): Epochs between validations. Defaults to 1.
        dynamic_intervals (list[tuple[int, int]], optional): Epochs, each with the ``val_interval``
            that holds from it on. Defaults to None.

    Raises:
        ValueError: If the dataloader may not return the planned batches, or an argument is out of
            range.
    """

    _max_epochs = set_once('_max_epochs', OF_LOOP)

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], Dict[str, Any]],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Optional[List[Tuple[int, int]]] = None,
    ) -> None:
        self._max_epochs = require_count('train_cfg.max_epochs', max_epochs)
        require_validation(val_begin, val_interval, dynamic_intervals)
        self._set_up(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self._make_schedule(None, passes=self._max_epochs)
        self._max_iters = self.schedule.total

    @property
    def pass_is_due(self) -> bool:
        """bool: Whether a new pass begins next, and not the rest of an interrupted one."""
        return self.schedule.pass_index < self._epoch

    def run(self) -> Module:
        """Launch training."""
        self._start()
        self.runner.call_hook('before_train')
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train a pass, or what is left of it after a resume."""
        self.runner.call_hook('before_train_epoch')
        self.runner.call_hook('before_train_pass')
        self.runner.model.train()
        # Of the whole pass, also where it was begun in batches of another size.
        iters = self.sampler.shape.iters(self.sampler.order.kept)
        first = max(0, iters - self.schedule.iters_left)
        for idx, data_batch in enumerate(self._batches(), start=first):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train a batch, the ``idx``-th of the epoch."""
        self._run_iter(idx, data_batch)

    def _validation_due(self) -> bool:
        return (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        )

    def _validated_before(self) -> bool:
        return super()._validated_before() and self.schedule.pass_iter == 0

    def continue_without_state(self) -> None:
        """Continue from a checkpoint of a run without InfoBatch."""
        self.schedule.skip_to(self._iter, self._epoch)


@LOOPS.register_module()
class InfoBatchIterLoop(PassLoop, IterBasedTrainLoop):
    """Train by iterations, in passes over the samples that the plan keeps.

    With ``budget='passes'``, ``max_iters`` is the length of the schedule on all data. The run makes
    as many passes over the dataset as an unpruned run makes in ``max_iters`` iterations. Learning
    rate, annealing and the end of the run follow its progress, so it ends after fewer iterations.

    With ``budget='iterations'``, the run makes ``max_iters`` iterations, and therefore more passes.
    The learning rate follows iterations. Annealing begins with the first pass at or after
    ``delta * max_iters``.

    ``val_begin`` and the milestones of ``dynamic_intervals`` are steps of the schedule. The
    intervals of validation and of checkpoints count iterations of the run. Both also take place at
    the end of the run.

    Differences from ``IterBasedTrainLoop``:

    1. The dataloader is opened when a pass begins. ``IterBasedTrainLoop`` opens it when the loop is
       built, and again after a pause whenever it is exhausted.
    2. No batches are replayed on resume.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader or dict): The training dataloader, with an ``InfoBatchSampler``.
        max_iters (int): The length of the schedule.
        val_begin (int): The first step of the schedule that may be followed by a validation.
            Defaults to 1.
        val_interval (int): Iterations between validations. Defaults to 1000.
        dynamic_intervals (list[tuple[int, int]], optional): Steps of the schedule, each with the
            ``val_interval`` that holds from it on. Defaults to None.
        budget (str): 'passes' or 'iterations'. Defaults to 'passes'.
        fast_forward_on_resume (bool): Accepted as by ``IterBasedTrainLoop``, but without effect.
            Defaults to True.

    Raises:
        ValueError: If the dataloader may not return the planned batches, or an argument is out of
            range.
    """

    _max_iters = set_once('_max_iters', OF_LOOP)

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], Dict[str, Any]],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: Optional[List[Tuple[int, int]]] = None,
        budget: str = 'passes',
        fast_forward_on_resume: bool = True,
    ) -> None:
        self._max_iters = require_count('train_cfg.max_iters', max_iters)
        self._max_epochs = 1
        require_validation(val_begin, val_interval, dynamic_intervals)
        self._set_up(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self._make_schedule(self._max_iters, budget)

    @property
    def pass_is_due(self) -> bool:
        """bool: Whether a new pass begins next, and not the rest of an interrupted one."""
        return not self.schedule.iters_left and not self.schedule.finished

    def run(self) -> Module:
        """Launch training."""
        self._start()
        self.runner.call_hook('before_train')
        # As in IterBasedTrainLoop, the whole training is one epoch to the hooks.
        self.runner.call_hook('before_train_epoch')
        while not self.schedule.finished and not self.stop_training:
            self.runner.call_hook('before_train_pass')
            if not self.schedule.finished:  # a finished run was resumed
                self.run_pass()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_pass(self) -> None:
        """Train a pass, or what is left of it after a resume or up to the end of the run."""
        for data_batch in self._batches():
            self.runner.model.train()
            self.run_iter(data_batch)
            self._decide_current_val_interval()
            self._validate_if_due()
            if self.schedule.finished or self.stop_training:
                return

    def run_iter(self, data_batch: Any) -> None:
        """Train a batch."""
        self._run_iter(self._iter, data_batch)

    def _validation_due(self) -> bool:
        return (
            self.runner.val_loop is not None
            and self.schedule.walked >= self.val_begin
            and (self._iter % self.val_interval == 0 or self.schedule.finished)
        )

    def _decide_current_val_interval(self) -> None:
        """Set ``val_interval`` to that of the last milestone which the next step reaches."""
        passed = bisect.bisect(self.dynamic_milestones, self.schedule.walked + 1)
        self.val_interval = self.dynamic_intervals[passed - 1]

    def continue_without_state(self) -> None:
        """Continue from a checkpoint of a run without InfoBatch."""
        self.schedule.skip_to(self._iter, self._iter // self.schedule.pass_length)
