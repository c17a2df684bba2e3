"""Experiments as data: what ``experiments/NAME.py`` says, and what each of its runs is.

An experiment file is plain Python that sets

- ``title`` and ``about`` (str): what it shows, for the report;
- ``config`` (str): the config of its arms, where they do not name one;
- ``seeds`` (list[int]): the seeds of each arm;
- ``arms`` (list[dict]): what is compared. A row of the table is an arm over its seeds;
- ``baseline`` (str, optional): the arm that differences are taken to. Defaults to 'all';
- ``figures`` (list[dict], optional): what to draw, see ``_figures.py``;
- ``gpus`` and ``batch`` (int, optional): processes of a run, and the batch size over all of them;
- ``schedule`` (float, optional): the share of the configs' schedules that is trained;
- ``options`` (dict, optional): ``--cfg-options`` of all arms;
- ``amp`` (bool, optional): mixed precision, where there is an accelerator;
- ``drawn`` (str, optional): in which layout ``--dry-run`` draws the data that it takes steps on.

An arm has a ``name`` and may have what is in ``ARM_KEYS``. ``infobatch`` holds the options of
``--infobatch`` ({} for its defaults; None, the default, trains the config as it is).

Some arms depend on what another one of the same seed has recorded:

- ``control_of='infobatch'``: all data for as many iterations as that arm took, with the schedule
  shortened to fit (to whole epochs, where the config counts epochs);
- ``saving_of='infobatch'``: the policy's ``prune_ratio`` is set so that it skips as many samples of
  the whole run, its first pass included, in which nothing is skipped;
- ``samples=0.5, like='infobatch'``: the schedule is shortened so that the arm trains on that share
  of the samples, if it skips as many in each pass as the other one did.

Until that record is there, ``expected_saving`` of the other arm stands in for it in plans.
"""

import functools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config

from mm_infobatch.cli.run_logs import Run, read_run

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = ROOT / 'experiments'
NAME = re.compile(r'[a-z0-9][a-z0-9_.-]*')
KEYS = {
    'title': str,
    'about': str,
    'config': str,
    'seeds': list,
    'arms': list,
    'baseline': str,
    'figures': list,
    'gpus': int,
    'batch': int,
    'schedule': (int, float),
    'options': dict,
    'amp': bool,
    'drawn': str,
}
ARM_KEYS = {
    'label': str,
    'config': str,
    'seeds': list,
    'infobatch': (dict, type(None)),
    'options': dict,
    'schedule': (int, float),
    'control_of': str,
    'saving_of': str,
    'samples': (int, float),
    'like': str,
    'expected_saving': (int, float),
    'against': str,
    'paper': str,
    'keep_checkpoints': bool,
    'line': str,
    'x': (int, float),
    'same_as': str,
}


@dataclass(frozen=True)
class Arm:
    """One row of an experiment: a config and its settings, over seeds.

    Attributes:
        owner: The experiment whose records it writes; another one where it is ``same_as`` its arm.
        name: Its name there.
        label: How tables and figures call it.
        against: The arm that its difference is taken to; None for a baseline.
        x, line: Its place in a figure of a sweep: on the axis, and on which line.
    """

    owner: str
    name: str
    label: str
    config: str
    seeds: Tuple[int, ...]
    infobatch: Optional[Dict[str, Any]] = None
    options: Dict[str, Any] = field(default_factory=dict)
    schedule: float = 1.0
    control_of: Optional['Arm'] = None
    saving_of: Optional['Arm'] = None
    samples: Optional[float] = None
    like: Optional['Arm'] = None
    expected_saving: Optional[float] = None
    against: Optional['Arm'] = None
    paper: str = ''
    keep_checkpoints: bool = False
    line: str = ''
    x: Optional[float] = None
    gpus: int = 1
    batch: Optional[int] = None
    amp: bool = False
    drawn: Optional[str] = None

    @property
    def source(self) -> Optional['Arm']:
        """The arm whose record of the same seed says how to train this one."""
        return self.control_of or self.saving_of or self.like

    def record(self, seed: int, records: Path) -> Path:
        """Where the record of a seed is, or is to be."""
        return records / self.owner / f'{self.name}_seed{seed}'


@dataclass(frozen=True)
class Experiment:
    """What an experiment file says."""

    name: str
    title: str
    about: str
    arms: Tuple[Arm, ...]
    figures: Tuple[Dict[str, Any], ...] = ()
    drawn: Optional[str] = None

    def arm(self, name: str) -> Arm:
        """The arm of that name, which is also how ``same_as`` arms are called here."""
        return self.arms[self.names.index(name)]

    @property
    def names(self) -> List[str]:
        """The names of the arms."""
        return [
            arm.name if arm.owner == self.name else f'{arm.owner}/{arm.name}' for arm in self.arms
        ]


def available(folder: Path = EXPERIMENTS) -> List[str]:
    """The names of all experiments, sorted."""
    return sorted(path.name[: -len('.py')] for path in folder.glob('*.py'))


def load_experiment(name: str, folder: Path = EXPERIMENTS) -> Experiment:
    """Read an experiment file.

    Raises:
        ValueError: If there is none, or it says what cannot be, with the reason.
    """
    path = folder / f'{name}.py'
    if not path.is_file():
        raise ValueError(
            f'experiment {name!r}: {str(path)!r} does not exist; there are: '
            + ', '.join(available(folder))
        )
    content = {
        key: value
        for key, value in Config.fromfile(str(path)).to_dict().items()
        if not key.startswith('_')
    }
    where = f'experiments/{name}.py'
    _check(content, KEYS, ('title', 'arms'), where)
    default = dict(
        config=content.get('config'),
        seeds=content.get('seeds', [0]),
        schedule=content.get('schedule', 1.0),
    )
    arms: Dict[str, Arm] = {}
    baseline = content.get('baseline', 'all')
    for one in content['arms']:
        if not isinstance(one, dict) or not isinstance(one.get('name', one.get('same_as')), str):
            raise ValueError(f'{where}: an arm is a dict with a name or same_as, not {one!r}')
        if 'same_as' in one:
            arm = _other(one, arms, folder, where)
            key = one['same_as']
        else:
            arm = _arm(name, dict(default, **one), content, arms, baseline, where)
            key = arm.name
        if key in arms:
            raise ValueError(f'{where}: two arms are called {key!r}; rename one')
        arms[key] = arm
    for figure in content.get('figures', []):
        named = figure.get('arms', []) + [figure[key] for key in ('arm',) if key in figure]
        unknown = [each for each in named if each not in arms]
        if unknown:
            raise ValueError(
                f'{where}: figure {figure}: {unknown[0]!r} is none of the arms {", ".join(arms)}'
            )
    return Experiment(
        name,
        content['title'],
        content.get('about', '').strip(),
        tuple(arms.values()),
        tuple(content.get('figures', [])),
        content.get('drawn'),
    )


def _arm(
    owner: str,
    one: Dict[str, Any],
    content: Dict[str, Any],
    arms: Dict[str, Arm],
    baseline: str,
    where: str,
) -> Arm:
    name = one.pop('name')
    where = f'{where}: arm {name!r}'
    if not NAME.fullmatch(name):
        raise ValueError(f'{where}: a name has small letters, digits and ._-')
    one = {key: value for key, value in one.items() if value is not None or key == 'infobatch'}
    _check(one, ARM_KEYS, ('config', 'seeds'), where)
    if not (ROOT / one['config']).is_file() and not Path(one['config']).is_file():
        raise ValueError(f'{where}: config {one["config"]!r} does not exist')
    for key in ('control_of', 'saving_of', 'like'):
        if key in one:
            one[key] = _earlier(one[key], arms, f'{where}: {key}')
    if ('samples' in one) != ('like' in one):
        raise ValueError(f'{where}: samples and like belong together; give both or none')
    if 'against' in one:
        one['against'] = _earlier(one['against'], arms, f'{where}: against')
    elif name != baseline and baseline in arms:
        one['against'] = arms[baseline]
    one['options'] = {**content.get('options', {}), **one.get('options', {})}
    one['seeds'] = tuple(one['seeds'])
    one.setdefault('label', name)
    for key in ('gpus', 'batch', 'amp', 'drawn'):
        if key in content:
            one[key] = content[key]
    return Arm(owner=owner, name=name, **one)


def _other(one: Dict[str, Any], arms: Dict[str, Arm], folder: Path, where: str) -> Arm:
    """The arm of another experiment, under a label of this one's."""
    owner, _, name = one['same_as'].partition('/')
    where = f'{where}: same_as={one["same_as"]!r}'
    allowed = {'same_as', 'label', 'against', 'paper', 'line', 'x'}
    if set(one) - allowed:
        raise ValueError(
            f'{where}: {", ".join(sorted(set(one) - allowed))} cannot be changed '
            f'here; only {", ".join(sorted(allowed - {"same_as"}))} can'
        )
    other = load_experiment(owner, folder)
    if name not in other.names:
        raise ValueError(f'{where}: there is no such arm; there are {", ".join(other.names)}')
    changed = {key: value for key, value in one.items() if key != 'same_as'}
    if 'against' in changed:
        changed['against'] = _earlier(changed['against'], arms, f'{where}: against')
    values = {key: getattr(other.arm(name), key) for key in Arm.__dataclass_fields__}
    return Arm(**{**values, **changed})


def _earlier(name: str, arms: Dict[str, Arm], where: str) -> Arm:
    if name not in arms:
        raise ValueError(f'{where}: {name!r} is none of the arms above it: {", ".join(arms)}')
    return arms[name]


def _check(
    content: Dict[str, Any], keys: Dict[str, Any], needed: Tuple[str, ...], where: str
) -> None:
    for key in needed:
        if content.get(key) is None:
            raise ValueError(f'{where}: {key} is missing')
    for key, value in content.items():
        if key not in keys:
            raise ValueError(f'{where}: {key} is none of {", ".join(keys)}')
        if not isinstance(value, keys[key]):
            raise ValueError(f'{where}: {key}={value!r} has the wrong type')


# --------------------------------------------------------- what was recorded


@functools.lru_cache(maxsize=None)
def _read(record: Path, stamps: Tuple[int, ...]) -> Run:
    return read_run(record)


def recorded(arm: Arm, records: Path) -> Dict[int, Run]:
    """The runs of an arm that have a record, by seed.

    Raises:
        ValueError: If a record cannot be read.
    """
    found = {}
    for seed in arm.seeds:
        record = arm.record(seed, records)
        if (record / 'environment.json').is_file():
            stamps = tuple(path.stat().st_mtime_ns for path in sorted(record.rglob('*.*')))
            found[seed] = _read(record, stamps)
    return found


def finals(runs: Dict[int, Run]) -> List[float]:
    """The last value of the metric of each run that has logged one."""
    values = [run.metric()[2] for run in runs.values()]
    return [float(each[-1]) for each in values if len(each)]


# ------------------------------------------------------------- what a run is


@functools.lru_cache(maxsize=None)
def _config(path: str) -> Config:
    return Config.fromfile(path)


def config_of(arm: Arm) -> Config:
    """The config of an arm as its file says; not to be changed."""
    path = ROOT / arm.config
    return _config(str(path if path.is_file() else arm.config))


def shortened(cfg: Config, length: int) -> Dict[str, Any]:
    """What to set for a schedule of another length, ``--cfg-options``.

    Args:
        cfg (Config): A training config.
        length (int): The epochs or iterations, whichever ``train_cfg`` counts, to train.

    Returns:
        dict: Of ``train_cfg`` and of all that ``param_scheduler`` says of time, in proportion.
    """
    key = 'max_iters' if 'max_iters' in cfg.train_cfg else 'max_epochs'
    old = cfg.train_cfg[key]
    options: Dict[str, Any] = {f'train_cfg.{key}': length}
    schedulers = cfg.get('param_scheduler') or []
    many = not isinstance(schedulers, dict)
    for index, scheduler in enumerate(schedulers if many else [schedulers]):
        prefix = f'param_scheduler.{index}' if many else 'param_scheduler'
        for name in ('begin', 'end', 'total_steps', 'T_max'):
            if scheduler.get(name):
                options[f'{prefix}.{name}'] = max(1, round(scheduler[name] * length / old))
        if 'milestones' in scheduler:
            options[f'{prefix}.milestones'] = [
                max(1, round(each * length / old)) for each in scheduler['milestones']
            ]
    return options


def totals_of(record: Path) -> Optional[Dict[str, Any]]:
    """The totals in a record's ``infobatch.json``, None where there is none or it is unfinished."""
    path = record / 'infobatch.json'
    if not path.is_file():
        return None
    totals = json.loads(path.read_text())['totals']
    return totals if totals['finished'] else None


def depends(arm: Arm, seed: int, records: Path) -> Tuple[Optional[float], bool]:
    """The saving that an arm goes by.

    Returns:
        tuple[float | None, bool]: The share of iterations (for a control) or of samples that the
            other arm saved, and whether that comes from its record. None: there is nothing to go
            by, neither a record nor an expectation.
    """
    if arm.source is None:
        return None, True
    totals = totals_of(arm.source.record(seed, records))
    if totals is None:
        return arm.source.expected_saving, False
    if arm.control_of is not None:
        return 1 - totals['iterations'] / totals['schedule_iterations'], True
    return totals['saving'], True


def settings(arm: Arm, seed: int, records: Path, gpus: Optional[int] = None) -> Dict[str, Any]:
    """All that decides a run, as plain values that can be compared with those of a record.

    Args:
        arm (Arm): Which arm.
        seed (int): Which seed.
        records (Path): Where records are, for an arm that goes by one.
        gpus (int, optional): Processes of the run. Defaults to the experiment's.

    Raises:
        ValueError: If the batch cannot be divided among the processes, or an arm goes by another
            one that has neither a record nor an ``expected_saving``.
    """
    gpus = gpus or arm.gpus
    cfg = config_of(arm)
    infobatch = json.loads(json.dumps(arm.infobatch))
    share = arm.schedule
    if arm.source is not None:
        saving, _ = depends(arm, seed, records)
        if saving is None:
            raise ValueError(
                f'{arm.owner}/{arm.name}: {arm.source.name} has no record of seed '
                f'{seed} yet, and no expected_saving to plan with'
            )
        if arm.control_of is not None:
            share *= 1 - saving
        elif arm.like is not None and arm.samples is not None:
            share *= arm.samples / (1 - saving)
    counted = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs
    length = max(1, round(counted * share))
    if arm.saving_of is not None:
        passes = cfg.train_cfg.get('max_epochs')
        if passes is None or not infobatch or 'policy' not in infobatch:
            raise ValueError(f'{arm.owner}/{arm.name}: saving_of is for a policy of a run by epoch')
        infobatch['policy']['prune_ratio'] = round(saving * length / max(length - 1, 1), 4)
    options: Dict[str, Any] = {}
    logger = (cfg.get('default_hooks') or {}).get('logger') or {}
    # The mean of all iterations since the last line, not of the last 10, so that time is measured.
    options['log_processor.window_size'] = logger.get('interval', 10)
    options['default_hooks.checkpoint.max_keep_ckpts'] = -1 if arm.keep_checkpoints else 2
    if length != counted:
        options.update(shortened(cfg, length))
    if arm.batch is not None:
        if arm.batch % gpus:
            raise ValueError(
                f'{arm.owner}/{arm.name}: a batch of {arm.batch} cannot be divided '
                f'among {gpus} processes; give --gpus a divisor of it'
            )
        if arm.batch // gpus != cfg.train_dataloader.batch_size:
            options['train_dataloader.batch_size'] = arm.batch // gpus
    options.update(arm.options)
    options['randomness.seed'] = seed
    return dict(
        experiment=arm.owner,
        arm=arm.name,
        seed=seed,
        config=arm.config,
        infobatch=infobatch,
        options=options,
        amp=arm.amp,
        gpus=gpus,
    )


def arguments(
    run: Dict[str, Any], work_dir: str, resume: bool = False, extra: Optional[List[str]] = None
) -> List[str]:
    """The arguments of ``tools/train.py`` for a run.

    Args:
        run (dict): What :func:`settings` gave.
        work_dir (str): Its work directory.
        resume (bool): Whether to go on from the newest checkpoint there. Defaults to False.
        extra (list[str], optional): More ``key=value`` pairs of ``--cfg-options``.
    """
    command = ['--work-dir', work_dir]
    if resume:
        command = ['--resume', *command]
    if run['amp']:
        command.append('--amp')
    if run['infobatch'] is not None:
        command.append('--infobatch')
        if run['infobatch']:
            command += ['--infobatch-options', *_pairs(run['infobatch'])]
    return [*command, '--cfg-options', *_pairs(run['options']), *(extra or [])]


def _pairs(options: Dict[str, Any]) -> Iterator[str]:
    """``key=value``, as mmengine's DictAction reads them."""
    for key, value in options.items():
        if isinstance(value, dict):
            yield from (f'{key}.{pair}' for pair in _pairs(value))
        else:
            yield f'{key}={_text(value)}'


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        ends = '[]' if isinstance(value, list) else '()'
        return ends[0] + ','.join(map(_text, value)) + ends[1]
    return str(value)
