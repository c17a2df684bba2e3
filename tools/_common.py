"""What ``train.py`` and ``test.py`` share: arguments, config, CPU process groups, the runner."""

import argparse
import datetime
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mm_infobatch import CannotConvert, convert
from mm_infobatch.convert import check_config
from mm_infobatch.training.gloo import let_gloo_rest

SYNC_BN_TYPES = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')


class UsageError(ValueError):
    """An error of the command line or the config, reported without a traceback."""


class ConfigOptions(DictAction):
    """mmengine's ``key=value`` pairs, with the parser's own kind of error for what is none."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Optional[str] = None,
    ) -> None:
        for pair in values:
            if not pair.partition('=')[0] or '=' not in pair:
                parser.error(f'{option_string}: {pair!r} is no pair; write key=value')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:
            parser.error(f'{option_string}: {error}')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that OpenMMLab's ``train.py`` and ``test.py`` have in common."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and results go')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        help='override settings of the config: key=value pairs, as in '
        'train_dataloader.batch_size=4. Lists are written key="[a,b]" or key=a,b, nested ones '
        'key="[(a,b),(c,d)]", with the quotation marks and without white space',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run (default: none)',
    )
    # torch.distributed.launch passes --local-rank (torch >= 2.0) or --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, merge ``--cfg-options``, and settle work directory and launcher.

    The work directory is the first that is given of: ``--work-dir``, the config's ``work_dir``,
    ``./work_dirs/<name of the config>``.

    Raises:
        UsageError: If the config file cannot be read, an option does not fit it, or the work
            directory cannot be written.
    """
    if not Path(args.config).is_file():
        raise UsageError(f'config {args.config!r} does not exist: give the path of a config file')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = Config.fromfile(args.config)
    except (SyntaxError, OSError) as error:
        raise UsageError(f'config {args.config!r} cannot be read: {error}') from error
    if args.cfg_options is not None:
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f'--cfg-options {args.cfg_options}: does not fit the config: {error}'
            ) from error
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(args.config).stem)
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
            f'{option} {path!r} cannot be written: {str(above)!r} is no directory. Give another one'
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f'{option} {path!r} cannot be written: no permission to write to '
            f'{str(above)!r}. Give another one'
        )


def check_checkpoint(path: str) -> str:
    """Return ``path``, a local file or the address of a remote one.

    Raises:
        UsageError: If it is a local path and there is no such file.
    """
    if '://' not in path and not Path(path).is_file():
        raise UsageError(f'checkpoint {path!r} does not exist: give the path of a .pth file')
    return path


def switch_on_infobatch(cfg: Config, options: Optional[Dict[str, Any]]) -> Config:
    """Convert a config; the given one is not changed.

    Args:
        cfg (Config): A training config.
        options (dict, optional): The arguments of :func:`mm_infobatch.convert`.

    Raises:
        UsageError: If it cannot be converted, or an option is unknown or out of range.
    """
    nested = Config()
    try:
        nested.merge_from_dict(options or {})  # policy.type=... is policy=dict(type=...)
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(f'--infobatch-options {options}: two of them contradict') from error
    arguments = nested.to_dict()
    known = list(inspect.signature(convert).parameters)[1:]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise UsageError(
            f'--infobatch-options: {", ".join(map(repr, unknown))} is none of {", ".join(known)}'
        )
    try:
        return convert(cfg, **arguments)
    except CannotConvert as error:
        raise UsageError(f'--infobatch: {error}') from error
    except (TypeError, ValueError) as error:
        raise UsageError(f'--infobatch-options: {error}') from error


def check_infobatch(cfg: Config) -> None:
    """Check what a config that has InfoBatch on says to it.

    Raises:
        UsageError: If it cannot work.
    """
    try:
        check_config(cfg)
    except (TypeError, ValueError) as error:
        raise UsageError(f'config: {error}') from error


def fill_dataloaders(cfg: Config, *names: str) -> None:
    """Complete dataloaders, in place.

    mmpretrain's dataloader configs rely on its ``train.py`` for the collate function, pinned
    memory and persistent workers. Here pinned memory is set only with an accelerator, where it
    works. In every toolbox, without workers there are none to keep: so ``num_workers=0``, as used
    to look into a pipeline, needs no second change.
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


def prepare_launch(cfg: Config, training: bool) -> None:
    """Make a distributed run possible on a machine without an accelerator.

    mmengine selects a CUDA device whenever there is a launcher. Here, where there is none, the
    processes join over gloo before the runner is built (it then skips its own start), and the
    model is wrapped without device ids. With an accelerator nothing changes.

    Args:
        cfg (Config): The config, whose ``launcher`` is set. Changed in place.
        training (bool): Whether the run trains. SyncBN, which is for GPUs only, is then an error;
            in a test it is replaced by BN, which computes the same from the same checkpoint.

    Raises:
        UsageError: If a model with SyncBN is to be trained by several processes on the CPU.
    """
    if cfg.launcher == 'none' or get_device() != 'cpu':
        return
    layers = list(find_sync_bn(cfg.get('model', {}), 'model'))
    if training and cfg.get('sync_bn') is not None:
        layers.append(('sync_bn', cfg))
    if training and layers:
        names = [name for name, _ in layers]
        raise UsageError(
            f'{", ".join(names)}: SyncBN needs GPUs, and no accelerator was found for this run '
            f'(launcher {cfg.launcher!r}). Use batch norm per process instead: '
            "norm_cfg = dict(type='BN', requires_grad=True) in the config, or --cfg-options "
            + ' '.join('sync_bn=None' if name == 'sync_bn' else f'{name}.type=BN' for name in names)
        )
    for _, layer in layers:
        layer['type'] = 'BN'
    if not dist.is_initialized():
        _init_gloo(cfg)
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    cfg.model_wrapper_cfg.setdefault('device_ids', None)


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for; ``default_scope`` selects the toolbox."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def run(main: Callable[[], None]) -> None:
    """Call ``main``; print a user's error as one line and exit with status 2."""
    try:
        main()
    except UsageError as error:
        print(f'{Path(sys.argv[0]).name}: error: {error}', file=sys.stderr)
        sys.exit(2)
    leave_process_group()


def find_sync_bn(node: Any, name: str) -> Iterator[Tuple[str, Any]]:
    """Yield (dotted name, config) of every SyncBN layer below ``node``."""
    if isinstance(node, dict):
        kind = node.get('type')
        kind = getattr(kind, '__name__', kind)
        if isinstance(kind, str) and kind.split('.')[-1] in SYNC_BN_TYPES:
            yield name, node
        items = list(node.items())
    elif isinstance(node, (list, tuple)):
        items = list(enumerate(node))
    else:
        return
    for key, value in items:
        yield from find_sync_bn(value, f'{name}.{key}')


def leave_process_group() -> None:
    """Leave the process group, if there is one, so that the process can end."""
    if dist.is_available() and dist.is_initialized():
        let_gloo_rest()
        dist.destroy_process_group()


def _init_gloo(cfg: Config) -> None:
    """Join the processes of a launcher over gloo, with the timeout of ``env_cfg.dist_cfg``."""
    env = os.environ
    if cfg.launcher == 'slurm':
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env.get('SLURM_LOCALID', '0')
        if 'MASTER_ADDR' not in env:
            hosts = ['scontrol', 'show', 'hostname', env['SLURM_NODELIST']]
            env['MASTER_ADDR'] = subprocess.check_output(hosts, text=True).split()[0]
    elif cfg.launcher == 'mpi':
        env['RANK'] = env['OMPI_COMM_WORLD_RANK']
        env['WORLD_SIZE'] = env['OMPI_COMM_WORLD_SIZE']
        env['LOCAL_RANK'] = env['OMPI_COMM_WORLD_LOCAL_RANK']
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in env]
    if missing:
        raise UsageError(
            f'--launcher {cfg.launcher}: the environment does not have {", ".join(missing)}. '
            'Start the processes with tools/dist_train.sh or tools/dist_test.sh (pytorch), '
            'srun (slurm) or mpirun with MASTER_ADDR set (mpi)'
        )
    env.setdefault('MASTER_PORT', '29500')
    seconds: Optional[float] = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    options: Dict[str, Any] = {}
    if seconds is not None:
        options['timeout'] = datetime.timedelta(seconds=seconds)
    dist.init_process_group('gloo', **options)
