"""Experiments as data: what ``experiments/NAME.py`` says.

An experiment file is plain Python that sets

- ``title`` and ``about`` (str): what it shows, for the report;
- ``config`` (str): the config of its arms, where they do not name one;
- ``seeds`` (list[int]): the seeds of each arm;
- ``arms`` (list[dict]): what is compared. A row of the table is an arm over its seeds;
- ``baseline`` (str, optional): the arm that differences are taken to. Defaults to 'all';
- ``figures`` (list[dict], optional): what to draw, see ``figures.py``;
- ``gpus`` and ``batch`` (int, optional): processes of a run, and the batch size over all of them;
- ``schedule`` (float, optional): the share of the configs' schedules that is trained;
- ``options`` (dict, optional): ``--cfg-options`` of all arms;
- ``factors`` (dict, optional): what options that are numbers are multiplied by, in all arms;
- ``amp`` (bool, optional): mixed precision, where there is an accelerator;
- ``drawn`` (str, optional): the layout of the drawn data that ``plan`` takes steps on.

An arm has a ``name`` and may have what is in ``ARM_KEYS``. ``infobatch`` holds the options of
``--infobatch`` ({} for its defaults; None, the default, trains the config as it is).
``same_as='NAME/ARM'`` shows an arm of another experiment, under a label of its own.

Some arms depend on what another one of the same seed has recorded:

- ``control_of='infobatch'``: all data for as many iterations as that arm took, with the schedule
  shortened to fit (to whole epochs, where the config counts epochs);
- ``saving_of='infobatch'``: the policy's ``prune_ratio`` is set so that it skips as many samples of
  the whole run, its first pass included, in which nothing is skipped;
- ``samples=0.5, like='infobatch'``: the schedule is shortened so that the arm trains on that share
  of the samples, if it skips as many in each pass as the other one did.

Until that record is there, ``expected_saving`` of the other arm stands in for it in plans.

- ``scores=dict(method='el2n', of='selection', epochs=[10])``: before the arm is trained,
  ``mm-infobatch scores`` writes the file that its policy ``FromFile`` reads, from the checkpoints
  that the arm ``selection`` has kept after these epochs, with the same seed or with those in
  ``seeds``. ``options`` (list[str]) are more arguments of the command. The record tells how long
  that took.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config

from . import ROOT

EXPERIMENTS = ROOT / 'experiments'
NAME = re.compile(r'[a-z0-9][a-z0-9_.-]*')
FIGURES = ('curves', 'time', 'pruned', 'sweep', 'losses')
NUMBER = (int, float)
SCORES_FILE = 'scores.npz'  # in the work directory of a run that has scores
COMMON_KEYS = dict(gpus=int, batch=int, amp=bool, drawn=str)  # the same for all arms
KEYS: Dict[str, Any] = dict(
    title=str,
    about=str,
    config=str,
    seeds=list,
    arms=list,
    baseline=str,
    figures=list,
    schedule=NUMBER,
    options=dict,
    factors=dict,
    **COMMON_KEYS,
)
ARM_KEYS: Dict[str, Any] = dict(
    label=str,
    config=str,
    seeds=list,
    infobatch=(dict, type(None)),
    options=dict,
    schedule=NUMBER,
    control_of=str,
    saving_of=str,
    samples=NUMBER,
    like=str,
    expected_saving=NUMBER,
    against=str,
    paper=str,
    keep_checkpoints=bool,
    scores=dict,
    line=str,
    x=NUMBER,
)
SCORES_KEYS: Dict[str, Any] = dict(method=str, of=str, epochs=list, seeds=list, options=list)
SHOWN_KEYS = ('same_as', 'label', 'against', 'paper', 'line', 'x')  # beside same_as


@dataclass(frozen=True)
class Scores:
    """The file of scores that is written before an arm is trained.

    Attributes:
        method: Of ``mm-infobatch scores``.
        of: The arm whose checkpoints it is written from.
        epochs: The checkpoints of each of its runs.
        seeds: Its runs; empty for that of the same seed.
        options: More arguments of the command.
    """

    method: str
    of: 'Arm'
    epochs: Tuple[int, ...]
    seeds: Tuple[int, ...] = ()
    options: Tuple[str, ...] = ()

    def runs(self, seed: int) -> Tuple[int, ...]:
        """The seeds of the runs that a run of this seed needs."""
        return self.seeds or (seed,)


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
    scores: Optional[Scores] = None
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


@dataclass(frozen=True)
class Experiment:
    """What an experiment file says; ``arms`` by their names, ``NAME/ARM`` where ``same_as``."""

    name: str
    title: str
    about: str
    arms: Dict[str, Arm]
    figures: Tuple[Dict[str, Any], ...] = ()

    @property
    def task(self) -> str:
        """The network and the data: what the title says after its colon, or all of it."""
        return self.title.rpartition(': ')[2]


def available(folder: Path = EXPERIMENTS) -> List[str]:
    """The names of all experiments, sorted."""
    return sorted(path.stem for path in folder.glob('*.py'))


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
    arms: Dict[str, Arm] = {}
    for one in content['arms']:
        key = one.get('name', one.get('same_as')) if isinstance(one, dict) else None
        if not isinstance(key, str):
            raise ValueError(f'{where}: an arm is a dict with a name or same_as, not {one!r}')
        if key in arms:
            raise ValueError(f'{where}: two arms are called {key!r}; rename one')
        arms[key] = (
            _arm_of_another(one, arms, folder, f'{where}: same_as={key!r}')
            if 'same_as' in one
            else _arm(name, one, content, arms, f'{where}: arm {key!r}')
        )
    for figure in content.get('figures', []):
        named = figure.get('arms') or [figure.get('arm')]
        if figure.get('kind') not in FIGURES or not named[0]:
            raise ValueError(
                f'{where}: figure {figure}: give it a kind ({", ".join(FIGURES)}), and arms or arm'
            )
        for each in named:
            if each not in arms:
                raise ValueError(
                    f'{where}: figure {figure}: {each!r} is none of the arms {", ".join(arms)}'
                )
    return Experiment(
        name,
        content['title'],
        content.get('about', '').strip(),
        arms,
        tuple(content.get('figures', [])),
    )


def _arm(
    owner: str, one: Dict[str, Any], content: Dict[str, Any], arms: Dict[str, Arm], where: str
) -> Arm:
    default = {key: content.get(key) for key in ('config', 'seeds', 'schedule')}
    one = {**default, **one}
    one['seeds'] = one['seeds'] or [0]
    name = one.pop('name')
    if not NAME.fullmatch(name):
        raise ValueError(f'{where}: a name has small letters, digits and ._-')
    one = {key: value for key, value in one.items() if value is not None}
    _check(one, ARM_KEYS, ('config', 'seeds'), where)
    if not (ROOT / one['config']).is_file():  # which is the path itself where that is absolute
        raise ValueError(f'{where}: config {one["config"]!r} does not exist')
    if ('samples' in one) != ('like' in one):
        raise ValueError(f'{where}: samples and like belong together; give both or none')
    for key in ('control_of', 'saving_of', 'like', 'against'):
        if key in one:
            one[key] = _earlier(one[key], arms, f'{where}: {key}')
    if 'scores' in one:
        one['scores'] = _scores(one['scores'], arms, f'{where}: scores')
    baseline = content.get('baseline', 'all')
    if name != baseline and 'against' not in one:
        one['against'] = arms.get(baseline)
    one['options'] = {**content.get('options', {}), **one.get('options', {})}
    for key, factor in content.get('factors', {}).items():
        if key not in one['options']:
            raise ValueError(f'{where}: factors: there is no option {key!r} to multiply')
        one['options'][key] *= factor
    one['seeds'] = tuple(one['seeds'])
    one.setdefault('label', name)
    return Arm(owner, name, **one, **{key: content[key] for key in COMMON_KEYS if key in content})


def _arm_of_another(one: Dict[str, Any], arms: Dict[str, Arm], folder: Path, where: str) -> Arm:
    owner, _, name = one['same_as'].partition('/')
    fixed = sorted(set(one) - set(SHOWN_KEYS))
    if fixed:
        raise ValueError(
            f'{where}: {", ".join(fixed)} cannot be changed here; only '
            f'{", ".join(sorted(SHOWN_KEYS[1:]))} can'
        )
    other = load_experiment(owner, folder)
    if name not in other.arms:
        raise ValueError(f'{where}: there is no such arm; there are {", ".join(other.arms)}')
    changed = {key: value for key, value in one.items() if key != 'same_as'}
    if 'against' in changed:
        changed['against'] = _earlier(changed['against'], arms, f'{where}: against')
    return replace(other.arms[name], **changed)


def _scores(one: Dict[str, Any], arms: Dict[str, Arm], where: str) -> Scores:
    _check(one, SCORES_KEYS, ('method', 'of', 'epochs'), where)
    of = _earlier(one['of'], arms, f'{where}: of')
    if not of.keep_checkpoints or not one['epochs']:
        raise ValueError(
            f'{where}: {one["of"]} has to keep its checkpoints (keep_checkpoints=True), and epochs '
            'to name some of them'
        )
    lists = {key: tuple(one.get(key, ())) for key in ('epochs', 'seeds', 'options')}
    return Scores(one['method'], of, **lists)


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
