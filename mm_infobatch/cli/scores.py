"""Write a file of scores for the policy FromFile, from the checkpoints of a training.

el2n CONFIG CHECKPOINT... evaluates a trained classifier on its training set, without random
augmentation: the score of a sample is the L2 norm of (predicted probabilities - one-hot label), the
mean over the checkpoints (Paul et al. 2021, https://arxiv.org/abs/2107.07075).

forgetting CHECKPOINT... counts, in the scores that InfoBatch saved in the checkpoints of a run, how
often a sample was forgotten: learned in one checkpoint and not in the next (Toneva et al. 2018,
https://arxiv.org/abs/1812.05159). A loss below log 2 is a label probability above 1/2, which always
is a correct prediction; so this needs a plain cross-entropy, and sees only the losses that the
checkpoints hold. A sample that was never learned counts as the most forgotten of all. To have every
sample's loss of every pass, train with prune_ratio=0 and a checkpoint an epoch.
"""

import argparse
import math
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch.utils.data import DataLoader, default_collate

from .checkpoints import read_checkpoint
from .common import UsageError, add_config_arguments, check_directory, read_config
from .resume import check_complete


def build_model(cfg: Config) -> Any:
    """Build the classifier of a config, as a Runner would."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    preprocessor = dict({'type': 'ClsDataPreprocessor'}, **preprocessor)
    return MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))


def build_train_set(cfg: Config) -> Any:
    """Build the training dataset of a config, with the pipeline of the validation.

    Raises:
        ValueError: If the config has no plain training dataset, or no validation.
    """
    dataset: Dict[str, Any] = dict(cfg.train_dataloader.dataset)
    if 'pipeline' not in dataset or cfg.get('val_dataloader') is None:
        raise ValueError(
            f'the training dataset {dataset.get("type")} has no pipeline of its own that could be '
            'replaced with that of val_dataloader.dataset; give a config with a plain dataset'
        )
    dataset['pipeline'] = cfg.val_dataloader.dataset.pipeline
    return DATASETS.build(dataset)


def prepare(cfg: Config) -> None:
    """Register the modules of mmpretrain.

    Raises:
        ValueError: If the config is of another toolbox.
    """
    import mmpretrain.utils

    mmpretrain.utils.register_all_modules(init_default_scope=False)
    if cfg.get('default_scope') != 'mmpretrain':
        raise ValueError(
            f'default_scope is {cfg.get("default_scope")!r}: EL2N is defined for '
            'classification; give a config of mmpretrain'
        )


@torch.no_grad()
def el2n(model: Any, dataset: Any, batch_size: int) -> np.ndarray:
    """The EL2N score of each sample, float32 [N]."""
    scores: List[float] = []
    model.eval()
    loader: Any = DataLoader(dataset, batch_size, collate_fn=collate)
    for batch in loader:
        for sample in model.val_step(batch):
            error = sample.pred_score.clone()
            error[sample.gt_label.item()] -= 1
            scores.append(float(error.norm()))
    return np.array(scores, dtype=np.float32)


def collate(samples: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Put samples into a batch, their annotations in a list."""
    return dict(
        inputs=default_collate([sample['inputs'] for sample in samples]),
        data_samples=[sample['data_samples'] for sample in samples],
    )


def forgetting(losses: np.ndarray) -> np.ndarray:
    """How often each sample was forgotten.

    Args:
        losses (np.ndarray): [P, N], in the order of training, NaN where unseen.

    Returns:
        np.ndarray: float32 [N]; P for a sample that was never learned.
    """
    learned = losses < math.log(2)
    forgotten = (learned[:-1] & ~learned[1:]).sum(0).astype(np.float32)
    return np.where(learned.any(0), forgotten, len(losses)).astype(np.float32)


def logged_losses(paths: List[Path]) -> np.ndarray:
    """The scores that InfoBatch saved in checkpoints, [P, N], in the order of training.

    Raises:
        ValueError: If a checkpoint has none, or their datasets have different lengths.
    """
    rows = []
    for path in paths:
        state = read_checkpoint(path).get('infobatch')
        if state is None:
            raise ValueError(f'checkpoint {path} has no scores: it was trained without InfoBatch')
        rows.append((int(state['schedule']['iters']), state['sampler']['scores'].numpy()))
    if len({len(scores) for _, scores in rows}) != 1:
        raise ValueError(
            'the checkpoints are of datasets of different lengths; give those of one run'
        )
    return np.stack([scores for _, scores in sorted(rows, key=lambda row: row[0])])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    kinds = parser.add_subparsers(dest='kind', metavar='KIND', required=True)
    one = kinds.add_parser('el2n', help='from a trained classifier')
    add_config_arguments(one)
    one.add_argument('checkpoints', nargs='+', type=Path, metavar='checkpoint')
    one.add_argument('--batch-size', type=int, default=256, help='default: 256')
    two = kinds.add_parser('forgetting', help='from the scores in checkpoints of one run')
    two.add_argument('checkpoints', nargs='+', type=Path, metavar='checkpoint')
    for kind in (one, two):
        kind.add_argument('--out', type=Path, required=True, help='the .npy file to write')


def main(args: argparse.Namespace) -> None:
    """Write the file."""
    check_directory(str(args.out.parent), '--out')
    for path in args.checkpoints:
        check_complete(str(path))
    try:
        scores = _forgetting(args) if args.kind == 'forgetting' else _el2n(args)
    except ValueError as error:
        raise UsageError(str(error)) from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with open(args.out, 'wb') as file:
        np.save(file, scores)
    print(
        f'{args.out}: {len(scores)} scores from {scores.min():.4g} to {scores.max():.4g}, '
        f'mean {scores.mean():.4g}'
    )


def _forgetting(args: argparse.Namespace) -> np.ndarray:
    if len(args.checkpoints) < 2:
        raise ValueError('forgetting needs two checkpoints or more of one run')
    return forgetting(logged_losses(args.checkpoints))


def _el2n(args: argparse.Namespace) -> np.ndarray:
    cfg = read_config(args.config, args.cfg_options)
    prepare(cfg)
    states = [read_checkpoint(path).get('state_dict') for path in args.checkpoints]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset, model = build_train_set(cfg), build_model(cfg)
        rows = []
        for path, state in zip(args.checkpoints, states):
            try:
                model.load_state_dict(state)
            except (RuntimeError, TypeError) as error:
                raise ValueError(f'checkpoint {path} does not fit the model: {error}') from error
            rows.append(el2n(model, dataset, args.batch_size))
    return np.stack(rows).astype(np.float64).mean(0).astype(np.float32)
