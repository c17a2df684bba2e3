"""Test a checkpoint of a segmentor (mmseg) or a classifier (mmpretrain).

The arguments are those of the toolboxes' own ``tools/test.py``; the config's ``default_scope``
says which toolbox it is for. The metrics also go to ``<work dir>/<timestamp>/<timestamp>.json``.
"""

import argparse
import os
from copy import deepcopy

from mmengine import dump
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults

from .common import (
    UsageError,
    add_config_arguments,
    add_run_arguments,
    build_runner,
    check_checkpoint,
    check_directory,
    check_parts,
    fill_dataloaders,
    load_config,
)
from .launch import prepare_launch
from .loaded_weights import LoadedWeightsHook
from .resume import check_complete


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='path of the checkpoint file')
    parser.add_argument(
        '--out',
        help='where to write predictions: a directory for label maps (mmseg) or a .pkl file '
        '(mmpretrain)',
    )
    parser.add_argument(
        '--out-item',
        choices=['pred', 'metrics'],
        default='pred',
        help='what to write to --out with mmpretrain (default: pred)',
    )
    parser.add_argument('--tta', action='store_true', help='test with test-time augmentation')
    add_run_arguments(parser)
    parser.set_defaults(apply_args=apply_args)


def apply_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Write the arguments into the config, in place.

    Raises:
        UsageError: If a part of the config is missing, or an argument cannot work with it.
    """
    check_parts(cfg, 'test')
    cfg.load_from = check_checkpoint(args.checkpoint)
    cfg.resume = False  # the config of a run that was resumed says True
    if args.tta:
        _use_tta(cfg)
    if args.out is not None:
        _check_out(cfg, args)
    if args.out is not None and cfg.get('default_scope') == 'mmseg':
        evaluators = cfg.test_evaluator
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            evaluator['output_dir'] = args.out
            evaluator['keep_results'] = True
    fill_dataloaders(cfg, 'test_dataloader')
    return cfg


def _check_out(cfg: Config, args: argparse.Namespace) -> None:
    if cfg.get('default_scope') == 'mmseg':
        check_directory(args.out, '--out')
        return
    suffixes = ['.pkl', '.pickle']
    if args.out_item == 'metrics':
        suffixes += ['.json', '.yaml', '.yml']
    if not args.out.endswith(tuple(suffixes)):
        raise UsageError(
            f'--out {args.out!r}: with --out-item {args.out_item} the name has to end in '
            + ' or '.join(suffixes)
        )
    check_directory(os.path.dirname(args.out) or '.', '--out')


def _use_tta(cfg: Config) -> None:
    """Test with the config's ``tta_model`` and ``tta_pipeline``; mmpretrain's default is a flip."""
    if cfg.get('default_scope') == 'mmpretrain':
        cfg.setdefault('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
        if 'tta_pipeline' not in cfg:
            steps = deepcopy(cfg.test_dataloader.dataset.pipeline)
            flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
            cfg.tta_pipeline = [
                *steps[:-1],
                dict(type='TestTimeAug', transforms=[flips, [steps[-1]]]),
            ]
    missing = [name for name in ('tta_model', 'tta_pipeline') if cfg.get(name) is None]
    if missing:
        raise UsageError(
            f'--tta: the config has no {" and no ".join(missing)}. Add what is missing, for '
            "example tta_model = dict(type='SegTTAModel'), or remove --tta"
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def main(args: argparse.Namespace) -> None:
    """Build the runner and test."""
    cfg = apply_args(load_config(args), args)
    check_complete(cfg.load_from)
    prepare_launch(cfg, training=False)
    runner = build_runner(cfg)
    runner.register_hook(LoadedWeightsHook(cfg.load_from, same_shapes=True))
    to_file = args.out is not None and cfg.get('default_scope') != 'mmseg'
    if to_file and args.out_item == 'pred':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    metrics = runner.test()
    if to_file and args.out_item == 'metrics' and runner.rank == 0:
        dump(metrics, args.out)
