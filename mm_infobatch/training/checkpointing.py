"""When checkpoints are saved, what they hold, and how a run resumes from one."""

from typing import Any, Dict, Optional, Tuple

import torch
from mmengine.hooks import CheckpointHook

from ..passes.running_pass import RunningPass
from .agreement import check_agreement
from .report import RunReport
from .sample_names import check_names_in_checkpoint
from .state import VERSION, check_state, upgraded

STATE_KEY = 'infobatch'
NO_STATE = (
    'the checkpoint holds no state of InfoBatch (was it trained without?); there are no scores, so '
    'the next pass prunes nothing'
)
NOT_AGAIN = (
    'the checkpoint holds no state of InfoBatch, and this runner has trained already, so its '
    'scores and its place in the schedule are not those of the checkpoint; build a new runner to '
    'resume: runner = Runner.from_cfg(cfg); runner.resume(CHECKPOINT)'
)
UNANNOUNCED = (
    'a checkpoint was written at a moment that CheckpointHook does not announce; of the running '
    'pass it holds only the scores that rank 0 has seen'
)


def saves_after(runner: Any, by_epoch: bool) -> bool:
    """Whether a ``CheckpointHook`` will save after this epoch, or this iteration; the same on every
    rank."""
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook) or bool(hook.by_epoch) != by_epoch:
            continue
        is_due = hook.every_n_epochs if by_epoch else hook.every_n_train_iters
        is_last = hook.is_last_train_epoch if by_epoch else hook.is_last_train_iter
        if is_due(runner, hook.interval, hook.save_begin) or hook.save_last and is_last(runner):
            return True
    return False


def state_of(loop: Any, report: RunReport, running: RunningPass) -> Dict[str, Any]:
    """What a checkpoint holds of a run, as tensors and plain numbers."""
    schedule = loop.schedule
    return dict(
        version=VERSION,
        samples=loop.sample_names,
        settings=dict(report.settings),
        schedule=schedule.state_dict(),
        records=[dict(record) for record in report.passes],
        sampler=loop.sampler.state_dict(running.consumed),
        randomness=loop.randomness.state_dict(schedule.iters),
        **running.state_dict(),
    )


def load_state(
    state: Dict[str, Any], loop: Any, report: RunReport, device: torch.device
) -> Tuple[RunningPass, int]:
    """Have a run continue from what :func:`state_of` returned, on this number of ranks; a
    collective.

    Returns:
        tuple[RunningPass, int]: The pass, and the steps that loading the schedule walked.
    """
    sampler, schedule, shape = loop.sampler, loop.schedule, loop.sampler.shape
    sampler.load_state_dict(state['sampler'])
    check_names_in_checkpoint(state.get('samples'), loop.sample_names)
    order, start = sampler.order, sampler.start
    check_agreement(order, start)
    running = RunningPass.of(sampler, device, merged=state['merged'], earlier=state['losses'])
    if state['schedule']['pass_iter'] == state['schedule']['pass_iters']:
        sampler.start = order.kept  # what drop_last left out of the pass stays out
    left = shape.rank_iters(order.rank_samples(sampler.start, shape))
    at_once = schedule.load_state_dict(state['schedule'], left)
    report.resume(state['records'])
    if 'randomness' in state:
        loop.randomness.load_state_dict(state['randomness'])
    if not schedule.iters_left:  # on fewer or more ranks what is due may make no batch
        running.merge()
    return running, at_once


class LoadedState:
    """Holds the state of the checkpoint that was loaded last, until training starts.

    Only then it is known whether the checkpoint was loaded to resume the run, or for its weights
    alone, see :meth:`begin_training`.
    """

    def __init__(self) -> None:
        self._state: Optional[Dict[str, Any]] = None

    def keep(self, checkpoint: Dict[str, Any]) -> None:
        """Keep the state of a checkpoint, if it holds one."""
        if STATE_KEY in checkpoint:
            self._state = checkpoint[STATE_KEY]

    def begin_training(self, loop: Any) -> bool:
        """Drop the state, unless the loop that starts training resumes from a checkpoint.

        ``runner.resume`` sets the loop to the position of the checkpoint, which the loop notices.
        If that is the start of training, and the loop has not trained yet, the run begins anew.

        Returns:
            bool: Whether the loop resumes.
        """
        resumes: bool = loop.resumed and (loop.schedule.begun or loop.iter > 0 or loop.epoch > 0)
        loop.resumed = False
        if not resumes:
            self._state = None
        return resumes

    def take(self, runner: Any) -> Optional[Dict[str, Any]]:
        """Return the state to resume from, checked and upgraded to this version; None if there is
        none.

        It may be in the message hub, which ``DeepSpeedStrategy`` of ``FlexibleRunner`` saves and
        loads without calling a hook for the checkpoint.

        Raises:
            ValueError: If there is no state although the runner has trained already, or the state
                is damaged.
        """
        loop, state, self._state = runner.train_loop, self._state, None
        if state is None and STATE_KEY in runner.message_hub.runtime_info:
            state = runner.message_hub.get_info(STATE_KEY)
        if state is None and loop.schedule.begun:
            raise ValueError(NOT_AGAIN)
        state = upgraded(state)
        if state is not None:
            check_state(state, loop.iter, loop.epoch if loop.schedule.by_epoch else None)
        return state


def needs_message_hub(runner: Any) -> bool:
    """Whether the run's strategy may save checkpoints without calling a hook."""
    return hasattr(runner, 'strategy')
