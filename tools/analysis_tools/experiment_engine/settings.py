"""What decides a run: its settings, and the arguments of ``tools/train.py`` that they make."""

import functools
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config

from . import ROOT
from .records import totals_of
from .spec import SCORES_FILE, Arm


@functools.lru_cache(maxsize=None)
def read_config(path: str) -> Config:
    """The config of a file, from the root of the repository; do not modify it."""
    return Config.fromfile(str(ROOT / path))


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


def saving_of(arm: Arm, seed: int, records: Path) -> Tuple[Optional[float], bool]:
    """The saving that the settings of an arm depend on.

    Returns:
        tuple[float | None, bool]: The share of iterations (for a control) or of samples that the
            other arm saved, and whether that comes from its record. None: there is neither a record
            nor an ``expected_saving``.
    """
    if arm.source is None:
        return None, True
    totals = totals_of(arm.source, seed, records)
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
        records (Path): Where records are, for an arm that depends on one.
        gpus (int, optional): Processes of the run. Defaults to the experiment's.

    Raises:
        ValueError: If the batch cannot be divided among the processes, or an arm depends on
            another one that has neither a record nor an ``expected_saving``.
    """
    gpus = gpus or arm.gpus
    cfg = read_config(arm.config)
    infobatch = json.loads(json.dumps(arm.infobatch))
    share = arm.schedule
    saving, _ = saving_of(arm, seed, records)
    if arm.source is not None and saving is None:
        raise ValueError(
            f'{arm.owner}/{arm.name}: {arm.source.name} has no record of seed '
            f'{seed} yet, and no expected_saving to plan with'
        )
    if arm.control_of is not None and saving is not None:
        share *= 1 - saving
    elif arm.samples is not None and saving is not None:
        share *= arm.samples / (1 - saving)
    counted = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs
    length = max(1, round(counted * share))
    if arm.saving_of is not None and saving is not None:
        if 'max_epochs' not in cfg.train_cfg or 'policy' not in (infobatch or {}):
            raise ValueError(f'{arm.owner}/{arm.name}: saving_of is for a policy of a run by epoch')
        infobatch['policy']['prune_ratio'] = round(saving * length / max(length - 1, 1), 4)
    logger = (cfg.get('default_hooks') or {}).get('logger') or {}
    options: Dict[str, Any] = {
        # The mean of all iterations since the last line, so that the time of all is measured.
        'log_processor.window_size': logger.get('interval', 10),
        'default_hooks.checkpoint.max_keep_ckpts': -1 if arm.keep_checkpoints else 2,
    }
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
    result: Dict[str, Any] = dict(
        experiment=arm.owner,
        arm=arm.name,
        seed=seed,
        config=arm.config,
        infobatch=infobatch,
        options={**options, **arm.options, 'randomness.seed': seed},
        amp=arm.amp,
        gpus=gpus,
    )
    if arm.scores is not None:
        result['scores'] = dict(
            method=arm.scores.method,
            of=arm.scores.of.name,
            epochs=list(arm.scores.epochs),
            seeds=list(arm.scores.runs(seed)),
            options=list(arm.scores.options),
        )
    return result


def arguments(
    run: Dict[str, Any], work_dir: str, resume: bool = False, extra: Optional[List[str]] = None
) -> List[str]:
    """The arguments of ``tools/train.py`` for a run, without the config.

    Args:
        run (dict): What :func:`settings` gave.
        work_dir (str): Its work directory.
        resume (bool): Whether to resume from the newest checkpoint there. Defaults to False.
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
        if 'scores' in run:
            command.append(f'policy.path={Path(work_dir) / SCORES_FILE}')
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
