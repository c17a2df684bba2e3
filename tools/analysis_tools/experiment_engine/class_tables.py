"""The table of an experiment with the IoU of each class, where runs have logged it."""

from pathlib import Path
from statistics import mean
from typing import List

from mm_infobatch.cli.summarize import markdown_table

from .records import recorded
from .spec import Arm, Experiment

PREFIX = 'IoU.'


def table(experiment: Experiment, records: Path) -> str:
    """The mean of each class over the seeds, a row an arm with records.

    Args:
        experiment (Experiment): Which.
        records (Path): Where records are.

    Raises:
        ValueError: If no run has logged the IoU of classes.
    """
    arms = [arm for arm in experiment.arms.values() if recorded(arm, records)]
    names: List[str] = []
    for arm in arms:
        for record in recorded(arm, records).values():
            rows = record.run.metrics
            logged = [name for row in rows for name in row if name.startswith(PREFIX)]
            names += [name for name in dict.fromkeys(logged) if name not in names]
    if not names:
        raise ValueError(f'{experiment.name}: no run has logged {PREFIX}<class>')
    header = ['run', 'n', *(name[len(PREFIX) :] for name in names)]
    return markdown_table([header, *(row(arm, records, names) for arm in arms)])


def row(arm: Arm, records: Path, names: List[str]) -> List[str]:
    """The cells of an arm."""
    runs = [record.run for record in recorded(arm, records).values()]
    cells = [arm.label, str(len(runs))]
    for name in names:
        finals = [run.metrics[-1][name] for run in runs if run.metrics and name in run.metrics[-1]]
        cells.append(f'{mean(finals):.1f}' if finals else '-')
    return cells
