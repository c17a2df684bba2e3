"""The table of settings by tasks: what each loses, beside all data and the better control."""

from pathlib import Path
from statistics import mean
from typing import Dict, List, Optional

from mm_infobatch.cli.summarize import markdown_table

from . import ROOT
from .records import recorded
from .results import difference, finals, interval, saved
from .spec import EXPERIMENTS, Arm, Experiment, load_experiment

# A setting passes on a task if the interval of its difference to all data ends above this, where it
# saves so much.
LIMITS: Dict[str, float] = {'accuracy/top1': -0.3, 'mIoU': -1.0}
LEAST_SAVING = 0.25
HEADER = [
    'task',
    'training loss',
    'setting',
    'n',
    'difference [95 %]',
    'saving',
    'minus the better control',
    'bar',
]


def text(names: str, root: Path = ROOT, experiments: Path = EXPERIMENTS) -> str:
    """The table of some experiments, a row for each of their arms that prune.

    Args:
        names (str): The experiments, separated by commas; after a semicolon, which of their arms,
            if not all of them.
        root (Path): Where ``records/`` is. Defaults to the repository.
        experiments (Path): Where the experiment files are. Defaults to the repository's.

    Raises:
        ValueError: If there is no such experiment, or no arm of it that prunes has a record.
    """
    rows = [HEADER]
    experiment_names, _, arms = names.partition('; ')
    for name in experiment_names.split(', '):
        experiment = load_experiment(name, experiments)
        shown = [arm for arm in pruned(experiment) if not arms or arm.name in arms.split(', ')]
        found = [row(experiment, arm, root / 'records') for arm in shown]
        if not any(found):
            raise ValueError(f'settings: {names}: {name} has no record of an arm that prunes')
        rows += [cells for cells in found if cells]
    return markdown_table(rows)


def pruned(experiment: Experiment) -> List[Arm]:
    """The arms that are neither all data nor a control."""
    arms = experiment.arms.values()
    return [arm for arm in arms if arm.against is not None and arm.control_of is None]


def better_control(experiment: Experiment, arm: Arm, records: Path) -> Optional[Arm]:
    """Of the controls of an arm the one whose runs end highest; None where none has run.

    An arm without a control of its own is compared with those of the first arm that has some: of
    the arms that expect the same saving, if one of these has.
    """
    controls = [each for each in experiment.arms.values() if each.control_of is not None]
    own = [each for each in controls if each.control_of is arm]
    sources = [each.control_of for each in controls if each.control_of is not None]
    alike = [each for each in sources if each.expected_saving == arm.expected_saving]
    shared = [each for each in controls if each.control_of is (alike or sources)[0]]
    run = [each for each in own or shared if finals(each, records)]
    return max(run, key=lambda each: mean(finals(each, records)), default=None)


def last_loss(arm: Arm, records: Path) -> float:
    """The training loss that the runs of an arm logged last, the mean over seeds."""
    return mean(one.run.train[-1]['loss'] for one in recorded(arm, records).values())


def row(experiment: Experiment, arm: Arm, records: Path) -> Optional[List[str]]:
    """The cells of an arm; None where there is nothing to compare."""
    assert arm.against is not None
    values, whole = finals(arm, records), finals(arm.against, records)
    if not values or not whole:
        return None
    control, share = better_control(experiment, arm, records), saved(arm, records)
    return [
        experiment.task,
        f'{last_loss(arm.against, records):.2f}',
        arm.label,
        str(len(values)),
        interval(values, whole),
        '-' if share is None else f'{100 * share:.1f} %',
        '-' if control is None else interval(values, finals(control, records)),
        verdict(arm, share, values, whole, records),
    ]


def verdict(
    arm: Arm, share: Optional[float], values: List[float], whole: List[float], records: Path
) -> str:
    """Whether an arm meets the bar; '-' for one that saves less, or has too few runs."""
    metrics = {one.run.metric()[0] for one in recorded(arm, records).values()}
    limit = LIMITS.get(metrics.pop()) if len(metrics) == 1 else None
    found, half = difference(values, whole)
    if limit is None or half is None or share is None or share < LEAST_SAVING:
        return '-'
    return 'met' if found - half > limit else '**missed**'
