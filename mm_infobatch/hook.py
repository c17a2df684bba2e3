"""The wiring of a training run: weights to the losses, scores back, state, logs and refusals."""

import math
import os.path as osp
import time
from typing import Any, Dict, Optional, Sequence, Tuple, Union

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from .losses.model_losses import ModelLosses, find_losses, unweighted
from .passes.running_pass import RunningPass
from .policies.thresholds import mean_score
from .training import checks, state
from .training.accumulation import Accumulation
from .training.by_steps import call_by_steps, require_by_steps, resume_steps
from .training.gloo import rest_before_workers
from .training.iteration_settings import IterationSettings
from .training.report import RunReport

DATA_BATCH = Optional[Union[dict, tuple, list]]
STATE_KEY = 'infobatch'


@HOOKS.register_module()
class InfoBatchHook(Hook):
    """Connect sampler, losses and loop during training.

    When a pass begins it has the sampler plan it, moves the weights of this rank to the device
    once, and logs the choice. Each iteration it hands the batch's weights to every
    :class:`~mm_infobatch.InfoBatchLoss` and keeps the scores on the device, without waiting for
    it. When the pass ends it merges the scores of all ranks into the table, in one collective.

    It has schedulers and averaged weights walk the schedule, adds its state to every checkpoint
    under the key ``infobatch`` (tensors and plain numbers), takes it up on resume, and keeps
    ``infobatch.json`` in the work directory. Settings of other hooks and of the model that count
    iterations of the run are named in a warning.

    On several ranks a checkpoint in the middle of a pass needs the scores that the other ranks
    have seen, so they are gathered when ``CheckpointHook`` is about to save and before a
    validation. A checkpoint that something else writes in between holds only rank 0's scores of
    the running pass, and a warning says so.

    Args:
        by_steps (Sequence[str]): Classes of hooks that are called once for each step of the
            schedule, instead of once an iteration, so that what they set in iterations means the
            same share of it. Defaults to (): only those that set learning rate and momentum,
            average weights, or warm up a parameter of the model.

    Raises:
        TypeError: If ``by_steps`` is no list of names.
        ValueError: When training starts, if something about the run cannot work.
    """

    priority = 'ABOVE_NORMAL'
    begins_passes = True

    def __init__(self, by_steps: Sequence[str] = ()) -> None:
        self.by_steps = require_by_steps(by_steps)
        self._pass: Optional[RunningPass] = None
        self._resumed: Optional[Dict[str, Any]] = None
        self._resumed_without_state = False
        self._settings: Optional[IterationSettings] = None
        self._losses: Optional[ModelLosses] = None
        self._first_batch = True
        self._first_losses: Optional[Tuple[Any, Any]] = None  # of the model, and ours of it

    # ---------------------------------------------------------------- passes

    def before_train(self, runner: Any) -> None:
        """Refuse what cannot work, and find the parts."""
        checks.check_loop(runner.train_loop)
        checks.check_hook_order(runner, self)
        self._loop = runner.train_loop
        self._sampler, self._schedule = self._loop.sampler, self._loop.schedule
        self._shape = self._sampler.shape
        find_losses(runner.model)
        self._device = next(runner.model.parameters()).device
        self._names_samples = checks.names_its_samples(self._loop.dataloader.dataset)
        by_epoch = isinstance(self._loop, EpochBasedTrainLoop)
        self._accumulation = Accumulation(runner.optim_wrapper, self._schedule, by_epoch)
        runner.message_hub.update_info('max_iters', self._schedule.total)  # for averaged weights
        self._settings = None
        settings = dict(
            policy=repr(self._sampler.policy),
            delta=self._sampler.delta,
            seed=self._sampler.seed,
            num_samples=len(self._sampler.scores),
            world_size=self._shape.world_size,
            batch_size=self._shape.batch_size,
            **self._schedule.settings(),
        )
        self._report = RunReport(settings, self._sampler.counter)
        warning = self._schedule.warning()
        if warning is not None:
            runner.logger.warning(f'InfoBatch: {warning}')

    def before_train_pass(self, runner: Any) -> None:
        """Begin the next pass, or go on with the one of the checkpoint."""
        self._resume()
        if self._loop.pass_is_over:
            self._begin_pass(runner)
        # Anew for each pass: mmpretrain's SwitchRecipeHook puts other ones into the model.
        self._losses = ModelLosses(runner.model)
        call_by_steps(runner, self._schedule, self.by_steps)  # hooks that were registered later
        self._settings = self._settings or IterationSettings(runner, self._schedule)
        warning = self._settings.warning()
        if warning is not None:
            runner.logger.warning(f'InfoBatch: {warning}')

    def _begin_pass(self, runner: Any) -> None:
        began = time.perf_counter()
        order = self._sampler.begin_pass()
        seconds = time.perf_counter() - began
        annealing = self._schedule.anneals
        self._schedule.begin_pass(self._shape.iters(order.kept))
        self._pass = self._running_pass()
        mean = mean_score(self._sampler.scores.values)
        record = self._report.begin_pass(
            index=self._schedule.pass_index,
            begin_iter=self._schedule.iters,
            kept=order.kept,
            pruned=order.num_samples - order.kept,
            annealing=annealing,
            threshold=order.threshold,
            mean_score=None if math.isnan(mean) else mean,
            seconds=seconds,
        )
        runner.logger.info(self._report.pass_line())
        keys = ('kept', 'pruned', 'pruned_share', 'saving', 'threshold', 'mean_score', 'seconds')
        runner.visualizer.add_scalars(
            {f'infobatch/{key}': record[key] for key in keys if record[key] is not None},
            step=self._schedule.iters,
        )

    def _running_pass(self, **kwargs: Any) -> RunningPass:
        """The sampler's pass, on this rank and from where the sampler stands."""
        sampler = self._sampler
        return RunningPass(
            sampler.order,
            sampler.scores,
            self._device,
            sampler.rank,
            sampler.world_size,
            sampler.start,
            **kwargs,
        )

    def _end_pass(self, runner: Any) -> None:
        assert self._pass is not None
        self._pass.merge()
        if self._first_losses is not None:  # not in the first step, which would wait for the device
            warning = unweighted(*(float(loss) for loss in self._first_losses))
            self._first_losses = None
            if warning is not None:
                runner.logger.warning(f'InfoBatch: {warning}')
        self._record(runner)

    def _record(self, runner: Any) -> None:
        """Bring the report up to date and write it."""
        if self._pass is None:
            return
        share = 1.0 if self._schedule.pass_done else self._pass.trained / self._sampler.order.kept
        full = self._shape.samples(len(self._sampler.scores))
        self._sampler.counter.count(
            self._schedule.pass_index, self._pass.trained, round(full * share)
        )
        self._report.update_pass(self._schedule.iters - self._report.passes[-1]['begin_iter'])
        self._report.finished = self._schedule.done
        if is_main_process():
            warning = self._report.try_write(osp.join(runner.work_dir, 'infobatch.json'))
            if warning is not None:
                runner.logger.warning(warning)

    def after_train(self, runner: Any) -> None:
        """Log what the run saved."""
        self._resume()  # a finished run, in which no pass began
        self._record(runner)
        if self._losses is not None:
            self._losses.release()
        runner.logger.info(self._report.last_line())

    # ------------------------------------------------------------ iterations

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Hand the weights of the batch to the losses."""
        assert self._pass is not None and self._losses is not None
        batch_size = self._shape.batch_size
        if self._names_samples:
            checks.check_samples(data_batch, self._pass.indices(batch_size))
        self._losses.begin_batch(
            self._pass.weights(batch_size), self._pass.uniform, self._pass.kept_share, data_batch
        )
        self._accumulation.fit()

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Take the scores of the batch, walk the schedule, and end the pass with its last batch."""
        assert self._pass is not None and self._losses is not None
        self._pass.add(self._losses.end_batch())
        if self._first_batch:
            self._first_batch = False
            if isinstance(outputs, dict) and 'loss' in outputs:
                self._first_losses = self._losses.trained(outputs['loss'])
        self._schedule.advance()
        if self._schedule.pass_over:
            self._end_pass(runner)
        elif self._saves_now(runner):
            self._pass.gather()

    # ----------------------------------------------------------- checkpoints

    def _saves_now(self, runner: Any) -> bool:
        """Whether a checkpoint hook will save after this iteration, as each rank can tell."""
        return any(
            not hook.by_epoch
            and (
                self.every_n_train_iters(runner, hook.interval, hook.save_begin)
                or (hook.save_last and self.is_last_train_iter(runner))
            )
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
        )

    def before_val_epoch(self, runner: Any) -> None:
        """Gather the scores of the running pass: a validation may save the best checkpoint."""
        if self._pass is not None:
            self._pass.gather()
        rest_before_workers(getattr(runner.val_loop, 'dataloader', None))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Add the state; rank 0 alone comes here."""
        if self._pass is None:
            return
        if not self._pass.complete:
            runner.logger.warning(
                'InfoBatch: a checkpoint was written at a moment that CheckpointHook does not '
                'announce; of the running pass it holds only the scores that rank 0 has seen'
            )
        self._record(runner)
        checkpoint[STATE_KEY] = dict(
            version=state.VERSION,
            settings=dict(self._report.settings),
            schedule=self._schedule.state_dict(),
            records=[dict(record) for record in self._report.passes],
            sampler=self._sampler.state_dict(self._pass.consumed),
            **self._pass.state_dict(),
        )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep the state of a resumed run until its pass begins."""
        if not getattr(runner, '_resume', False):
            return
        self._resumed = state.upgraded(checkpoint.get(STATE_KEY))
        self._resumed_without_state = self._resumed is None
        if self._resumed is None:
            runner.logger.warning(
                'InfoBatch: the checkpoint holds no state of InfoBatch (was it trained without?); '
                'scoring starts afresh, so the next pass prunes nothing'
            )

    def _resume(self) -> None:
        """Take up the checkpoint, if there is one that was not taken up yet."""
        if self._resumed is not None:
            self._load(self._resumed)
        elif self._resumed_without_state:
            self._loop.continue_without_state()
            resume_steps(self._loop.runner, self._schedule.walked)
        self._resumed, self._resumed_without_state = None, False

    def _load(self, resumed: Dict[str, Any]) -> None:
        by_epoch = isinstance(self._loop, EpochBasedTrainLoop)
        state.check_state(resumed, self._loop.iter, self._loop.epoch if by_epoch else None)
        changed = state.changed_settings(resumed.get('settings'), self._report.settings)
        if changed is not None:
            self._loop.runner.logger.warning(changed)
        self._sampler.load_state_dict(resumed['sampler'])
        self._pass = self._running_pass(merged=resumed['merged'], earlier=resumed['losses'])
        left = self._shape.iters(max(self._sampler.order.kept - self._sampler.start, 0))
        at_once = self._schedule.load_state_dict(resumed['schedule'], left)
        resume_steps(self._loop.runner, self._schedule.walked - at_once)
        warning = self._accumulation.warning()
        if warning is not None:
            self._loop.runner.logger.warning(f'InfoBatch: {warning}')
        self._report.resume(resumed['records'])
        self._report.settings['seed'] = self._sampler.seed
        if self._schedule.pass_done:  # on fewer or more ranks what is due may make no batch
            self._pass.merge()
