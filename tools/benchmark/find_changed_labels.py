"""How many changed labels are among the samples that a run finds hardest.

A share of Fashion-MNIST's training labels is replaced at random by other classes, LeNet-5 is
trained on them with InfoBatch, and the samples are ranked by what the checkpoint holds of their
losses: the latest one, the mean and the spread over the passes. Beside them stands the ranking of
cleanlab's ``get_label_quality_scores`` (https://github.com/cleanlab/cleanlab) by the predictions of
the same network for the images that it was trained on, without augmentation.

It needs ``pip install cleanlab``.
"""

import argparse
import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mm_infobatch.cli.checkpoints import read_checkpoint
from mm_infobatch.passes.tracking import SampleTracker
from mm_infobatch.scoring.classifier import prepare
from mm_infobatch.scoring.rows import log_probabilities
from mm_infobatch.scoring.source import Source, make_study

CONFIG = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
LABELS = 'train-labels-idx1-ubyte'
HEADER = 8  # bytes of an idx file of labels before the first label
NUM_CLASSES = 10


def changed_labels(
    labels: np.ndarray, share: float, seed: int, num_classes: int = NUM_CLASSES
) -> Tuple[np.ndarray, np.ndarray]:
    """Give a random share of the samples another class, each one as likely as the others.

    Args:
        labels (np.ndarray): [N], classes from 0.
        share (float): How many, as a share of N.
        seed (int): Of the choice.
        num_classes (int): The number of classes. Defaults to 10.

    Returns:
        tuple[np.ndarray, np.ndarray]: The labels, [N], and the indices that changed, ascending.
    """
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.choice(len(labels), round(len(labels) * share), replace=False))
    shifts = generator.integers(1, num_classes, len(chosen))
    changed = labels.copy()
    changed[chosen] = (labels[chosen] + shifts) % num_classes
    return changed, chosen


def share_found(values: np.ndarray, changed: np.ndarray, first: int) -> float:
    """The share of changed labels among the samples with the highest values.

    Args:
        values (np.ndarray): [N]; NaN counts as lowest.
        changed (np.ndarray): The indices of the changed labels.
        first (int): How many samples.
    """
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind='stable')
    return float(np.isin(order[:first], changed).mean())


def write_data(source: Path, target: Path, share: float, seed: int) -> np.ndarray:
    """Copy the dataset, with changed labels; gives the indices that changed."""
    if not target.is_dir():
        shutil.copytree(source, target)
    content = (source / LABELS).read_bytes()
    labels = np.frombuffer(content[HEADER:], dtype=np.uint8)
    changed, chosen = changed_labels(labels, share, seed)
    (target / LABELS).write_bytes(content[:HEADER] + changed.tobytes())
    return chosen


def predictions(cfg: Config, checkpoint: Path, folder: Path) -> Tuple[np.ndarray, np.ndarray]:
    """The labels of the training set, [N], and the network's probabilities, [N, C]."""
    prepare(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        study = make_study(cfg, folder, batch_size=500, num_workers=0, say=print)
        found = Source(study, checkpoint, read_checkpoint).extraction(features=False)
    return found.labels, np.exp(log_probabilities(found.logits))


def run(args: argparse.Namespace, seed: int) -> Dict[str, float]:
    """Train on changed labels, and rank: the share found by each measure."""
    from cleanlab.rank import get_label_quality_scores  # type: ignore

    data = args.work_dir / f'data_{seed}'
    changed = write_data(args.data_root, data, args.share, seed)
    work_dir = args.work_dir / f'seed{seed}'
    options = [f'randomness.seed={seed}', f'train_dataloader.dataset.data_root={data}']
    options += [f'val_dataloader.dataset.data_root={args.data_root}']
    command = [sys.executable, '-m', 'mm_infobatch', 'train', args.config, '--resume']
    command += ['--work-dir', str(work_dir), '--cfg-options', *options]
    subprocess.run(command, check=True)
    path = Path((work_dir / 'last_checkpoint').read_text())
    state = read_checkpoint(path)['infobatch']['sampler']
    tracker = SampleTracker(len(state['scores']))
    tracker.load_state_dict(state['tracked'])
    cfg = Config.fromfile(work_dir / Path(args.config).name)
    labels, probabilities = predictions(cfg, path, args.work_dir / 'extraction')
    measures = dict(
        latest_loss=state['scores'].numpy(),
        mean_loss=tracker.mean.numpy(),
        spread=tracker.spread().numpy(),
    )
    for method in ('self_confidence', 'normalized_margin'):
        quality = get_label_quality_scores(labels, probabilities, method=method)
        measures[f'cleanlab, {method}'] = -quality
    return {key: share_found(value, changed, len(changed)) for key, value in measures.items()}


def main() -> None:
    """Write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', type=Path, help='the idx files of Fashion-MNIST')
    parser.add_argument('--out', type=Path, required=True, help='the record')
    parser.add_argument('--config', default=CONFIG, help=f'default: {CONFIG}')
    parser.add_argument('--share', type=float, default=0.02, help='of the labels; default: 0.02')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/changed_labels'))
    args = parser.parse_args()
    if not (args.data_root / LABELS).is_file():
        parser.error(f'{args.data_root} has no {LABELS}: give the folder of its idx files')
    found = {seed: run(args, seed) for seed in args.seeds}
    record = dict(
        config=args.config,
        share=args.share,
        versions={name: metadata.version(name) for name in ('torch', 'cleanlab')},
        found=found,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + '\n')
    print(json.dumps(record, indent=1))


if __name__ == '__main__':
    main()
