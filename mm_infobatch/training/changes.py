"""Describes how a resumed run differs from the run that wrote the checkpoint."""

from typing import Any, Dict, List, Optional, Tuple

# Settings that a resumed run may change, by when the new value takes effect.
FROM_NEXT_PASS = ('policy', 'delta', 'warmup_passes', 'stratify')
AT_ONCE = ('batch_size', 'world_size', 'budget', 'step_length', 'score_smoothing')


def changes(state: Dict[str, Any], now: Dict[str, Any]) -> List[str]:
    """Describe what a resumed run changes, for the log.

    Args:
        state (dict): The state in the checkpoint.
        now (dict): The settings of this run.

    Returns:
        list[str]: A line for each difference.
    """
    lines = (
        changed_settings(state.get('settings'), now),
        changed_tracking('tracked' in state['sampler'], now['track']),
    )
    return [line for line in lines if line is not None]


def changed_tracking(before: bool, now: bool) -> Optional[str]:
    """Describe a change of ``track``.

    Args:
        before (bool): Whether the checkpoint has the tracked values.
        now (bool): Whether this run has ``track=True``.

    Returns:
        str, optional: A line for the log; None where nothing changed.
    """
    if before == now:
        return None
    if now:
        return (
            'the checkpoint does not say how often each sample was trained, nor the mean and '
            'spread of its losses (it was written with track=False, or by an earlier '
            'mm_infobatch): they are tracked from here on'
        )
    return (
        'track=False: how often each sample was trained, and the mean and spread of its losses, '
        'are dropped'
    )


def changed_settings(saved: Any, now: Dict[str, Any]) -> Optional[str]:
    """Describe the settings of a resumed run that differ from those in the checkpoint.

    Args:
        saved (dict): The settings in the checkpoint. None if an earlier mm_infobatch wrote it; then
            nothing is compared.
        now (dict): The settings of this run.

    Returns:
        str, optional: A line for the log; None where nothing changed.
    """
    if not isinstance(saved, dict):
        return None
    at_once: Tuple[str, ...] = AT_ONCE
    if saved.get('pass_length') == now['pass_length']:  # else it follows from the batch size
        at_once = (*AT_ONCE, 'schedule_iterations')
    groups: List[str] = []
    for keys, when in (
        (FROM_NEXT_PASS, 'from the next pass on'),
        (at_once, 'at once'),
        (('seed',), 'not at all: the seed of the checkpoint stays'),
    ):
        changed = [
            f'{key} {saved[key]} -> {now[key]}'
            for key in keys
            if key in saved and saved[key] != now[key]
        ]
        if changed:
            groups.append(f'{", ".join(changed)} ({when})')
    if not groups:
        return None
    return (
        'this run has other settings than the run of the checkpoint: '
        + '; '.join(groups)
        + '. What is still due in the pass of the checkpoint is trained with '
        'the weights that it was chosen with'
    )
