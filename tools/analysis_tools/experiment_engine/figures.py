"""The figures of experiments, from their records.

A figure of an experiment is a dict with a ``kind``, and a ``name`` where it has two of a kind:

- ``curves`` (arms): loss and metric over iterations, samples and time (the paper's Fig. 4a, b);
- ``time`` (arms): training time, and how much of it went into choosing samples (Fig. 4c);
- ``pruned`` (arm): samples pruned in each pass, and the metric (Fig. 4d);
- ``sweep`` (arms, xlabel; ``at`` is the place of those without an ``x``): the metric and the saving
  over a setting (Fig. 3);
- ``losses`` (arm): the losses before pruning, after it and after rescaling (Fig. 5).

A figure file carries a fingerprint of the records that it was drawn from, by which one that is out
of date is found.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Dict, List

from PIL import Image

from .records import recorded
from .spec import Experiment, load_experiment

Figure = Dict[str, Any]  # of an experiment file
KEYWORD = 'Records'  # of a PNG's text
CAPTIONS = dict(
    curves='loss and metric over iterations and samples, and time where it was noted',
    time='training time, and the part of it spent choosing samples',
    pruned='samples pruned in each pass, and the metric',
    sweep='sweep of {xlabel}',
    losses='losses before pruning, after it and after rescaling',
)


def file_name(experiment: Experiment, figure: Figure) -> str:
    """The name of a figure's file."""
    return f'{experiment.name}_{figure.get("name", figure["kind"])}.png'


def caption(experiment: Experiment, figure: Figure) -> str:
    """What a figure shows, for those who cannot see it."""
    return f'{experiment.title}: {CAPTIONS[figure["kind"]].format(**figure)}'


def groups_of(experiment: Experiment, figure: Figure, records: Path) -> List[Any]:
    """The arms of a figure that have records, each with these."""
    arms = [experiment.arms[name] for name in figure.get('arms') or [figure['arm']]]
    groups = [(arm, list(recorded(arm, records).values())) for arm in arms]
    return [(arm, group) for arm, group in groups if group]


def has_data(experiment: Experiment, figure: Figure, records: Path) -> bool:
    """Whether there are records enough to draw a figure."""
    groups = groups_of(experiment, figure, records)
    every = [one for _, group in groups for one in group]
    if figure['kind'] == 'losses':
        return any(one.content.get('losses') for one in every)
    if figure['kind'] == 'pruned':
        return any(one.run.infobatch for one in every)
    if figure['kind'] == 'time':
        return sum(any(one.timed for one in group) for _, group in groups) > 1
    return len(groups) > 1


def fingerprint(experiment: Experiment, figure: Figure, records: Path) -> str:
    """A number of what a figure shows: its settings, and the content of its records."""
    digest = hashlib.sha256(json.dumps(figure, sort_keys=True).encode())
    arms = [arm for arm, _ in groups_of(experiment, figure, records)]
    for arm in arms + [arm.against for arm in arms if arm.against is not None]:
        digest.update(arm.label.encode())
        for seed, one in sorted(recorded(arm, records).items()):
            digest.update(f'{seed}{json.dumps(one.content)}'.encode())
    return digest.hexdigest()


def is_current(experiment: Experiment, figure: Figure, records: Path, out: Path) -> bool:
    """Whether the file of a figure was drawn from the records as they are."""
    path = out / file_name(experiment, figure)
    if not path.is_file():
        return False
    with Image.open(path) as image:
        found = getattr(image, 'text', {}).get(KEYWORD)
    return found == fingerprint(experiment, figure, records)


def draw(experiment: Experiment, figure: Figure, records: Path, out: Path) -> Path:
    """Draw a figure into a folder; the same records give the same bytes on the same matplotlib."""
    from . import drawing, drawing_pruning  # matplotlib, which only drawing needs

    kinds: Dict[str, Callable[[Figure, Any, Path], Any]] = dict(
        curves=drawing.curves,
        time=drawing.times,
        pruned=drawing_pruning.pruned,
        sweep=drawing_pruning.sweep,
        losses=drawing_pruning.losses,
    )
    drawn = kinds[figure['kind']](figure, groups_of(experiment, figure, records), records)
    path = out / file_name(experiment, figure)
    out.mkdir(parents=True, exist_ok=True)
    text = {'Software': None, KEYWORD: fingerprint(experiment, figure, records)}
    drawn.savefig(path, dpi=150, metadata=text)
    return path


def update(
    names: List[str],
    experiments: Path,
    records: Path,
    out: Path,
    check: bool = False,
    everything: bool = False,
) -> List[str]:
    """Draw the figures that are out of date.

    Args:
        names (list[str]): Of experiments.
        experiments (Path): Where their files are.
        records (Path): Where their records are.
        out (Path): Where figures go.
        check (bool): Whether to draw nothing, and only tell. Defaults to False.
        everything (bool): Whether to draw also those that are current. Defaults to False.

    Returns:
        list[str]: The files drawn, or that would be.
    """
    stale = []
    for name in names:
        experiment = load_experiment(name, experiments)
        for figure in experiment.figures:
            if not has_data(experiment, figure, records):
                continue
            if everything or not is_current(experiment, figure, records, out):
                stale.append(file_name(experiment, figure))
                if not check:
                    print(f'drew {draw(experiment, figure, records, out)}')
    return stale
