"""How long a plan takes, and what a policy keeps of each sample."""

import time
from pathlib import Path
from typing import Any, Dict, List

import torch
from torch import Tensor

from policy_comparison.equal_saving import policies_at


def time_plans(num_samples: int, saving: float, repeats: int, folder: Path) -> List[Dict[str, Any]]:
    """How long a plan takes, and what a policy keeps, a row a policy."""
    scores = -torch.rand(num_samples, generator=torch.Generator().manual_seed(0)).log()
    rows = []
    for name, policy in policies_at(saving, scores, folder).items():
        generator, seconds, observing = torch.Generator().manual_seed(1), [], []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            plan = policy.plan(scores, generator)
            seconds.append(time.perf_counter() - began)
        for _ in range(repeats + 1):  # after all plans, which it may change
            began = time.perf_counter()
            observe(policy, plan, scores)
            observing.append(time.perf_counter() - began)
        state = policy.state_dict().values() if hasattr(policy, 'state_dict') else ()
        rows.append(
            dict(
                policy=name,
                skipped=plan.pruned / num_samples,
                seconds=min(seconds[1:]),
                times_soft_pruning=0.0,
                observe_seconds=min(observing[1:]),
                state_bytes=sum(each.nbytes for each in state if torch.is_tensor(each))
                / num_samples,
            )
        )
    for row in rows:
        row['times_soft_pruning'] = row['seconds'] / rows[0]['seconds']
    return rows


def observe(policy: Any, plan: Any, scores: Tensor) -> None:
    """Tell a policy of a pass and its losses, where it wants to know."""
    if hasattr(policy, 'begin_pass'):
        policy.begin_pass(plan)
    if hasattr(policy, 'observe'):
        policy.observe(plan.indices, scores[plan.indices], len(scores))
