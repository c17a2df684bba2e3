"""Chooses the checkpoint for ``--resume``, also if a kill has left the newest one incomplete.

MMEngine writes ``iter_N.pth`` in place, and then the path of that file into ``last_checkpoint``,
also in place. A run that is killed while it writes, or a full disk, leaves

1. an incomplete ``iter_N.pth`` beside the checkpoint that ``last_checkpoint`` names: MMEngine
   resumes from the latter. With ``max_keep_ckpts=1`` that one has been deleted, and nothing is
   left;
2. a complete ``iter_N.pth`` that is not named: MMEngine resumes from the one before, and where
   there is none trains from the start without a message;
3. an empty ``last_checkpoint``: MMEngine stops with ``FileNotFoundError:  can not be found.``;
4. the name of a file that is incomplete (power loss) or does not exist (the work directory was
   moved): MMEngine stops with the error of the function that opens it.

Here, 2 to 4 resume from the newest complete checkpoint, and the log says so. Whether a checkpoint
is complete is read from the archive's directory and checksums: nothing is unpickled.
"""

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from ..convert.hooks import hooks_of
from .checkpoints import read_checkpoint
from .common import UsageError

TEMPLATES = ('iter_{}.pth', 'epoch_{}.pth')  # CheckpointHook's own


def why_not_complete(path: Path) -> Optional[str]:
    """Find out whether a checkpoint is complete.

    Args:
        path (Path): The file.

    Returns:
        str, optional: What is wrong with it; None if nothing is.
    """
    if not path.is_file():
        return 'does not exist'
    with path.open('rb') as file:
        head = file.read(4)
    if head[:1] == b'\x80':
        return None  # the format before torch 1.6, which has no directory to read
    if not b'PK\x03\x04'.startswith(head):
        return 'is not a PyTorch checkpoint'
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith('data.pkl') for name in archive.namelist()):
                return 'is not a PyTorch checkpoint'
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return 'is incomplete'
    return None if damaged is None else f'is damaged at {damaged}'


def _checkpoint_hooks(cfg: Config) -> List[Dict[str, Any]]:
    return [hook for hook in hooks_of(cfg, CheckpointHook) if isinstance(hook, dict)]


def _checkpoints(cfg: Config, named: Optional[Path]) -> List[Path]:
    """What the checkpoint hooks of the config have written, the newest first.

    The best checkpoint of the validation is left out: it has no optimizer state.
    """
    work_dir = Path(cfg.work_dir)
    folders, templates = {work_dir}, set(TEMPLATES)
    if named is not None:
        folders.add(named.parent)
    for hook in _checkpoint_hooks(cfg):
        if hook.get('out_dir') and '://' not in str(hook['out_dir']):
            folders.add(Path(hook['out_dir']) / work_dir.resolve().name)
        if hook.get('filename_tmpl'):
            templates.add(hook['filename_tmpl'])
    names = re.compile(
        '|'.join(
            r'\d+'.join(re.escape(part) for part in template.split('{}')) for template in templates
        )
    )
    paths = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if names.fullmatch(path.name) and path.is_file()
    ]
    return sorted(set(paths), key=lambda path: (-path.stat().st_mtime_ns, path.name))


def choose_checkpoint(cfg: Config) -> Optional[str]:
    """Set ``cfg.load_from`` to the checkpoint that a run with ``resume=True`` resumes from.

    Where ``last_checkpoint`` names a complete one, or there is none at all, it is left to MMEngine.

    Args:
        cfg (Config): The config, whose ``work_dir`` is set. Changed in place.

    Returns:
        str, optional: A line for the log, where it is another one than MMEngine would take.

    Raises:
        UsageError: If the checkpoint that was asked for is not complete, or no complete one is left
            of a run that has written one.
    """
    if cfg.get('load_from') is not None:
        check_complete(
            str(cfg.load_from),
            'another one, or --resume without a value, which takes the newest complete one of the '
            'work directory',
        )
        return None
    file = Path(cfg.work_dir) / 'last_checkpoint'
    named, why = _read_last_checkpoint(file)
    if file.is_file() and why is None:
        return None
    incomplete: List[str] = []
    for path in _candidates(cfg, named):
        reason = why_not_complete(path)
        if reason is None:
            cfg.load_from = str(path)
            return (
                f'--resume: {why}; resuming from {path}, the newest complete checkpoint'
                + _in_parentheses(incomplete)
            )
        incomplete.append(f'{path} {reason}')
    if file.is_file():
        raise UsageError(
            f'--resume: {why}, and there is no other checkpoint to resume from'
            + _in_parentheses(incomplete)
            + '. Train from the start without --resume, or give a checkpoint: --resume CHECKPOINT. '
            '(CheckpointHook(max_keep_ckpts=1) deletes the last checkpoint before it has written '
            'the next; keep 2 or more)'
        )
    if incomplete:
        return (
            '--resume: there is no complete checkpoint'
            + _in_parentheses(incomplete)
            + '; training from the start'
        )
    return None


def check_resumable(cfg: Config) -> None:
    """Refuse to resume from weights alone, and to resume a run with InfoBatch by a config without
    it, if it is by iterations.

    After pruned passes, the run has made fewer iterations than steps of the schedule. The stock
    loop would continue at the iteration, and the learning rate at the step. A run by epoch
    continues at the same learning rates.

    Args:
        cfg (Config): The config, after :func:`choose_checkpoint`.

    Raises:
        UsageError: If the checkpoint is one of weights, or of such a run.
    """
    path = cfg.get('load_from') or latest_checkpoint(cfg)
    if path is None or not Path(path).is_file():
        return
    try:
        checkpoint = read_checkpoint(Path(path), mmap=True)
    except Exception:  # of a user's own class: MMEngine may read it
        return
    missing = [key for key in ('meta', 'message_hub') if key not in checkpoint]
    if missing:
        raise UsageError(
            f'--resume: {path} has no {" and no ".join(missing)}, so it holds weights and not '
            'where their training stood. Begin a new run with them: --cfg-options load_from=... '
            'without --resume'
        )
    state = checkpoint.get('infobatch')
    if state is None or 'max_iters' not in (cfg.get('train_cfg') or {}) or hooks_of(cfg):
        return
    if state['schedule']['iters'] < state['schedule']['walked']:
        raise UsageError(
            f'--resume: {path} is of a run with InfoBatch, but this one is without: its learning '
            'rate would be at the end of the schedule before the run is. Add --infobatch, or begin '
            'a new run with its weights: --cfg-options load_from=... without --resume'
        )


def latest_checkpoint(cfg: Config) -> Optional[Path]:
    """The checkpoint that a run with ``resume=True`` resumes from; None if no complete one is left.

    Args:
        cfg (Config): A config, whose ``work_dir`` is set.
    """
    named, why = _read_last_checkpoint(Path(cfg.work_dir) / 'last_checkpoint')
    if named is not None and why is None:
        return named
    complete = (path for path in _candidates(cfg, named) if why_not_complete(path) is None)
    return next(complete, None)


def _candidates(cfg: Config, named: Optional[Path]) -> List[Path]:
    """The checkpoints that may stand for the one that is named, the best first."""
    candidates = _checkpoints(cfg, named)
    if named is not None:  # the work directory may have been moved
        moved = Path(cfg.work_dir) / named.name
        candidates = [*([moved] if moved.is_file() else []), *candidates]
    return list(dict.fromkeys(candidates))


def _in_parentheses(incomplete: List[str]) -> str:
    return f' ({"; ".join(incomplete)})' if incomplete else ''


def check_complete(path: str, instead: str = 'another one') -> None:
    """Check that a checkpoint is complete, if it is a local file.

    Args:
        path (str): The checkpoint.
        instead (str): What the user can give instead. Defaults to 'another one'.

    Raises:
        UsageError: If it is not.
    """
    reason = None if '://' in path or Path(path).is_dir() else why_not_complete(Path(path))
    if reason is not None:
        raise UsageError(f'checkpoint {path} {reason}: give {instead}')


def _read_last_checkpoint(file: Path) -> Tuple[Optional[Path], Optional[str]]:
    """The checkpoint that the file names, and why training cannot resume from it."""
    if not file.is_file():
        return None, f'{file} has not been written'
    text = file.read_text(errors='replace').strip()
    if not text:
        return None, f'{file} is empty'
    if '://' in text or Path(text).is_dir():  # on another machine, or DeepSpeed's
        return Path(text), None
    reason = why_not_complete(Path(text))
    return Path(text), None if reason is None else f'the last checkpoint {text} {reason}'


def keeps_only_one(cfg: Config) -> Optional[str]:
    """A line for the log, where a kill at the wrong moment loses every checkpoint."""
    for hook in _checkpoint_hooks(cfg):
        if hook.get('max_keep_ckpts') == 1:
            return (
                'CheckpointHook(max_keep_ckpts=1) deletes the last checkpoint before it has '
                'written the next: a run that is killed in between cannot be resumed; keep 2 '
                'or more'
            )
    return None
