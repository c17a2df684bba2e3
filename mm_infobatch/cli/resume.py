"""Which checkpoint ``--resume`` goes on from, where a kill has left one of them incomplete.

mmengine writes ``iter_N.pth`` in place, and after it the path of that file into
``last_checkpoint``, also in place. A run that is stopped meanwhile, or a disk that was full, leaves

1. an incomplete ``iter_N.pth`` beside the checkpoint that ``last_checkpoint`` names: mmengine
   goes on from that one. With ``max_keep_ckpts=1`` it was deleted before, and nothing is left;
2. a whole ``iter_N.pth`` that is not named: mmengine goes on from the one before, and where there
   is none begins at the start without a word;
3. an empty ``last_checkpoint``: mmengine stops with ``FileNotFoundError:  can not be found.``;
4. the name of a file that is incomplete (the machine lost its power) or gone (the work directory
   was moved): mmengine stops with the error of whoever opens it.

Here, 2 to 4 go on from the newest checkpoint that is whole, and the log says so. What is whole is
told from the archive's directory and checksums: nothing is unpickled.
"""

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

from mmengine.config import Config

from _common import UsageError

TEMPLATES = ('iter_{}.pth', 'epoch_{}.pth')  # CheckpointHook's own


def why_not_whole(path: Path) -> Optional[str]:
    """Tell whether a checkpoint can be read to its end.

    Args:
        path (Path): The file.

    Returns:
        str, optional: What is wrong with it; None where nothing is.
    """
    if not path.is_file():
        return 'is not there'
    with path.open('rb') as file:
        head = file.read(4)
    if head[:1] == b'\x80':
        return None  # the format before torch 1.6, which has no directory to look at
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith('data.pkl') for name in archive.namelist()):
                return 'is no checkpoint of PyTorch'
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return 'is incomplete'
    return None if damaged is None else f'is damaged at {damaged}'


def _checkpoint_hooks(cfg: Config) -> Iterator[Any]:
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    for hook in hooks:
        if isinstance(hook, dict) and str(hook.get('type', '')).endswith('CheckpointHook'):
            yield hook


def _checkpoints(cfg: Config, named: Optional[Path]) -> List[Path]:
    """What the checkpoint hooks of the config have written, the newest first.

    The best one of a validation is none of them: it lacks the optimizer.
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
    found = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if names.fullmatch(path.name) and path.is_file()
    ]
    return sorted(set(found), key=lambda path: (-path.stat().st_mtime_ns, path.name))


def choose_checkpoint(cfg: Config) -> Optional[str]:
    """Settle which checkpoint a run with ``resume=True`` goes on from, in ``cfg.load_from``.

    Where ``last_checkpoint`` names a whole one, or there is nothing to choose from, that is left to
    mmengine.

    Args:
        cfg (Config): The config, whose ``work_dir`` is set. Changed in place.

    Returns:
        str, optional: A line for the log, where something else is taken than mmengine would take.

    Raises:
        UsageError: If the checkpoint that was asked for is incomplete, or there is none to go on
            from though there has been one.
    """
    if cfg.get('load_from') is not None:
        _check_given(str(cfg.load_from))
        return None
    file = Path(cfg.work_dir) / 'last_checkpoint'
    named, why = _read_last_checkpoint(file)
    if file.is_file() and why is None:
        return None
    incomplete: List[str] = []
    if named is not None:  # the work directory may have been moved
        moved = Path(cfg.work_dir) / named.name
        candidates = [*([moved] if moved.is_file() else []), *_checkpoints(cfg, named)]
    else:
        candidates = _checkpoints(cfg, None)
    for path in dict.fromkeys(candidates):
        reason = why_not_whole(path)
        if reason is None:
            cfg.load_from = str(path)
            return (
                f'--resume: {why}; going on from {path}, the newest checkpoint that is whole'
                + _and(incomplete)
            )
        incomplete.append(f'{path} {reason}')
    if file.is_file():
        raise UsageError(
            f'--resume: {why}, and there is no other checkpoint to go on from'
            + _and(incomplete)
            + '. Train from the start without --resume, or give a checkpoint: --resume CHECKPOINT. '
            '(CheckpointHook(max_keep_ckpts=1) deletes the last checkpoint before it has written '
            'the next; keep 2 or more)'
        )
    if incomplete:
        return (
            '--resume: no checkpoint has been finished'
            + _and(incomplete)
            + '; training begins at the start'
        )
    return None


def _and(incomplete: List[str]) -> str:
    return f' ({"; ".join(incomplete)})' if incomplete else ''


def _check_given(path: str) -> None:
    reason = None if '://' in path or Path(path).is_dir() else why_not_whole(Path(path))
    if reason is not None:
        raise UsageError(
            f'--resume: the checkpoint {path} {reason}: give another one, or none, and the newest '
            'one of the work directory that is whole is taken'
        )


def _read_last_checkpoint(file: Path) -> Tuple[Optional[Path], Optional[str]]:
    """The checkpoint that the file names, and why it cannot be gone on from."""
    if not file.is_file():
        return None, f'{file} has not been written'
    text = file.read_text(errors='replace').strip()
    if not text:
        return None, f'{file} is empty'
    if '://' in text or Path(text).is_dir():  # on another machine, or DeepSpeed's
        return Path(text), None
    reason = why_not_whole(Path(text))
    return Path(text), None if reason is None else f'the last checkpoint {text} {reason}'


def keeps_only_one(cfg: Config) -> Optional[str]:
    """A line for the log where a kill at the wrong moment loses every checkpoint."""
    for hook in _checkpoint_hooks(cfg):
        if hook.get('max_keep_ckpts') == 1:
            return (
                'CheckpointHook(max_keep_ckpts=1) deletes the last checkpoint before it has '
                'written the next: a run that is killed in between cannot be resumed; keep 2 '
                'or more'
            )
    return None
