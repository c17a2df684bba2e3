"""Records: what is kept of a run, one JSON file each.

``records/NAME/ARM_seedN.json`` has, in the words of whatever wrote them,

- ``settings`` and ``starts``: what ``experiment.py run`` noted; null for runs of other tools;
- ``environment``: versions, processor, accelerators;
- ``cfg``: what the config gave the Runner, but for its tests;
- ``iterations``, ``samples``, ``seconds`` and ``notes`` of the whole run, ``sessions`` its starts;
- ``train`` and ``metrics``: the logged scalars, a list a column, 9 digits each;
- ``infobatch``: what InfoBatchHook wrote, its passes as columns, too, without the histograms;
- ``losses``, of runs that keep their checkpoints: see ``losses.py``;
- ``scores``, of runs on a file of scores: how it was made, and how many seconds that took.

``records/NAME/runs.jsonl`` holds runs of which only the ends were kept, one a line.
"""

import functools
import inspect
import json
import os
import platform
import re
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mm_infobatch.cli.logged_run import LoggedRun
from mm_infobatch.cli.run_logs import read_run

from .losses import distributions as loss_distributions
from .spec import SCORES_FILE, Arm

Row = Dict[str, Any]
PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmsegmentation', 'mmpretrain')
# Arguments of a Runner that say nothing of how a model was trained.
LEFT_OUT = re.compile(r'cfg|test_\w+|launcher|load_from|resume|work_dir|experiment_name|visualizer')


class Record(NamedTuple):
    """A record: what its file says, and the run as ``run_logs.py`` gives one."""

    content: Dict[str, Any]
    run: LoggedRun

    @property
    def timed(self) -> bool:
        """Whether its time can be shown: it is known how the run was made."""
        return bool(self.content['starts']) and self.run.seconds is not None


# -------------------------------------------------------------------- writing


def environment() -> Dict[str, Any]:
    """The versions and the processor that a run's times depend on."""
    names = {name for package in PACKAGES for name in (package, f'onedl-{package}')}
    versions = {one.metadata['Name']: one.version for one in distributions()}
    processor = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        found = re.search(r'^model name\s*:\s*(.+)$', info.read_text(), re.MULTILINE)
        processor = found.group(1) if found else processor
    result: Dict[str, Any] = dict(
        python=platform.python_version(),
        packages={name: versions[name] for name in sorted(names & versions.keys())},
        processor=processor,
        cores=os.cpu_count(),
    )
    if torch.cuda.is_available():
        result['accelerators'] = [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    return result


def make_record(work_dir: Path, out: Path, with_losses: bool = False) -> None:
    """Write the record of the run in a work directory.

    Args:
        work_dir (Path): The run's work directory.
        out (Path): The file to write; an older record there is replaced.
        with_losses (bool): Whether to keep the distribution of losses of each checkpoint. Defaults
            to False.

    Raises:
        ValueError: If the work directory has no logs, or what is at ``out`` is no older record.
    """
    if out.exists() and not is_record(out):
        raise ValueError(
            f'{str(out)!r} is there, but is no record; give another file, or remove it'
        )
    content = content_of(work_dir, environment())
    if with_losses:
        content['losses'] = loss_distributions(work_dir)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + '.part')
    part.write_text(dumps(content))
    os.replace(part, out)


def is_record(path: Path) -> bool:
    """Whether a path is a file that :func:`make_record` wrote."""
    try:
        return {'settings', 'train'} <= set(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return False


def content_of(work_dir: Path, machine: Dict[str, Any]) -> Dict[str, Any]:
    """What the record of a run has.

    Args:
        work_dir (Path): The run's work directory.
        machine (dict): What it ran on, see :func:`environment`.
    """
    run = read_run(work_dir)
    note = work_dir / 'run.json'
    settings = json.loads(note.read_text()) if note.is_file() else {}
    starts = settings.pop('starts', None)
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'))
    config = scalars[-1].with_name('config.py')
    infobatch = run.infobatch
    if infobatch is not None:
        passes = columns(infobatch['passes'])
        passes.pop('histogram', None)  # it would be the largest part of the record
        infobatch = dict(infobatch, passes=passes)
    result: Dict[str, Any] = dict(
        settings=settings or None,
        starts=starts,
        environment=machine,
        cfg=settings_of(config) if config.is_file() else None,
        iterations=run.iterations,
        samples=run.samples,
        seconds=run.seconds,
        notes=run.notes,
        sessions=[path.parent.parent.name for path in scalars],
        train=_placed(run, run.train),
        metrics=_placed(run, run.metrics),
        infobatch=infobatch,
    )
    scores = (work_dir / SCORES_FILE).with_suffix('.json')
    if scores.is_file():
        result['scores'] = json.loads(scores.read_text())
    return result


def settings_of(config: Path) -> Dict[str, Any]:
    """What a dumped config gives a Runner for training."""
    cfg = Config.fromfile(str(config), import_custom_modules=False).to_dict()
    names = [name for name in inspect.signature(Runner).parameters if not LEFT_OUT.fullmatch(name)]
    return {name: cfg[name] for name in (*names, 'custom_imports') if cfg.get(name) is not None}


def columns(rows: List[Row]) -> Dict[str, List[Any]]:
    """Rows as columns; None where a row lacks a value, numbers with 9 digits."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [_short(row.get(name)) for row in rows] for name in names}


def _placed(run: LoggedRun, logged: List[Row]) -> Dict[str, List[Any]]:
    """Logged rows as columns, with the samples and the seconds that they come after."""
    iterations = np.array([row['iter'] for row in logged])
    found = columns([{key: row[key] for key in row if key != 'step'} for row in logged])
    if run.samples is not None:
        found['samples'] = [_short(each) for each in run.samples_at(iterations).tolist()]
    if run.seconds is not None:
        found['seconds'] = [_short(each) for each in run.seconds_at(iterations).tolist()]
    return found


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else float(f'{value:.9g}')


def dumps(content: Dict[str, Any]) -> str:
    """A record as JSON, with a line for each value and each column."""
    lines = []
    for key, value in content.items():
        text = json.dumps(value, separators=(',', ':'))
        if isinstance(value, dict) and value:
            inner = [f'  "{name}": {json.dumps(each)}' for name, each in value.items()]
            text = '{\n' + ',\n'.join(inner) + '\n }'
        lines.append(f' "{key}": {text}')
    return '{\n' + ',\n'.join(lines) + '\n}\n'


# -------------------------------------------------------------------- reading


def path_of(arm: Arm, seed: int, records: Path) -> Path:
    """Where the record of a run is, or is to be."""
    return records / arm.owner / f'{arm.name}_seed{seed}.json'


def recorded(arm: Arm, records: Path) -> Dict[int, Record]:
    """The records of an arm, by seed.

    Raises:
        ValueError: If a record cannot be read.
    """
    found = {}
    for seed in arm.seeds:
        path = path_of(arm, seed, records)
        if path.is_file():
            found[seed] = _read(path, path.stat().st_mtime_ns)
        else:
            lines = _read_lines(path.with_name('runs.jsonl'))
            if (arm.name, seed) in lines:
                found[seed] = lines[arm.name, seed]
    return found


def totals_of(arm: Arm, seed: int, records: Path) -> Optional[Dict[str, Any]]:
    """What a pruned run has trained in all; None where it has no record or did not finish."""
    record = recorded(arm, records).get(seed)
    if record is None or record.run.infobatch is None:
        return None
    totals = record.run.infobatch['totals']
    return totals if totals['finished'] else None


@functools.lru_cache(maxsize=None)
def _read(path: Path, stamp: int) -> Record:
    try:
        content = json.loads(path.read_text())
        return Record(content, run_of(content, path.stem))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not what make_record writes: {error!r}') from error


@functools.lru_cache(maxsize=None)
def _read_lines(path: Path) -> Dict[Any, Record]:
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        content = json.loads(line)
        arm, seed = content['settings']['arm'], content['settings']['seed']
        found[arm, seed] = Record(content, run_of(content, f'{arm}_seed{seed}'))
    return found


def run_of(content: Dict[str, Any], name: str) -> LoggedRun:
    """The run that a record is of."""
    train, metrics = rows(content['train']), rows(content['metrics'])
    infobatch, end = content['infobatch'], content['iterations']
    if infobatch is not None:
        infobatch = dict(infobatch, passes=rows(infobatch['passes']))
    places: Dict[str, Any] = dict(samples={0: 0.0}, seconds={0: 0.0})
    for key, place in places.items():
        for row in sorted([*train, *metrics], key=lambda row: row['iter']):
            if key in row:
                place[row['iter']] = row.pop(key)
        if content[key] is not None:
            place[end] = content[key]
    samples, seconds = ((np.array([*each]), np.array([*each.values()])) for each in places.values())
    return LoggedRun(
        name,
        train,
        metrics,
        end,
        content['samples'],
        content['seconds'],
        infobatch,
        content['notes'],
        samples,
        seconds,
    )


def rows(found: Dict[str, List[Any]]) -> List[Row]:
    """Columns as rows, without what they lack."""
    return [
        {name: value for name, value in zip(found, values) if value is not None}
        for values in zip(*found.values())
    ]
