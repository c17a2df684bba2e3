"""Finds the config and the checkpoint of a run."""

import argparse
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from mmengine.config import Config

from ..page.dataset_reader import in_one_line
from ..page.sample_table import SampleTable, read_samples
from .checkpoints import read_checkpoint
from .common import UsageError, read_config
from .resume import latest_checkpoint, why_not_complete
from .sessions import read_session


def checkpoint_for(work_dir: Path, args: argparse.Namespace, cfg: Config) -> Optional[Path]:
    """The checkpoint of a run: the one that is given for it, else the latest.

    Raises:
        UsageError: If several are given for it.
    """
    given = list(args.checkpoint)
    if len(args.work_dirs) > 1:
        given = [path for path in given if work_dir.resolve() in path.resolve().parents]
    if len(given) > 1:
        raise UsageError(
            f'{len(given)} checkpoints are given for {str(work_dir)!r}: give one per run'
        )
    if given:
        return given[0]
    latest = latest_checkpoint(cfg)
    own = None if latest is None else work_dir / latest.name
    # In a copy of a work directory, last_checkpoint still names the file in the original.
    return latest if own is None or why_not_complete(own) is not None else own


def dataset_config(work_dir: Path, args: argparse.Namespace) -> Tuple[Optional[Config], str]:
    """The config with the dataset of a run, or None; and why there is none, or ''."""
    if args.config is not None:
        return read_config(args.config, args.cfg_options), ''
    return own_config(work_dir, args.cfg_options)


def own_config(
    work_dir: Path, options: Optional[Dict[str, Any]] = None
) -> Tuple[Optional[Config], str]:
    """The config that a run was trained with, or None; and why there is none, or ''."""
    sessions = sorted(work_dir.glob('*/vis_data/config.py'))
    trained = [path for path in sessions if _has_trained(path)]  # a test writes its config too
    sessions = trained or sessions
    dumped = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not sessions and not dumped:
        return None, f'{str(work_dir)!r} has no config. Give the config of the training: --config'
    try:
        return read_config(str((sessions or dumped)[-1]), options), ''
    except UsageError as error:
        return None, f'{error}. Give the config of the training: --config'


def _has_trained(config: Path) -> bool:
    scalars = config.with_name('scalars.json')
    return scalars.is_file() and bool(read_session(scalars).train)


def read_table(path: Path) -> Tuple[Optional[SampleTable], int]:
    """Read what a checkpoint knows of each sample.

    Returns:
        tuple[SampleTable, int]: The table, None for a run without InfoBatch; and the iterations
        that were done when it was written, 0 where it does not say.

    Raises:
        UsageError: If it is not a checkpoint.
    """
    try:
        content = read_checkpoint(path, mmap=True)
        state, meta = content.get('infobatch'), content.get('meta') or {}
        table = None if state is None else read_samples(state['sampler'])
        return table, int(meta.get('iter', 0))
    except Exception as error:  # whatever a file that is not a checkpoint raises
        raise UsageError(
            f'checkpoint {str(path)!r} cannot be read ({in_one_line(error)}): give another one'
        ) from error
