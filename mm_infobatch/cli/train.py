"""Train a segmentor (mmseg) or a classifier (mmpretrain) from a config file.

The arguments are those of the toolboxes' own ``tools/train.py``; the config's ``default_scope``
says which toolbox it is for. With ``--launcher`` and no accelerator, processes join over gloo.
"""

import argparse

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from ..convert.registered import resolve, type_name
from .common import (
    UsageError,
    add_config_arguments,
    add_run_arguments,
    build_runner,
    check_checkpoint,
    check_parts,
    fill_dataloaders,
    load_config,
)
from .infobatch_options import add_infobatch_options, check_infobatch, switch_on_infobatch
from .last_validation import LastValidationHook
from .launch import prepare_launch
from .loaded_weights import LoadedWeightsHook
from .resume import check_resumable, choose_checkpoint, keeps_only_one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_config_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from CHECKPOINT; without a value, from the latest complete one in the work '
        'directory',
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch size over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--infobatch',
        action='store_true',
        help='switch InfoBatch on: skip well-learned samples and weight the others',
    )
    add_infobatch_options(parser)
    add_run_arguments(parser)
    parser.set_defaults(apply_args=apply_args)


def apply_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Write the arguments into the config.

    Raises:
        UsageError: If a part of the config is missing, or an argument cannot work with it or on
            this machine.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    check_parts(cfg, 'train')
    if args.amp:
        _use_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UsageError(
                '--auto-scale-lr: the config does not say for which batch size its learning rate '
                'is. Add auto_scale_lr = dict(base_batch_size=<batch size over all GPUs>) to it'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = (
            None
            if args.resume == 'auto'
            else check_checkpoint(args.resume, directory=cfg.get('strategy') is not None)
        )
    if args.infobatch:
        cfg = switch_on_infobatch(cfg, args.infobatch_options)
    elif args.infobatch_options is not None:
        raise UsageError('--infobatch-options: has no effect without --infobatch; add it')
    else:
        check_infobatch(cfg)
    fill_dataloaders(cfg, 'train_dataloader', 'val_dataloader', 'test_dataloader')
    return cfg


def _use_amp(cfg: Config) -> None:
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    cls = resolve(kind, cfg.get('default_scope'), OPTIM_WRAPPERS)
    if cls not in (OptimWrapper, AmpOptimWrapper):
        raise UsageError(
            '--amp: works with optim_wrapper.type OptimWrapper, but the config has '
            f'{type_name(kind)!r}. Remove --amp, or set optim_wrapper.type to OptimWrapper'
        )
    if get_device() == 'cpu':
        raise UsageError('--amp: needs an accelerator, and none was found. Remove --amp')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def main(args: argparse.Namespace) -> None:
    """Build the runner and train."""
    cfg = apply_args(load_config(args), args)
    prepare_launch(cfg, training=True)
    notes = [choose_checkpoint(cfg) if cfg.get('resume') else None, keeps_only_one(cfg)]
    if cfg.get('resume'):
        check_resumable(cfg)
    runner = build_runner(cfg)
    for note in filter(None, notes):
        runner.logger.warning(note)
    if cfg.get('load_from'):
        runner.register_hook(LoadedWeightsHook(cfg.load_from))
    if cfg.get('resume'):
        runner.register_hook(LastValidationHook())
    runner.train()
