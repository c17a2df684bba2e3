"""The distribution of losses before pruning, after it and after rescaling, from checkpoints.

For each checkpoint that a run has kept: the scores in it, the samples that the run's policy would
keep of them, and what it would weigh them. The plan is made here, with a generator of its own; it
is not the one that the run made.
"""

import re
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from mm_infobatch.cli.checkpoints import read_checkpoint
from mm_infobatch.policies import build_policy

BINS = 60


def distribution(scores: Tensor, policy: Any) -> Dict[str, Any]:
    """Histograms of scores, of those that a plan keeps, and of what it makes of them.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.
        policy (object): Has ``plan(scores, generator)``.

    Returns:
        dict: The ``mean``, the ``edges`` of the bins (float [B + 1], the last bin without an upper
            end), and in each bin (float [B]): the samples ``before`` pruning, those kept ``after``
            it, the sum of their weights (``weighted``), and the samples by weight times loss
            (``rescaled``, as the paper's Fig. 5 draws it).
    """
    plan = policy.plan(scores, torch.Generator().manual_seed(0))
    planned = torch.zeros(len(scores))
    planned[plan.indices] = plan.weights
    seen = ~scores.isnan()
    values, weights = scores[seen].double().numpy(), planned[seen].double().numpy()
    edges = np.linspace(0, max(2 * float(np.quantile(values, 0.95)), 1e-6), BINS + 1)

    def count(losses: np.ndarray, counted: np.ndarray) -> List[float]:
        found = np.histogram(np.clip(losses, 0, edges[-1]), edges, weights=counted)[0]
        return [round(float(each), 2) for each in found]

    kept = (weights > 0).astype(float)
    return dict(
        mean=float(values.mean()),
        threshold=plan.threshold,
        edges=[round(float(each), 6) for each in edges],
        before=count(values, np.ones(len(values))),
        after=count(values, kept),
        weighted=count(values, weights),
        rescaled=count(values * weights, kept),
    )


def distributions(work_dir: Path) -> List[Dict[str, Any]]:
    """The distribution in each checkpoint of a run, ascending in ``passes``, those that are done.

    Args:
        work_dir (Path): The work directory; checkpoints of a run without InfoBatch have none.
    """
    configs = sorted(work_dir.glob('*/vis_data/config.py'))
    found = []
    for path in work_dir.glob('*.pth'):
        if not configs or not re.fullmatch(r'(iter|epoch)_\d+', path.stem):
            continue
        state = read_checkpoint(path).get('infobatch')
        if state is None or bool(state['sampler']['scores'].isnan().all()):
            continue
        cfg = Config.fromfile(str(configs[-1]), import_custom_modules=False)
        policy = build_policy(dict(cfg.train_dataloader.sampler.policy))
        one = distribution(state['sampler']['scores'], policy)
        found.append(dict(passes=len(state['records']), **one))
    return sorted(found, key=lambda one: one['passes'])
