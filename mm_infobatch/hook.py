"""The hook that connects sampler, losses and loop, and saves and resumes their state."""

import os.path as osp
import time
from typing import Any, Dict, Optional, Sequence, Union

import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.registry import HOOKS

from .losses.model_losses import ModelLosses
from .losses.search import require_unweighted
from .passes.running_pass import RunningPass
from .training import checkpointing, checks
from .training.accumulation import Accumulation
from .training.agreement import check_agreement
from .training.by_steps import call_by_steps, require_by_steps, resume_steps
from .training.changes import changes
from .training.gloo import wait_before_workers
from .training.iteration_settings import IterationSettings
from .training.label_probability import other_score_warning
from .training.report import (
    RunReport,
    log_loss_of_all_data,
    put_back_loss_of_all_data,
    take_loss_of_all_data,
    warn,
)
from .training.sample_idx import PathCheck, check_samples
from .training.state import VERSION
from .training.step_length import StepLength, require_step_length
from .training.visualizer import show_pass


@HOOKS.register_module()
class InfoBatchHook(Hook):
    """Connect sampler, losses and loop during training.

    At the beginning of a pass the hook asks the sampler for a plan, logs it, and moves the weights
    of this rank to the device. In each iteration it gives the weights of the batch to every
    :class:`~mm_infobatch.InfoBatchLoss` and stores the scores on the device, without a wait for it.
    At the end of the pass it merges the scores of all ranks into the table, in one collective.

    The hook also

    - lets learning rate, momentum and averaged weights follow the steps of the schedule, instead of
      the iterations of the run;
    - adds its state to every checkpoint under the key ``infobatch``, as tensors and plain numbers,
      and loads it on resume;
    - writes ``infobatch.json`` to the work directory;
    - warns of settings of other hooks and of the model that count iterations of the run.

    On several ranks, a checkpoint in the middle of a pass needs the scores of all of them. They are
    gathered before ``CheckpointHook`` saves and before a validation. If anything else saves a
    checkpoint in between, it contains only rank 0's scores of the running pass, and the hook warns.

    Args:
        by_steps (Sequence[str]): Classes of hooks that are called once for each step of the
            schedule, instead of once an iteration, so that what they set in iterations means the
            same share of it. Defaults to (): only those that set learning rate and momentum,
            average weights, or warm up a parameter of the model.
        unweighted (Sequence[str]): The losses that are meant to carry no weights, by their paths,
            such as ``'model.teacher.head.loss'``, or parts of the model that they are in. A loss
            that is neither wrapped nor named is refused. Defaults to (): none.
        step_length (str or float): The length of the optimizer's steps in a pass that keeps K of N
            samples, as a multiple of the length in an unpruned pass. ``'paper'``: N/K, by the
            weights of the policy. ``'normalized'``: 1. ``'capped'``: N/K, but no step is longer
            than the longest step of the unpruned schedule. A number: N/K, but at most that number.
            It changes neither the direction of the steps nor which samples are kept, see
            :mod:`~mm_infobatch.training.step_length`. Defaults to ``'paper'``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``step_length`` is out of range; when training starts, if it cannot work.
    """

    priority = 'ABOVE_NORMAL'
    begins_passes = True  # read by training/checks.py, a room below, to find this hook

    def __init__(
        self,
        by_steps: Sequence[str] = (),
        unweighted: Sequence[str] = (),
        step_length: Union[str, float] = 'paper',
    ) -> None:
        self.by_steps = require_by_steps(by_steps)
        self.unweighted = require_unweighted(unweighted)
        self._step_length = StepLength(require_step_length(step_length))
        self._pass: Optional[RunningPass] = None
        self._loaded = checkpointing.LoadedState()
        self._resumes = False  # whether the state of a checkpoint is loaded before the next pass
        self._iteration_settings: Optional[IterationSettings] = None
        self._losses: Optional[ModelLosses] = None
        self._batch_scores: Optional[torch.Tensor] = None
        self._first_batch = True
        self._path_check = PathCheck()
        self._warned_unweighted = False  # that a part of the trained loss carries no weights

    # ---------------------------------------------------------------- passes

    def before_train(self, runner: Any) -> None:
        """Refuse what cannot work, then begin the run, or continue one."""
        checks.check_loop(runner.train_loop)
        checks.check_hook_order(runner, self)
        checks.check_losses(runner.model, self.unweighted)
        self._connect(runner)
        self._resumes = self._loaded.begin_training(self._loop)
        if self._schedule.begun and not self._resumes:  # train() again
            self._loop.continue_run()
            if self._pass is not None:
                self._sampler.continue_at(self._pass.consumed)
        else:
            self._begin_run(runner)

    def _connect(self, runner: Any) -> None:
        """Take the loop, the sampler and the schedule from the runner."""
        self._loop = runner.train_loop
        self._sampler, self._schedule = self._loop.sampler, self._loop.schedule
        self._shape = self._sampler.shape
        self._device = torch.device(get_device())
        self._accumulation = Accumulation(runner, self._schedule)
        self._iteration_settings = None
        warn(runner, other_score_warning(runner.model, self._sampler.policy))

    def _begin_run(self, runner: Any) -> None:
        """Begin a run; one that resumes loads its state when its first pass is due."""
        self._report = RunReport(self._sampler, self._schedule, self._step_length.setting)
        self._schedule.walked = 0  # until the state is loaded: a finished run may go back
        if checkpointing.needs_message_hub(runner) and not self._resumes:
            # Distinguishes a checkpoint of this run, saved before the first state, from others.
            runner.message_hub.update_info(checkpointing.STATE_KEY, dict(version=VERSION))
        if not self._resumes:
            checks.check_run(runner, self._loop)

    def before_train_pass(self, runner: Any) -> None:
        """Begin the next pass, or continue the pass of a checkpoint. Only our loops call this."""
        self._resume(runner)
        runner.message_hub.update_info('max_iters', self._schedule.total)  # for averaged weights
        self._set_step_length(runner)
        if self._loop.pass_is_due:
            self._begin_pass(runner)
        # Anew for each pass: mmpretrain's SwitchRecipeHook puts other ones into the model.
        self._losses = ModelLosses(runner.model, self.unweighted, self._schedule.compared_iter)
        call_by_steps(runner, self._schedule, self.by_steps)  # hooks that were registered later
        if self._iteration_settings is None:
            self._iteration_settings = IterationSettings(runner, self._schedule)
        warn(runner, self._iteration_settings.warning())

    def _set_step_length(self, runner: Any) -> None:
        line = self._step_length.begin_run(runner, self._schedule)
        if line is not None:
            runner.logger.info(f'InfoBatch: {line}')

    def _begin_pass(self, runner: Any) -> None:
        began = time.perf_counter()
        order = self._sampler.begin_pass()
        check_agreement(order, 0)
        seconds = time.perf_counter() - began + (self._pass.seconds if self._pass else 0.0)
        self._schedule.begin_pass(self._shape.iters(order.kept))
        self._pass = RunningPass.of(self._sampler, self._device)
        self._step_length.begin_iter(self._pass.mean_weight)
        self._report.begin_pass(seconds, self._pass.mean_weight, self._step_length.length)
        runner.logger.info(self._report.pass_line())
        show_pass(runner.visualizer, self._report, self._schedule.iters)
        if self._schedule.pass_index == 0:  # later ones follow the end of a pass, which writes it
            self._write_report(runner)

    def _end_pass(self, runner: Any) -> None:
        assert self._pass is not None and self._losses is not None
        self._pass.merge()
        warning = self._losses.end_pass()  # not in a step, which would wait for the device
        if warning is not None and not self._warned_unweighted:
            warn(runner, warning)
            self._warned_unweighted = True
        self._write_report(runner)

    def _write_report(self, runner: Any) -> None:
        """Bring the report up to date and write it."""
        if self._pass is None:
            return
        self._report.update(self._pass, self._loop.stop_training)
        if is_main_process():
            warn(runner, self._report.try_write(osp.join(runner.work_dir, 'infobatch.json')))

    def after_train(self, runner: Any) -> None:
        """Log what the run saved."""
        self._resume(runner)  # a finished run, in which no pass began
        self._write_report(runner)
        if self._losses is not None:
            self._losses.release()
        self._step_length.release()
        runner.logger.info(self._report.last_line())

    # ------------------------------------------------------------ iterations

    def train_step(self, runner: Any, data_batch: Any) -> Dict[str, Any]:
        """Have the model train a batch, in which the losses carry weights and keep scores.

        Before, compare the samples of the batch with the plan.
        """
        assert self._pass is not None and self._losses is not None
        planned, dataset = self._pass.indices(self._shape.batch_size), self._loop.dataloader.dataset
        check_samples(data_batch, planned, dataset)  # as the hooks before the step have left it
        self._path_check.check(data_batch, planned, dataset)
        self._accumulation.fit()
        self._set_step_length(runner)  # a hook may have replaced an optimizer
        self._losses = self._losses.current(runner.model)  # a hook may have replaced one
        weights, mean = self._pass.weights(self._shape.batch_size), self._pass.mean_weight
        scale = self._step_length.begin_iter(mean)
        self._losses.begin_batch(weights, self._pass.uniform, mean, data_batch, scale)
        try:
            outputs = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
        except BaseException:
            self._losses.drop_batch()
            raise
        self._batch_scores = self._losses.end_batch(outputs)
        if self._first_batch:  # refuse a wrong loss at once; waits only if one is unknown
            self._first_batch = False
            self._losses.check()
        return outputs

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Keep the scores, walk the schedule, and end the pass with its last batch."""
        assert self._pass is not None
        scores, self._batch_scores = self._batch_scores, None
        self._pass.add(checks.check_scores_taken(scores, self._loop))
        log_loss_of_all_data(runner.message_hub, self._pass.mean_weight * self._step_length.scale)
        self._schedule.advance()
        if self._schedule.pass_ended:
            self._end_pass(runner)
        if checkpointing.saves_after(runner, by_epoch=False):
            self._prepare_checkpoint(runner)

    # ----------------------------------------------------------- checkpoints

    def after_train_epoch(self, runner: Any) -> None:
        """Prepare a checkpoint of an epoch."""
        if self._pass is not None and checkpointing.saves_after(runner, by_epoch=True):
            self._prepare_checkpoint(runner)

    def before_val_epoch(self, runner: Any) -> None:
        """Prepare a checkpoint: a validation may save the best one."""
        if self._pass is not None:
            self._prepare_checkpoint(runner)
        wait_before_workers(getattr(runner.val_loop, 'dataloader', None))

    def _prepare_checkpoint(self, runner: Any) -> None:
        """Collect from all ranks what a checkpoint holds; a collective."""
        assert self._pass is not None
        self._pass.gather()
        self._loop.randomness.gather(self._schedule.iters)
        if checkpointing.needs_message_hub(runner):
            runner.message_hub.update_info(checkpointing.STATE_KEY, self._state(runner))

    def _state(self, runner: Any) -> Dict[str, Any]:
        """What a checkpoint holds, beside the report up to the same iteration."""
        assert self._pass is not None
        self._write_report(runner)
        return checkpointing.state_of(self._loop, self._report, self._pass)

    def before_save_checkpoint(self, runner: Any, checkpoint: Dict[str, Any]) -> None:
        """Add the state; rank 0 alone comes here."""
        if self._pass is None:
            return
        if not self._pass.complete:
            warn(runner, checkpointing.UNANNOUNCED)
        logged = take_loss_of_all_data(checkpoint)
        checkpoint[checkpointing.STATE_KEY] = dict(self._state(runner), loss_all_data=logged)

    def after_load_checkpoint(self, runner: Any, checkpoint: Dict[str, Any]) -> None:
        """Keep the state of a checkpoint until training starts."""
        self._loaded.keep(checkpoint)

    def _resume(self, runner: Any) -> None:
        """Continue from the checkpoint, if this is a resumed run whose first pass is due."""
        if not self._resumes:
            return
        self._resumes = False
        state, at_once = self._loaded.take(runner), 0
        checks.check_run(runner, self._loop, state)
        if state is None:
            warn(runner, checkpointing.NO_STATE)
            self._loop.continue_without_state()
        else:
            for line in changes(state, self._report.settings):
                warn(runner, line)
            loaded = checkpointing.load_state(state, self._loop, self._report, self._device)
            self._pass, at_once = loaded
            put_back_loss_of_all_data(runner.message_hub, state.get('loss_all_data'))
            warn(runner, self._accumulation.warning())
        resume_steps(runner, self._schedule.walked - at_once)
