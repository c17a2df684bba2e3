"""Train the grid of a study of pruning's stability, one JSON line a run.

Every arm is the given InfoBatch config of a classifier with a few settings changed, trained by a
Runner of its own, seed after seed (all arms of a seed first, so that a study that is stopped
compares what is there). A run whose line is in ``--out`` already is not made again. Without
``--arms`` all are trained; ``--list`` says what there is, ``--table`` prints mean +- standard
deviation over the seeds from the file, in Markdown, and trains nothing.

The arm ``all data`` is the unpruned training (``prune_ratio=0``, which a test shows to be the stock
run bit for bit); ``fewer epochs`` is that with its schedule shortened to 0.7 of the epochs.
"""

import argparse
import copy
import json
import platform
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from _experiments import shortened
from _welch import difference
from mm_infobatch.cli.common import fill_dataloaders

SOFT = dict(type='SoftPruning', prune_ratio=0.5)
QUANTILE = dict(type='QuantilePruning', quantiles=[0.2, 0.85], keep=[0.25, 0.5])
TARGET = dict(type='TargetSaving', saving=0.4)

# The arm that the others are compared with.
FULL = 'all data'

# What each arm sets in the sampler, and what it shows.
ARMS: Dict[str, Dict[str, Any]] = {
    FULL: dict(policy=dict(SOFT, prune_ratio=0)),
    'fewer epochs': dict(policy=dict(SOFT, prune_ratio=0), epochs=0.7),
    'SoftPruning': dict(policy=SOFT),
    # Table 3 of the paper: rescaling and annealing, off one by one; Random* is its first row.
    'SoftPruning, no annealing': dict(policy=SOFT, delta=1),
    'SoftPruning, no rescaling': dict(policy=dict(SOFT, rescale=False)),
    'SoftPruning, neither': dict(policy=dict(SOFT, rescale=False), delta=1),
    'RandomPruning': dict(policy=dict(type='RandomPruning', prune_ratio=0.35), delta=1),
    # Table 4: prune above the mean.
    'SoftPruning, reverse': dict(policy=dict(SOFT, reverse=True)),
    # What may drive the spread, one by one: longer steps, uneven batches, stale scores, too short
    # an annealing, too early a start, weight variance.
    'SoftPruning, normalized': dict(policy=dict(SOFT, rescale='normalized')),
    'SoftPruning, stratified': dict(policy=SOFT, stratify=True),
    'SoftPruning, normalized and stratified': dict(
        policy=dict(SOFT, rescale='normalized'), stratify=True
    ),
    'SoftPruning, smoothed': dict(policy=SOFT, score_smoothing=0.5),
    'SoftPruning, delta 0.7': dict(policy=SOFT, delta=0.7),
    'SoftPruning, delta 0.5': dict(policy=SOFT, delta=0.5),
    'SoftPruning, warm-up': dict(policy=SOFT, warmup_passes=3),
    'QuantilePruning': dict(policy=QUANTILE),
    'QuantilePruning, normalized': dict(policy=dict(QUANTILE, rescale='normalized')),
    'TargetSaving': dict(policy=TARGET),
    'TargetSaving, max_weight 2.5': dict(policy=dict(TARGET, max_weight=2.5)),
    'TargetSaving, normalized': dict(policy=dict(TARGET, rescale='normalized')),
    'TargetSaving, normalized and stratified': dict(
        policy=dict(TARGET, rescale='normalized'), stratify=True
    ),
    'EpsilonGreedy': dict(policy=dict(type='EpsilonGreedy', prune_ratio=0.35)),
    'UCB': dict(policy=dict(type='UCB', prune_ratio=0.35)),
    'StaticRandom': dict(policy=dict(type='StaticRandom', keep=0.65), delta=1),
}

# The paper's own tables, as documents name them.
TABLES: Dict[str, Sequence[str]] = {
    'Table 3': (
        'RandomPruning',
        'SoftPruning, neither',
        'SoftPruning, no annealing',
        'SoftPruning, no rescaling',
        'SoftPruning',
        FULL,
    ),
    'Table 4': ('SoftPruning', 'SoftPruning, reverse', FULL),
}


class Subset(torch.utils.data.Dataset[Any]):
    """The first samples of a dataset, for a quick look."""

    def __init__(self, dataset: Any, length: int) -> None:
        self.dataset, self.length = dataset, min(length, len(dataset))
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def config_of(arm: str, seed: int, args: argparse.Namespace, work_dir: str) -> Config:
    """The config of a run."""
    cfg = Config.fromfile(str(args.config))
    settings = copy.deepcopy(ARMS[arm])
    epochs = args.epochs or cfg.train_cfg.max_epochs
    length = max(1, round(epochs * settings.pop('epochs', 1.0)))
    cfg.merge_from_dict(shortened(cfg, length))
    for key, value in settings.items():
        cfg.train_dataloader.sampler[key] = value
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.num_workers = args.workers
        if args.data_root is not None:
            loader.dataset.data_root = str(args.data_root)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs  # once, at the end
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=-1, save_last=False)
    cfg.randomness = dict(seed=seed)
    cfg.work_dir, cfg.experiment_name = work_dir, uuid.uuid4().hex
    cfg.log_level = 'WARNING'
    fill_dataloaders(cfg, 'train_dataloader', 'val_dataloader')
    return cfg


def train(arm: str, seed: int, args: argparse.Namespace) -> Dict[str, Any]:
    """Train one run.

    Returns:
        dict: Its line of the file.
    """
    with tempfile.TemporaryDirectory() as work_dir:
        cfg = config_of(arm, seed, args, work_dir)
        began = time.perf_counter()
        runner = Runner.from_cfg(cfg)
        if args.subset:
            for name in ('_train_dataloader', '_val_dataloader'):
                loader = getattr(runner, name)
                dataset = runner.build_dataloader(
                    dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
                ).dataset
                loader['dataset'] = Subset(dataset, args.subset)
        runner.train()
        seconds = time.perf_counter() - began
        report = json.loads((Path(work_dir) / 'infobatch.json').read_text())
    # What the validation at the end left for the log.
    metric = runner.message_hub.get_scalar('val/accuracy/top1').current()
    losses = np.array(runner.message_hub.get_scalar('train/loss').data[0])
    totals = report['totals']
    return dict(
        arm=arm,
        seed=seed,
        config=args.config.name,
        options=args.cfg_options or {},
        schedule_epochs=args.epochs,
        epochs=cfg.train_cfg.max_epochs,
        accuracy=float(metric),
        saving=totals['saving'],
        iterations=totals['iterations'],
        samples=totals['samples_trained'],
        seconds_choosing=totals['seconds_choosing'],
        seconds=seconds,
        final_loss=float(losses[-50:].mean()),
        # How the loss that was minimized moved from batch to batch while samples were pruned.
        loss_spread=float(np.abs(np.diff(losses)).mean()),
        largest_loss=float(losses[len(losses) // 10 :].max()),
        settings=report['settings']['policy'],
        sampler={key: value for key, value in ARMS[arm].items() if key != 'policy'},
        torch=torch.__version__,
        python=platform.python_version(),
        threads=torch.get_num_threads(),
    )


def read(path: Path) -> List[Dict[str, Any]]:
    """The lines of a file, none where there is no file; a line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            print(f'{path}: left out a line that was cut off', file=sys.stderr)
    return rows


def key_of(row: Dict[str, Any]) -> str:
    """What makes two lines the same run."""
    keys = ('arm', 'seed', 'config', 'options', 'schedule_epochs')
    return json.dumps([row[key] for key in keys], sort_keys=True)


def table(rows: List[Dict[str, Any]], arms: Optional[Sequence[str]] = None) -> str:
    """Mean +- standard deviation of each arm over its seeds, in Markdown.

    Args:
        rows (list[dict]): Lines of a file.
        arms (Sequence[str], optional): Which arms, in this order. Defaults to None: all that the
            file has.

    Raises:
        ValueError: If an arm has no line.
    """
    if arms is None:
        arms = [arm for arm in ARMS if any(row['arm'] == arm for row in rows)]
    full = [row['accuracy'] for row in rows if row['arm'] == FULL]
    cells = [['arm', 'n', 'accuracy', 'worst', 'difference [95 %]', 'saving', 'iterations']]
    for arm in arms:
        group = [row for row in rows if row['arm'] == arm]
        if not group:
            raise ValueError(f'no run of the arm {arm!r} was recorded')
        values = [row['accuracy'] for row in group]
        spread = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
        cells.append(
            [
                arm,
                str(len(group)),
                f'{mean(values):.2f}{spread}',
                f'{min(values):.2f}',
                '-' if arm == FULL or not full else interval(values, full),
                f'{100 * mean(row["saving"] for row in group):.1f} %',
                f'{mean(row["iterations"] for row in group):,.0f}',
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) for row in cells]
    lines.insert(1, ' | '.join('-' * width for width in widths))
    return '\n'.join(f'| {line} |' for line in lines)


def interval(values: Sequence[float], full: Sequence[float]) -> str:
    """The difference to training on all data, and its 95 % confidence interval by Welch."""
    found, half = difference(values, full)
    return f'{found:+.2f}' + (f' [{found - half:+.2f}, {found + half:+.2f}]' if half else '')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Train a study of pruning, resumably')
    parser.add_argument(
        '--config',
        type=Path,
        help='an InfoBatch config of a classifier',
        default=Path('configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'),
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/study.jsonl'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), metavar='ARM')
    parser.add_argument('--epochs', type=int, help="default: the config's")
    parser.add_argument('--workers', type=int, default=0, help='that load data (default: 0)')
    parser.add_argument('--data-root', type=Path, help="default: the config's")
    parser.add_argument('--subset', type=int, help='train and test on so many samples only')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='more settings of every run, such as param_scheduler.eta_max=0.2',
    )
    parser.add_argument('--list', action='store_true', help='print the arms')
    parser.add_argument('--table', action='store_true', help='print the table of --out')
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> None:
    """Train what is missing."""
    args = parse_args(argv)
    if args.list:
        print('\n'.join(ARMS))
        return
    if args.table:
        rows = read(args.out)
        if not rows:
            sys.exit(f'study_stability.py: error: {args.out} has no runs')
        print(table(rows))
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    done = {key_of(row) for row in read(args.out)}
    for seed in args.seeds:
        for arm in args.arms or ARMS:
            wanted = dict(
                arm=arm,
                seed=seed,
                config=args.config.name,
                options=args.cfg_options or {},
                schedule_epochs=args.epochs,
            )
            if key_of(wanted) in done:
                continue
            row = train(arm, seed, args)
            with open(args.out, 'a') as file:
                file.write(json.dumps(row) + '\n')
            print(
                f'{arm}, seed {seed}: accuracy {row["accuracy"]:.2f}, saving '
                f'{row["saving"]:.1%}, {row["seconds"]:.0f} s',
                flush=True,
            )


if __name__ == '__main__':
    main()
