"""The runs of an experiment: which there are, where each stands, and the command that trains it."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from . import ROOT
from .records import path_of, recorded, totals_of
from .settings import arguments, saving_of, settings
from .spec import SCORES_FILE, Arm, Experiment

COMPARED = ('config', 'infobatch', 'options', 'amp', 'scores')


class Job(NamedTuple):
    """One run: an arm and a seed."""

    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """What logs call it."""
        return f'{self.arm.owner}/{self.arm.name}_seed{self.seed}'


class Places(NamedTuple):
    """Where runs and records are, how many processes a run has, and what all runs are given."""

    work_dirs: Path = Path('work_dirs')
    records: Path = Path('records')
    gpus: Optional[int] = None
    cfg_options: Optional[List[str]] = None

    def work_dir(self, job: Job) -> Path:
        """The work directory of a run."""
        return self.work_dirs / job.name

    def record(self, job: Job) -> Path:
        """The record of a run."""
        return path_of(job.arm, job.seed, self.records)

    def settings(self, job: Job) -> Dict[str, Any]:
        """The settings of a run."""
        return settings(job.arm, job.seed, self.records, self.gpus)


def jobs_of(experiment: Experiment, wanted: Optional[List[str]] = None) -> List[Job]:
    """The runs of an experiment, all arms of a seed first.

    Args:
        experiment (Experiment): Which.
        wanted (list[str], optional): Names of arms (``infobatch``) or runs (``infobatch_seed0``).

    Raises:
        ValueError: If there is no such arm or run.
    """
    jobs: List[Job] = []
    known = set(experiment.arms)
    for seed in sorted({seed for arm in experiment.arms.values() for seed in arm.seeds}):
        for name, arm in experiment.arms.items():
            if seed in arm.seeds:
                known.add(f'{name}_seed{seed}')
                if not wanted or {name, f'{name}_seed{seed}'} & set(wanted):
                    jobs.append(Job(arm, seed))
    for each in wanted or []:
        if each not in known:
            raise ValueError(f'--runs {each}: is none of {", ".join(sorted(known))}')
    return jobs


def status(job: Job, places: Places, again: bool = False) -> str:
    """Where a run stands.

    Args:
        job (Job): Which.
        places (Places): Where it trains.
        again (bool): Whether it is to train although it has a record, see
            :func:`sources_without_checkpoints`. Defaults to False.

    Returns:
        str: 'done', 'finished' (without a record yet), 'interrupted', 'missing', 'waits for ...',
            or 'differs: ...' where a record or a work directory is of other settings.
    """
    record = recorded(job.arm, places.records).get(job.seed)
    note = places.work_dir(job) / 'run.json'
    if record is not None:
        old = record.content['settings'] if record.content['starts'] else None
        differs = _differs(job, places, old, places.record(job))
        if differs or not again:
            return differs or 'done'
    state = 'missing'
    if note.is_file():
        old = json.loads(note.read_text())
        differs = _differs(job, places, old, note)
        if _ended(old) and again:
            differs = f'differs: {note.parent} has ended, but not all of its checkpoints are there'
        if differs or _ended(old):
            return differs or 'finished'
        state = 'interrupted'
    for source, seed in _needed(job):
        if state == 'missing' and totals_of(source, seed, places.records) is None:
            return f'waits for {source.owner}/{source.name}_seed{seed}, which has no record'
    for again_job in sources_without_checkpoints(job, places):
        return f'waits for {again_job.name}, which has to train again for its checkpoints'
    return state


def sources_without_checkpoints(job: Job, places: Places) -> List[Job]:
    """The runs that have to train again before the scores of this one can be made from them.

    They have a record, as in a clone of the repository, but not the checkpoints.
    """
    scores = job.arm.scores
    if scores is None or (places.work_dir(job) / SCORES_FILE).is_file():
        return []
    with_record = recorded(scores.of, places.records)
    return [
        Job(scores.of, seed)
        for seed in scores.runs(job.seed)
        if seed in with_record and not _has_checkpoints(Job(scores.of, seed), places, scores.epochs)
    ]


def _has_checkpoints(job: Job, places: Places, epochs: Iterable[int]) -> bool:
    note = places.work_dir(job) / 'run.json'
    if note.is_file() and not _ended(json.loads(note.read_text())):  # one may be half written
        return False
    return all(path.is_file() for path in _checkpoints(job, places, epochs))


def _ended(note: Dict[str, Any]) -> bool:
    return any(one['status'] == 0 for one in note['starts'])


def _checkpoints(job: Job, places: Places, epochs: Iterable[int]) -> List[Path]:
    return [places.work_dir(job) / f'epoch_{epoch}.pth' for epoch in epochs]


def _needed(job: Job) -> Iterator[Tuple[Arm, int]]:
    """The runs that have to have a record before this one."""
    if job.arm.source is not None:
        yield job.arm.source, job.seed
    if job.arm.scores is not None:
        yield from ((job.arm.scores.of, seed) for seed in job.arm.scores.runs(job.seed))


def _differs(job: Job, places: Places, old: Optional[Dict[str, Any]], where: Path) -> str:
    """What of its settings differs from those that a run was made with, '' where nothing does."""
    if old is None or not saving_of(job.arm, job.seed, places.records)[1]:
        return ''
    new = json.loads(json.dumps(places.settings(job)))  # as written: a tuple is a list there
    different = [key for key in COMPARED if old.get(key) != new.get(key)]
    if not different:
        return ''
    return f'differs: {", ".join(different)} of {where} is not what the experiment file says'


def command_of(job: Job, places: Places, resume: bool, python: str = sys.executable) -> List[str]:
    """The command of a run, to be started at the root of the repository."""
    run = places.settings(job)
    rest = arguments(run, str(places.work_dir(job)), resume, places.cfg_options)
    command = [python, 'tools/train.py', str(run['config']), *rest]
    if run['gpus'] != 1:
        command = ['bash', 'tools/dist_train.sh', str(run['config']), str(run['gpus']), *rest]
    if job.arm.scores is None:
        return command
    out = places.work_dir(job) / SCORES_FILE
    first, then = (shlex.join(each) for each in (scores_command(job, places, python), command))
    return ['bash', '-c', f'{{ test -e {shlex.quote(str(out))} || {first}; }} && {then}']


def scores_command(job: Job, places: Places, python: str = sys.executable) -> List[str]:
    """The command that writes the file of scores of a run.

    Raises:
        ValueError: If the run has none.
    """
    scores = job.arm.scores
    if scores is None:
        raise ValueError(f'{job.name} has no scores')
    checkpoints = [
        str(path)
        for seed in scores.runs(job.seed)
        for path in _checkpoints(Job(scores.of, seed), places, scores.epochs)
    ]
    where = ['--out', str(places.work_dir(job) / SCORES_FILE)]
    # One for all arms of the experiment, which extract from the same checkpoints.
    where += ['--work-dir', str(places.work_dirs / job.arm.owner / 'extraction')]
    settings = ['--cfg-options', *places.cfg_options] if places.cfg_options else []
    return [
        *(python, '-m', 'mm_infobatch', 'scores', scores.method, scores.of.config),
        *(*checkpoints, *where, *scores.options, *settings),
    ]


def plan(experiment: Experiment, jobs: List[Job], places: Places) -> str:
    """Where each run stands, and its command."""
    lines = [f'{experiment.title}: {len(jobs)} runs']
    for job in jobs:
        state = status(job, places)
        lines += ['', f'{job.name}: {state}']
        saving, from_record = saving_of(job.arm, job.seed, places.records)
        if job.arm.source is not None and saving is not None and not from_record:
            lines.append(
                f'  planned with a saving of {saving:.1%}, until {job.arm.source.name} has run'
            )
        lines.append('  ' + shlex.join(command_of(job, places, state == 'interrupted')))
    return '\n'.join(lines)


def from_root(path: Path) -> Path:
    """A path as it is from the root of the repository, absolute where it lies outside."""
    path = path.absolute()
    return path.relative_to(ROOT) if ROOT in path.parents else path
