"""How far the score of a sample tells its score in the next pass.

Pruning skips a sample because its latest loss was low. This trains what a record of an experiment
trained, on all data, keeps the loss of each sample in each pass, and compares the scores after each
pass with the losses of the next one: by rank correlation, and by how many samples below the mean
are below it again. The scores are the losses themselves, or moving averages of them.
"""

import argparse
import json
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from scipy.stats import spearmanr
from torch import Tensor

from mm_infobatch import convert
from mm_infobatch.passes.scores import ScoreTable

DELTA = 0.875  # annealing begins there
SMOOTHING = (0.0, 0.8)


class KeepScores(Hook):
    """Keeps a copy of the score table at the beginning of each pass.

    Attributes:
        tables: One of each finished pass: float32 [N].
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.tables: List[Tensor] = []
        self._epoch = 0

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Copy the table, if this iteration is the first of a pass but the first."""
        sampler = runner.train_loop.dataloader.sampler
        if sampler.epoch != self._epoch:
            self._epoch = sampler.epoch
            self.tables.append(sampler.scores.values.clone())


def repeatability(scores: Tensor, losses: Tensor) -> Dict[str, float]:
    """Compare scores with the losses of the pass after them.

    Args:
        scores (Tensor): Float32 [N], NaN where a sample has none.
        losses (Tensor): The losses of the next pass, the same.

    Returns:
        dict[str, float]: ``rank_correlation`` (Spearman's); ``below``, the share of samples whose
        loss is below the mean of the losses; ``below_again``, the same among those whose score is
        below the mean of the scores.
    """
    both = scores.isfinite() & losses.isfinite()
    scores, losses = scores[both].double(), losses[both].double()
    low, low_next = scores < scores.mean(), losses < losses.mean()
    return dict(
        rank_correlation=float(spearmanr(scores.numpy(), losses.numpy()).statistic),
        below=float(low_next.double().mean()),
        below_again=float(low_next[low].double().mean()),
    )


def compare_passes(losses: List[Tensor], smoothing: float = 0.0) -> List[Dict[str, float]]:
    """Compare the scores of each pass with the losses of the next one, up to annealing.

    Args:
        losses (list[Tensor]): Those of each pass but the last, float32 [N].
        smoothing (float): What ``score_smoothing`` of the sampler is. Defaults to 0.
    """
    table = ScoreTable(len(losses[0]), smoothing)
    found = []
    for number, (this, following) in enumerate(zip(losses, losses[1:]), 2):
        table.update(torch.arange(len(this)), this)
        if number <= DELTA * (len(losses) + 1):
            found.append(repeatability(table.values, following))
    return found


def train(settings: Dict[str, Any], work_dir: str) -> List[Tensor]:
    """Train a config on all data.

    Args:
        settings (dict): ``config``, the file, and ``options``, what is set in it.
        work_dir (str): Where it trains.

    Returns:
        list[Tensor]: The scores of each pass, float32 [N].
    """
    cfg = Config.fromfile(settings['config'])
    cfg.merge_from_dict(settings['options'])
    cfg = convert(cfg, policy=dict(type='SoftPruning', prune_ratio=0))
    cfg.work_dir = work_dir
    keep = KeepScores()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(keep)
    runner.train()
    return keep.tables


def main() -> None:
    """Write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('record', type=Path, help='such as records/camvid_lite0/all_seed0.json')
    parser.add_argument('--config', help='trained with the same options; default: that of RECORD')
    parser.add_argument('--out', type=Path, required=True, help='the record of this measurement')
    parser.add_argument('--work-dir', default='work_dirs/score_repeatability')
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        settings = json.loads(args.record.read_text())['settings']
        settings['config'] = args.config or settings['config']
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(
            f'{args.record} is not the record of a run of an experiment '
            f'({type(error).__name__}: {error})'
        )
    tables = train(settings, f'{args.work_dir}/{settings["experiment"]}')
    result = dict(
        experiment=settings['experiment'],
        config=settings['config'],
        options=settings['options'],
        num_samples=len(tables[0]),
        versions={name: metadata.version(name) for name in ('torch', 'scipy')},
        smoothing={str(each): compare_passes(tables, each) for each in SMOOTHING},
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
