"""Starts several processes through torchrun, and joins them over gloo where there is no GPU."""

import argparse
import datetime
import os
import subprocess
import sys
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device

from ..convert.config_tree import dotted, nodes
from ..convert.registered import short_name
from ..training.gloo import wait_for_gloo
from .common import UsageError, load_config

SYNC_BN_TYPES = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')
# The variables that MMEngine, and `_init_gloo`, read.
SET_BY_LAUNCHER = dict(
    pytorch=('RANK', 'WORLD_SIZE', 'MASTER_ADDR'),
    slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK')
    + ('MASTER_ADDR',),
)


def starts_processes(args: argparse.Namespace) -> bool:
    """Whether this process only starts the processes that do the work, as ``--gpus`` asks for.

    They get ``--gpus`` too, and ``--launcher pytorch``.

    Raises:
        UsageError: If the number of processes cannot work.
    """
    if getattr(args, 'gpus', None) is None:
        return False
    if args.launcher == 'pytorch' and 'RANK' in os.environ:
        return False
    if args.launcher != 'none':
        raise UsageError(
            f'--gpus {args.gpus} --launcher {args.launcher}: each of the two starts a distributed '
            'run. Remove one'
        )
    if args.gpus < 1:
        raise UsageError(f'--gpus {args.gpus}: has to be 1 or more')
    if get_device() == 'cuda' and args.gpus > torch.cuda.device_count():
        raise UsageError(
            f'--gpus {args.gpus}: this machine has {torch.cuda.device_count()} GPUs. Give at most '
            'as many, or start the processes of several machines with NNODES in the environment'
        )
    return True


def start_processes(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Start this command in several processes through torchrun, and wait for their end.

    The arguments are applied to the config here first, so that most errors in them are reported
    once.

    Within one machine they meet at a free port. On several machines, or with ``PORT`` set, the
    environment says where, as for OpenMMLab's ``dist_train.sh``: ``NNODES``, ``NODE_RANK``,
    ``MASTER_ADDR``, ``PORT``.

    Args:
        args (argparse.Namespace): The arguments of train or test, parsed.
        argv (Sequence[str]): The arguments, the subcommand first.

    Raises:
        UsageError: If an argument or the config cannot work.
        SystemExit: If a process fails, with its exit status.
    """
    args.apply_args(load_config(args), args)
    # MMEngine's formatter of configs writes its grammars to a cache when it is first imported; if
    # several processes do so at once, some read an incomplete file and fail.
    import yapf  # type: ignore # noqa: F401
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    command = [f'--nproc-per-node={args.gpus}', '--module', 'mm_infobatch', *argv]
    try:
        run.main([*_rendezvous(), *command, '--launcher', 'pytorch'])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode != 2:  # a user's error, which that process has printed
            print(error, file=sys.stderr)
        sys.exit(max(failure.exitcode, 1))


def _rendezvous() -> List[str]:
    """The arguments of torchrun for the rendezvous of the processes."""
    env = os.environ
    if env.get('NNODES', '1') == '1' and 'PORT' not in env:
        return ['--standalone', '--local-addr=127.0.0.1']
    return [
        f'--nnodes={env.get("NNODES", "1")}',
        f'--node-rank={env.get("NODE_RANK", "0")}',
        f'--master-addr={env.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master-port={env.get("PORT", "29500")}',
    ]


def prepare_launch(cfg: Config, training: bool) -> None:
    """Make a distributed run possible on a machine without an accelerator.

    MMEngine selects a CUDA device whenever there is a launcher. Here, where there is none, the
    processes join over gloo before the runner is built (which then does not initialize the process
    group again), and the model is wrapped without device ids. With an accelerator nothing changes.

    Args:
        cfg (Config): The config, whose ``launcher`` is set. Changed in place.
        training (bool): Whether the run trains. SyncBN, which is for GPUs only, is then an error;
            in a test it is replaced by BN, which computes the same from the same checkpoint.

    Raises:
        UsageError: If a model with SyncBN is to be trained by several processes on the CPU.
    """
    if cfg.launcher == 'none':
        return
    _check_environment(cfg.launcher)
    if get_device() != 'cpu':
        return
    layers = list(find_sync_bn(cfg.get('model', {})))
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


def find_sync_bn(model: Any) -> Iterator[Tuple[str, Any]]:
    """Yield (dotted name, config) of every SyncBN layer in the config of a model."""
    for path, layer, _ in nodes(model, None, ('model',)):
        if short_name(layer.get('type')) in SYNC_BN_TYPES:
            yield dotted(path), layer


def leave_process_group() -> None:
    """Leave the process group, if there is one, so that the process can end."""
    if dist.is_available() and dist.is_initialized():
        wait_for_gloo()
        dist.destroy_process_group()


def _check_environment(launcher: str) -> None:
    """Check that the launcher has set rank and world size in the environment."""
    missing = [name for name in SET_BY_LAUNCHER[launcher] if name not in os.environ]
    if missing:
        raise UsageError(
            f'--launcher {launcher}: the environment does not have {", ".join(missing)}. '
            'Start the processes with --gpus N (without --launcher), srun (slurm), or mpirun with '
            'MASTER_ADDR set (mpi)'
        )


def _first_host(nodes_of_job: str) -> str:
    """The first of the machines of a Slurm job."""
    command = ['scontrol', 'show', 'hostname', nodes_of_job]
    try:
        return subprocess.check_output(command, text=True).split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise UsageError(
            f'--launcher slurm: {" ".join(command)} does not print the first host ({error}). Set '
            'MASTER_ADDR in the environment to its name'
        ) from error


def _init_gloo(cfg: Config) -> None:
    """Join the processes of a launcher over gloo, with the timeout of ``env_cfg.dist_cfg``."""
    env = os.environ
    if cfg.launcher == 'slurm':
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env.get('SLURM_LOCALID', '0')
        if 'MASTER_ADDR' not in env:
            env['MASTER_ADDR'] = _first_host(env['SLURM_NODELIST'])
    elif cfg.launcher == 'mpi':
        env['RANK'] = env['OMPI_COMM_WORLD_RANK']
        env['WORLD_SIZE'] = env['OMPI_COMM_WORLD_SIZE']
        env['LOCAL_RANK'] = env['OMPI_COMM_WORLD_LOCAL_RANK']
    env.setdefault('MASTER_PORT', '29500')
    seconds: Optional[float] = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    options: Dict[str, Any] = {}
    if seconds is not None:
        options['timeout'] = datetime.timedelta(seconds=seconds)
    dist.init_process_group('gloo', **options)
