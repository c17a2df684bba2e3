"""What the subcommands share: arguments, the config, the runner."""

import argparse
import difflib
import importlib.util
import os
import re
import traceback
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner


class UsageError(ValueError):
    """An error of the command line or the config, reported without a traceback."""


class ConfigOptions(DictAction):
    """MMEngine's ``key=value`` pairs, with the parser's own kind of error for anything else."""

    def __call__(  # noqa: D102
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Optional[str] = None,
    ) -> None:
        for pair in values:
            if not pair.partition('=')[0] or '=' not in pair:
                parser.error(f'{option_string}: {pair!r} is not a pair; write key=value')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:
            parser.error(f'{option_string}: {error}')


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and ``--cfg-options``."""
    parser.add_argument(
        'config', help='path of a config file, or PACKAGE::NAME for a config of a package'
    )
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, as in train_dataloader.batch_size=4. Lists are '
        'written key="[a,b]" or key=a,b, nested ones key="[(a,b),(c,d)]", with the quotation '
        'marks and without white space',
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that OpenMMLab's ``train.py`` and ``test.py`` have in common."""
    parser.add_argument('--work-dir', help='directory for logs, checkpoints and results')
    parser.add_argument(
        '--gpus',
        type=int,
        metavar='N',
        help='start N processes through torchrun, one for each GPU; without a GPU, N processes on '
        'the CPU. On several machines set NNODES, NODE_RANK, MASTER_ADDR and PORT in the '
        'environment (default: one process, this one)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what has started the processes of a distributed run (default: none)',
    )
    # torch.distributed.launch passes --local-rank (torch >= 2.0) or --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def configs_of(package: str) -> Tuple[Path, List[str]]:
    """The configs of an installed package, which is not imported.

    Args:
        package (str): The name of the module, as in ``mmseg``.

    Returns:
        tuple[Path, list[str]]: The directory of its configs, and their paths below it.

    Raises:
        UsageError: If there is no such package, or it was installed without its configs.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f'config {package}::NAME: there is no package {package!r} in this environment'
        )
    folder = Path(list(spec.submodule_search_locations)[0]) / '.mim' / 'configs'
    if not folder.is_dir():
        raise UsageError(
            f'config {package}::NAME: {package!r} was installed without its configs: there is no '
            f'directory {str(folder)!r}. Give the path of a config file'
        )
    names = [
        os.path.relpath(os.path.join(path, name), folder).replace(os.sep, '/')
        for path, _, names in os.walk(folder)
        for name in names
        if name.endswith('.py')
    ]
    return folder, sorted(name for name in names if '_base_' not in name)


def find_config(name: str) -> str:
    """Return the path of a config that is given by its path or as ``PACKAGE::NAME``.

    Raises:
        UsageError: If there is no such file.
    """
    package, separator, path = name.partition('::')
    if not separator:
        if not Path(name).is_file():
            raise UsageError(f'config {name!r} {_no_file(name)}: give the path of a config file')
        return name
    folder, names = configs_of(package)
    path = path if path.endswith('.py') else f'{path}.py'
    if not (folder / path).is_file():
        similar = difflib.get_close_matches(path, names, cutoff=0.4)
        raise UsageError(
            f'config {name!r} does not exist: there is no {path!r} in {str(folder)!r}'
            + (f'; similar ones: {", ".join(similar)}' if similar else '')
        )
    return str(folder / path)


def read_config(name: str, options: Optional[Dict[str, Any]] = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Args:
        name (str): Its path, or ``PACKAGE::NAME``.
        options (dict, optional): What ``--cfg-options`` sets.

    Raises:
        UsageError: If the file cannot be read, or an option does not fit it.
    """
    path = find_config(name)
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # whatever the config, or a module that it imports, raises
        raise UsageError(f'config {name!r} cannot be read: {_in_one_line(error)}') from error
    if options is not None:
        try:
            cfg.merge_from_dict(options)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f'--cfg-options {options}: does not fit the config: {error}'
            ) from error
    return cfg


def _in_one_line(error: BaseException) -> str:
    """What was raised, and where in the user's files."""
    while isinstance(error, ImportError) and error.__context__ is not None:
        error = error.__context__  # MMEngine's own error has the whole sys.path instead of a reason
    text = f'{type(error).__name__}: {" ".join(str(error).split())}'
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not re.search('importlib|mmengine', frame.filename)]
    if theirs and theirs[-1].filename != __file__ and not isinstance(error, SyntaxError):
        text += f' ({theirs[-1].filename}, line {theirs[-1].lineno})'
    if isinstance(error, ModuleNotFoundError):
        text += '. Python looks for your own modules in the current directory and in PYTHONPATH'
    return text


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, merge ``--cfg-options``, and set work directory and launcher.

    The work directory is the first that is given of: ``--work-dir``, the config's ``work_dir``,
    ``./work_dirs/<name of the config>``.

    Raises:
        UsageError: If the config file cannot be read, an option does not fit it, its
            ``default_scope`` is not a name, or the work directory cannot be written.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    scope = cfg.get('default_scope')
    if scope is not None and not isinstance(scope, str):
        raise UsageError(
            f'config: default_scope={scope!r} has to be the name of a toolbox; write '
            "default_scope = 'mmseg' or 'mmpretrain'"
        )
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(cfg.filename).stem)
    check_directory(cfg.work_dir, '--work-dir')
    cfg.launcher = args.launcher
    return cfg


def check_directory(path: str, option: str) -> None:
    """Check that files can be written below a directory, which may not exist yet.

    Raises:
        UsageError: If they cannot.
    """
    above = Path(path).absolute()
    while not above.exists() and not above.is_symlink() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise UsageError(
            f'{option} {path!r} cannot be written: {str(above)!r} is not a directory. '
            'Give another path'
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f'{option} {path!r} cannot be written: no permission to write to '
            f'{str(above)!r}. Give another path'
        )


def check_checkpoint(path: str, directory: bool = False) -> str:
    """Return ``path``, a local file or the address of a remote one.

    Args:
        path (str): The checkpoint.
        directory (bool): Whether it may be a directory, as DeepSpeed's are. Defaults to False.

    Raises:
        UsageError: If it is a local path and there is no such file.
    """
    if '://' in path or Path(path).is_file() or (directory and Path(path).is_dir()):
        return path
    raise UsageError(f'checkpoint {path!r} {_no_file(path)}: give the path of a .pth file')


def _no_file(path: str) -> str:
    return 'is a directory' if Path(path).is_dir() else 'does not exist'


def fill_dataloaders(cfg: Config, *names: str) -> None:
    """Complete dataloaders, in place.

    mmpretrain's dataloader configs rely on its ``train.py`` for the collate function, pinned
    memory and persistent workers. Here pinned memory is set only with an accelerator, where it
    works. In every toolbox ``num_workers=0`` sets ``persistent_workers=False``: PyTorch refuses
    persistent workers without workers.
    """
    for name in names:
        loader = cfg.get(name)
        if loader is None:
            continue
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', get_device() != 'cpu')
            loader.setdefault('persistent_workers', True)
        if loader.get('num_workers', 0) == 0:
            loader['persistent_workers'] = False


def check_parts(cfg: Config, needed: str) -> None:
    """Check that a config has the parts of MMEngine's runner, which come in threes.

    Args:
        cfg (Config): The config.
        needed (str): 'train' or 'test', which have to be there.

    Raises:
        UsageError: If one is missing.
    """
    threes = dict(
        train=('train_dataloader', 'train_cfg', 'optim_wrapper'),
        val=('val_dataloader', 'val_cfg', 'val_evaluator'),
        test=('test_dataloader', 'test_cfg', 'test_evaluator'),
    )
    for kind, names in threes.items():
        missing = [name for name in names if cfg.get(name) is None]
        if missing and (kind == needed or len(missing) < len(names)):
            example = f', such as {missing[0]} = dict(...)'
            without = f', or write {" = ".join(names)} = None'
            raise UsageError(
                f'config: it has no {" and no ".join(missing)}, but {", ".join(names)} belong '
                f'together. Add what is missing{example if kind == needed else without}'
            )


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for; ``default_scope`` selects the toolbox."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
