"""The numbers and curves of a run, as the page of ``inspect`` shows them."""

import datetime
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from ..page.run_facts import Curve, RunFacts, flat
from .logged_run import LoggedRun
from .plot import COLORS, axis_values, smooth
from .summarize import best_of, format_duration

LOSS = 'training loss'
RATE = 'learning rate'
PRUNED = 'share pruned'
SCORE = 'threshold and mean score (dotted)'


def run_facts(
    run: LoggedRun, label: str, number: int, work_dir: Path, config: Any, metric: Optional[str]
) -> RunFacts:
    """What the page shows of a run besides its samples.

    Args:
        run (LoggedRun): The run.
        label (str): Its name.
        number (int): Its place among the runs, which gives its color.
        work_dir (Path): Its work directory.
        config (Config, optional): Its config.
        metric (str, optional): Which metric. Defaults to mIoU or top-1 accuracy.
    """
    facts = RunFacts(label, COLORS[number] if number < 6 else '#808080')
    facts.numbers = numbers(run, work_dir, metric)
    in_state = None if run.infobatch is None else run.unfinished  # the state says it already
    facts.notes = [note for note in run.notes if note != in_state]
    facts.passes = run.passes
    facts.curves = curves(run, metric)
    facts.settings = {} if config is None else flat(config.to_dict())
    facts.settings.pop('work_dir', None)
    return facts


def numbers(run: LoggedRun, work_dir: Path, metric: Optional[str]) -> Dict[str, str]:
    """The run in numbers, as names and texts in the order of the page."""
    seconds_left = remaining_seconds(run)
    stopped_by_hook = run.infobatch is not None and run.infobatch['totals'].get('stopped')
    state = run.unfinished if stopped_by_hook else None
    return {
        'state': state or state_text(work_dir, seconds_left),
        **_progress_numbers(run, seconds_left),
        **_time_numbers(run),
        **_metric_numbers(run, metric),
        **_choosing_numbers(run),
    }


def _progress_numbers(run: LoggedRun, seconds_left: Optional[float]) -> Dict[str, str]:
    """Iterations and samples, and what was saved of them."""
    texts = {'iterations': f'{run.iterations:,}'}
    if run.infobatch is None:
        if run.samples is not None:
            texts['samples trained'] = f'{run.samples:,}'
        return texts
    totals = run.infobatch['totals']
    schedule = totals['schedule_iterations']
    unpruned = schedule - steps_before(run) + run.begin
    texts['iterations'] += f' of a schedule of {unpruned:,}'
    assert run.samples is not None  # infobatch.json has them
    samples = totals['samples_full'] + run.samples - totals['samples_trained']
    texts['samples trained'] = f'{run.samples:,} of {samples:,}'
    texts['saving in samples'] = f'{totals["saving"]:.1%}'
    if totals['finished']:
        texts['saving in iterations'] = f'{1 - run.iterations / max(unpruned, 1):.1%}'
    elif seconds_left is not None:
        done = steps_done(run, run.infobatch) / max(schedule, 1)
        texts['schedule done'] = f'{min(done, 1):.1%}'
    return texts


def _time_numbers(run: LoggedRun) -> Dict[str, str]:
    """The training time, and an estimate of what was saved of it."""
    if run.seconds is None:
        return {}
    texts = {'training time': format_duration(run.seconds)}
    totals = {} if run.infobatch is None else run.infobatch['totals']
    if totals and totals['samples_trained']:
        seconds = run.seconds - run.seconds_at(np.array(run.begin))
        full, trained = totals['samples_full'], totals['samples_trained']
        saved = (seconds - totals['seconds_choosing']) * full / trained - seconds
        texts['time saved (estimated)'] = format_duration(max(saved, 0.0))
    return texts


def _metric_numbers(run: LoggedRun, metric: Optional[str]) -> Dict[str, str]:
    """The final and the best value of a metric."""
    name, steps, values = run.metric(metric)
    if not len(values):
        return {}
    best = best_of(name, values)
    return {
        f'{name}, final': f'{values[-1]:.2f}',
        f'{name}, best': f'{values[best]:.2f} (at {steps[best]:,})',
    }


def _choosing_numbers(run: LoggedRun) -> Dict[str, str]:
    """How the samples were chosen; nothing for a run without InfoBatch."""
    if run.infobatch is None:
        return {}
    settings, totals = run.infobatch['settings'], run.infobatch['totals']
    keys = ('policy', 'delta', 'seed', 'num_samples', 'batch_size', 'world_size')
    return {
        'passes': f'{totals["passes"]:,}',
        'time spent choosing': format_duration(totals['seconds_choosing']),
        **{key.replace('_', ' '): str(settings[key]) for key in keys if key in settings},
    }


def steps_before(run: LoggedRun) -> int:
    """The steps of the schedule that a run had made before InfoBatch was switched on.

    They are its iterations; by epoch its epochs, whose iterations may have been of another batch
    size.
    """
    if run.infobatch is None or not run.infobatch['passes']:
        return 0
    length, passes = run.infobatch['settings']['pass_length'], run.infobatch['passes'][0]['pass']
    return run.begin if run.begin // length == passes else passes * length


def steps_done(run: LoggedRun, report: Dict[str, Any]) -> float:
    """The steps of the schedule that a run had done when its report was written.

    Args:
        run (LoggedRun): The run.
        report (dict): Its ``infobatch.json``.
    """
    settings, passes = report['settings'], report['passes']
    if settings.get('budget') == 'iterations':
        return steps_before(run) + report['totals']['iterations']
    share = passes[-1]['full'] / samples_per_pass(report) if passes else 1.0
    return steps_before(run) + (len(passes) - 1 + share) * settings['pass_length']


def samples_per_pass(report: Dict[str, Any]) -> int:
    """The samples that a pass over all data trains, without those that ``drop_last`` leaves out, as
    recorded in a pass that has ended."""
    passes = report['passes']
    if len(passes) > 1:
        return passes[-2]['full']
    settings = report['settings']
    in_batches = settings['pass_length'] * settings['batch_size'] * settings['world_size']
    return min(in_batches, settings['num_samples'])


def difference(run: LoggedRun, first: LoggedRun, metric: Optional[str]) -> str:
    """How a run differs from the first one: samples, iterations, time, and the final metric."""
    pairs = {
        'samples': (run.samples, first.samples),
        'iterations': (run.iterations, first.iterations),
        'time': (run.seconds, first.seconds),
    }
    parts = [
        f'{name} {ours / theirs - 1:+.1%}'
        for name, (ours, theirs) in pairs.items()
        if ours and theirs
    ]
    (name, _, ours), (other, _, theirs) = run.metric(metric), first.metric(metric)
    if name == other and len(ours) and len(theirs):
        parts.append(f'{name} {ours[-1] - theirs[-1]:+.2f}')
    return ', '.join(parts)


def remaining_seconds(run: LoggedRun) -> Optional[float]:
    """The training time that is left, estimated from the times so far.

    Returns:
        float, optional: 0 for a finished run; NaN where the logs have no times; None where it is
        not known how long the run is to be.
    """
    if run.infobatch is None:
        if run.planned is None:
            return None
        left = max(run.planned - run.iterations, 0)
        return left * seconds_each(run.seconds, run.iterations) if left else 0.0
    settings, totals = run.infobatch['settings'], run.infobatch['totals']
    if totals['finished']:
        return 0.0
    # infobatch.json is written at the end of a pass and with a checkpoint; the logs go on.
    since = float(run.seconds_at(np.array(np.inf))) - (run.seconds or 0.0)
    if settings.get('budget') == 'iterations':
        left = max(totals['schedule_iterations'] - run.iterations, 0)
        return above_zero(left * seconds_each(run.seconds, run.iterations) - since)
    passes = totals['schedule_iterations'] / settings['pass_length']
    samples = remaining_samples(
        steps_done(run, run.infobatch) / settings['pass_length'],
        passes,
        settings['delta'],
        samples_per_pass(run.infobatch),
        pruned_share(run.infobatch['passes']),
    )
    return above_zero(samples * seconds_each(run.seconds, run.samples) - since)


def above_zero(seconds: float) -> float:
    """The seconds left of a run that is not finished: never 0, which would say that it is."""
    return float(np.maximum(seconds, 0.1))


def seconds_each(seconds: Optional[float], count: Optional[int]) -> float:
    """Seconds for each of what was counted; NaN where either is not known."""
    return seconds / count if seconds is not None and count else float('nan')


def pruned_share(passes: List[Dict[str, Any]]) -> float:
    """The share that the latest pass with pruning has pruned, 0 if there is none."""
    shares = [record['pruned_share'] for record in passes if record['pruned']]
    return shares[-1] if shares else 0.0


def remaining_samples(
    done: float, passes: float, delta: float, num_samples: int, pruned: float
) -> float:
    """Samples that are still to be trained.

    Args:
        done (float): Passes of the schedule that are done.
        passes (float): Passes of the schedule.
        delta (float): From this share of the schedule on, nothing is pruned.
        num_samples (int): The samples of a pass over all data.
        pruned (float): The share that a pass with pruning prunes.
    """
    pruning = max(delta * passes - max(done, 1), 0)  # the first pass prunes nothing
    return (max(passes - done, 0) - pruned * pruning) * num_samples


def state_text(work_dir: Path, seconds_left: Optional[float]) -> str:
    """Whether a run is finished, and when it will be; times are those of this machine."""
    if seconds_left is None:
        return 'its length is not known'
    if seconds_left == 0:
        return 'finished'
    if np.isnan(seconds_left):
        return 'not finished'
    newest = max(path.stat().st_mtime for path in work_dir.glob('*/vis_data/scalars.json'))
    end = datetime.datetime.fromtimestamp(newest + seconds_left)
    return (
        f'not finished: {format_duration(seconds_left)} of training left without validation, '
        f'expected end {end:%Y-%m-%d %H:%M} if it runs'
    )


def curves(run: LoggedRun, metric: Optional[str]) -> List[Curve]:
    """Loss, metric, learning rate, share pruned, threshold and mean score of a run."""
    drawn = []

    def add(panel: str, iterations: Any, values: Any, style: str = 'line') -> None:
        if len(values):
            at = np.asarray(iterations, float)
            positions = {'iterations': at}
            if run.samples is not None:
                positions['samples'] = axis_values(run, 'samples', at)
            if run.seconds is not None:
                positions['time'] = axis_values(run, 'time', at) / 3600
            values = np.array([np.nan if each is None else each for each in values], float)
            drawn.append(Curve(panel, positions, values, style))

    steps, loss = run.loss()
    add(LOSS, steps, loss, 'faint')
    add(LOSS, steps, smooth(loss))
    name, steps, values = run.metric(metric)
    add(name, steps, values, 'points' if len(values) <= 40 else 'line')
    rates = [row for row in run.train if 'lr' in row]
    add(RATE, [row['iter'] for row in rates], [row['lr'] for row in rates])
    passes = run.passes
    begins = [record['begin_iter'] for record in passes]
    if passes:
        end = begins[-1] + passes[-1]['iterations']
        shares = [record['pruned_share'] for record in passes]
        add(PRUNED, [*begins, end], [*shares, shares[-1]], 'steps')
        thresholds = [record['threshold'] for record in passes]
        means = [record['mean_score'] for record in passes]
        add(SCORE, begins, thresholds)
        if means != thresholds:
            add(SCORE, begins, means, 'dashed')
    return drawn
