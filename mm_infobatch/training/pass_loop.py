"""What both training loops share: the schedule, the batches of a pass, an iteration, validation."""

import functools
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from ..losses.custom_keys import check_custom_keys
from ..passes.batch_shape import BatchShape
from ..passes.schedule import PassSchedule
from . import checks
from .by_steps import call_by_steps, check_by_steps
from .check_data import check_dataloader, check_not_replaced
from .file_labels import other_labels_warning
from .gloo import wait_before_workers
from .pass_iterator import PassIterator, batches_of_pass
from .report import warn
from .rng import RunRandomness, openings_of_validation, prototypes_of, restarts_workers
from .sample_names import check_same_dataset, check_same_on_all_ranks, names_of


class PassLoop(BaseLoop):
    """A training loop over passes, to inherit from beside one of MMEngine's.

    Attributes:
        sampler (InfoBatchSampler): The dataloader's sampler.
        schedule (PassSchedule): Where the run stands.
        resumed (bool): Whether ``runner.resume`` has set the position since training last started.
        hook (InfoBatchHook, optional): Our hook, once training has started.
    """

    runner: Any
    dataloader: DataLoader[Any]
    _decide_current_val_interval: Any  # of MMEngine's loop

    def _set_up(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], Dict[str, Any]],
        val_begin: int,
        val_interval: int,
        dynamic_intervals: Optional[List[Tuple[int, int]]],
    ) -> None:
        """Do what the loops of MMEngine do when they are built, except that the dataloader is
        neither asked for its length nor opened: there is no plan yet."""
        BaseLoop.__init__(self, runner, dataloader)
        self._epoch = self._count = 0
        self.resumed = False
        self.hook: Any = None
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False
        if hasattr(self.dataloader.dataset, 'metainfo'):
            runner.visualizer.dataset_meta = self.dataloader.dataset.metainfo
        pairs = None if dynamic_intervals is None else [*map(tuple, dynamic_intervals)]
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            self.val_interval, pairs
        )

    def _make_schedule(
        self, total: Optional[int], budget: str = 'passes', passes: Optional[int] = None
    ) -> None:
        """Check the dataloader, and make the schedule that its sampler follows.

        See :class:`~mm_infobatch.passes.schedule.PassSchedule` for the arguments.
        """
        self.sampler = check_dataloader(self.dataloader, type(self).__name__)
        self._checked = self.dataloader
        shape = BatchShape.of(self.dataloader, self.sampler.world_size)
        pass_length = shape.iters(len(self.sampler.scores))
        self.schedule = PassSchedule(total, pass_length, budget, self.sampler.delta, passes)
        self.sampler.join_run(self.schedule, shape)

    @property
    def _iter(self) -> int:
        """int: The iterations that are done. ``runner.resume`` sets it, and nothing else does."""
        return self._count

    @_iter.setter
    def _iter(self, done: int) -> None:
        self._count, self.resumed = done, True

    @property
    def max_iters(self) -> int:
        """int: The iterations that the run is expected to take; exact in its last pass."""
        return self.schedule.expected_iters

    @functools.cached_property
    def randomness(self) -> RunRandomness:
        """RunRandomness: The random generators of the run; made once all loops are built."""
        val_dataloader = getattr(self.runner.val_loop, 'dataloader', None)
        openings = openings_of_validation(self.runner.hooks)
        prototypes = prototypes_of(self.runner.hooks, self.runner.model)
        return RunRandomness(self.dataloader, val_dataloader, openings, prototypes)

    @functools.cached_property
    def sample_names(self) -> List[str]:
        """list[str]: The names of some samples of the dataset, read once a run."""
        return names_of(self.dataloader.dataset)

    @property
    def dataloader_iterator(self) -> PassIterator:
        """PassIterator: In place of that of ``IterBasedTrainLoop``; it refuses ``next()``."""
        return PassIterator(self.dataloader, max(self.schedule.pass_index, 0))

    def _start(self) -> None:
        """Check the run, and have the hooks that follow the schedule called by its steps.

        Raises:
            ValueError: If there is no ``InfoBatchHook``, it names hooks that cannot be called by
                steps, the optimizer's config names parameters that the wrapped losses have renamed,
                or the samples differ between the ranks.
        """
        self.hook = hook = checks.check_has_hook(self.runner)
        check_custom_keys(self.runner.model, self.runner.cfg.get('optim_wrapper'))
        checks.check_recipes(self.runner, hook.unweighted)
        check_same_on_all_ranks(self.sample_names)
        check_by_steps(self.runner, hook.by_steps)
        call_by_steps(self.runner, self.schedule, hook.by_steps)
        warn(self.runner, other_labels_warning(self.sampler.policy, self.dataloader.dataset))

    def continue_run(self) -> None:
        """Continue an earlier ``runner.train()`` after the last iteration that gave scores.

        That iteration is not counted yet if a later hook raised an error.
        """
        self._count = self.schedule.iters

    def _batches(self) -> Iterator[Any]:
        """The batches of the pass, or those that are left of it after a resume."""
        if self.schedule.pass_iter and not self.sampler.start:
            self.schedule.check_ended()
        check_not_replaced(self.dataloader, self._checked, self.sampler)
        check_same_dataset(self.dataloader.dataset, len(self.sampler.scores), self.sample_names)
        wait_before_workers(self.dataloader)
        if not self.schedule.by_epoch:  # the stock loop by epochs starts them as we do
            self.randomness.seed_workers(self.schedule.pass_index)
        opened = self.randomness.open(
            self.schedule.pass_iter > 0,
            self._validated_before(),
            self.schedule.by_epoch and restarts_workers(self.runner.hooks, self._epoch + 1),
        )
        return batches_of_pass(opened, self.dataloader, self.sampler, self.schedule)

    def _run_iter(self, batch_idx: int, data_batch: Any) -> None:
        """Train a batch. Weights and scores are active only during ``train_step``, because other
        hooks may evaluate the model before or after it.

        Raises:
            ValueError: If the batch belongs to no pass.
        """
        checks.check_in_pass(self)
        runner, batch = self.runner, dict(batch_idx=batch_idx, data_batch=data_batch)
        runner.call_hook('before_train_iter', **batch)
        outputs = self.hook.train_step(runner, data_batch)
        runner.call_hook('after_train_iter', **batch, outputs=outputs)
        self._count += 1

    def _validation_due(self) -> bool:
        """Whether a validation is due after the iteration, or the epoch, that has ended last."""
        raise NotImplementedError

    def _validated_before(self) -> bool:
        """Whether a validation took place right before the next batch."""
        self._decide_current_val_interval()  # a resumed run may be behind a milestone
        return self._validation_due()

    def _validate_if_due(self) -> None:
        if self._validation_due():
            self.randomness.validate(self.runner.val_loop)
