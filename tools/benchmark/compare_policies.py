"""Compare policies: the time that a plan takes, and how well its gradient is that of all data.

Times are the least of several plans of ``--num-samples`` samples with skewed scores, apart from the
time in which a policy takes the losses of a pass (``observe``); ``state bytes`` are those that it
keeps of each sample.

With a config and checkpoints of a classifier, gradients are compared too, at equal saving: for the
first ``--gradients`` samples of the training set (without random augmentation, the model in
evaluation mode) each sample's gradient by all parameters is computed once; then many plans are made
of the samples' scores. The scores are those that InfoBatch kept in the checkpoint, stale ones where
a sample was skipped, or the losses of now where there are none. Of g, the gradient of all samples,
and the plans' weighted gradients e it tells, in units of |g|^2 and in means over the plans:

- error: |e - g|^2, which is variance + bias;
- variance: |e - mean e|^2, and bias: |mean e - g|^2, as far as so many plans tell them apart;
- cosine: of e and g;
- mean weight: of the samples that are kept. It is how much longer a step is in a pruned pass, and
  the best mean weight is the length at which a step lowers the loss most, by the noise of a batch
  alone: (1 + b) / (1 + b v). b is the noise-to-signal ratio of a batch of all data; v the second
  moment of a kept gradient, at weights divided by their mean, in units of that of all samples.
  This is the gain of AdaScale (https://arxiv.org/abs/2007.05105) for pruned batches.
  Curvature, which limits steps too, is not in it. Only for policies without a bias.

The numbers are printed as JSON; ``--json`` keeps them, and ``tools/analysis_tools/experiment.py
report`` writes the tables of docs/ablations.md from them (``show 'policies: FILE'`` prints them).
"""

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mm_infobatch.cli.checkpoints import read_checkpoint
from mm_infobatch.policies import (
    IES,
    KAKURENBO,
    UCB,
    EpsilonGreedy,
    FromFile,
    OrderDP,
    QuantilePruning,
    RandomPruning,
    RePB,
    SeTa,
    SoftPruning,
    StaticRandom,
    TargetSaving,
)
from mm_infobatch.policies.seta import group_bounds
from mm_infobatch.scoring import classifier


class OfOneBatch(RePB):
    """As if all samples had been trained in one batch, after a pass that skipped some of them."""

    def __init__(self, prune_ratio: float, scores: Tensor) -> None:
        super().__init__(prune_ratio)
        self._mean = scores.mean(dtype=torch.float64).float()
        self.begin_pass(None)
        self.begin_pass(self.plan(scores, torch.Generator().manual_seed(3)))

    def plan(self, scores: Tensor, generator: torch.Generator) -> Any:
        """Plan with the scores relative to their mean."""
        return super().plan(scores - self._mean, generator)


def settled(saving: float, scores: Tensor, rescale: bool) -> IES:
    """The policy after five passes of losses, so that it skips that share of the samples."""
    policy = IES(1.0, prune_ratio=min(0.8, saving + 0.1), rescale=rescale)
    generator = torch.Generator().manual_seed(4)
    for _ in range(5):
        losses = scores * (0.8 + 0.4 * torch.rand(len(scores), generator=generator))
        policy.observe(torch.arange(len(scores)), losses, len(scores))
    share = np.quantile(policy.changes(len(scores)).numpy(), min(1, saving / policy.prune_ratio))
    policy.threshold = float(share)
    return policy


def share_above(scores: Tensor, num_groups: int = 5) -> float:
    """The share of the samples that k-means puts into the group of the highest scores."""
    bounds = group_bounds(np.sort(scores.numpy()), num_groups)
    return float((scores >= float(bounds[-1])).double().mean())


def policies_at(saving: float, scores: Tensor, folder: Path) -> Dict[str, Any]:
    """The policies, each set so that a pass with these scores skips that share of the samples.

    Args:
        saving (float): The share, in (0, 1).
        scores (Tensor): float32 [N].
        folder (Path): Where a file of scores may be written.

    Returns:
        dict: By name; without those that cannot skip so much.
    """
    below = float((scores < scores.double().mean()).double().mean())
    above = float((scores > scores.double().mean()).double().mean())
    part = saving / 0.475  # of what the defaults of QuantilePruning skip
    np.save(folder / 'scores.npy', scores.numpy())
    ucb = UCB(saving)
    ucb.observe(torch.arange(len(scores)), scores, len(scores))
    found: Dict[str, Any] = {}
    if saving < below:
        found['SoftPruning'] = SoftPruning(saving / below)
    if saving < 0.5:
        found['SoftPruning, median'] = SoftPruning(saving / 0.5, threshold='median')
    if saving < above:
        found['SoftPruning, reverse'] = SoftPruning(saving / above, reverse=True)
    if part < 1.3:
        found['QuantilePruning'] = QuantilePruning(keep=[1 - 0.75 * part, 1 - 0.5 * part])
    found['TargetSaving'] = TargetSaving(saving)
    found['RandomPruning, rescale'] = RandomPruning(saving, rescale=True)
    found['EpsilonGreedy, rescale'] = EpsilonGreedy(saving, 0.3, rescale=True)
    if saving < below:
        found['SoftPruning, no rescale'] = SoftPruning(saving / below, rescale=False)
    found['TargetSaving, no rescale'] = TargetSaving(saving, rescale=False)
    found['RandomPruning'] = RandomPruning(saving)
    found['EpsilonGreedy'] = EpsilonGreedy(saving)
    found['UCB'] = ucb
    if saving < 0.75:
        found['TargetSaving, quantile'] = TargetSaving(saving, quantile=max(0.8, saving / 0.75))
    found['IES, rescale'] = settled(saving, scores, rescale=True)
    found['IES'] = settled(saving, scores, rescale=False)
    if saving < below:
        found['RePB'] = OfOneBatch(saving / below, scores)
    found['OrderDP'] = OrderDP(max(0.75, 1 - saving), (1 - saving) / max(0.75, 1 - saving))
    if saving > share_above(scores):  # about: its groups are those of the random share
        found['SeTa'] = SeTa(1 - (1 - saving) / (1 - share_above(scores)))
    if saving < float((scores <= -math.log(0.51)).double().mean()):
        found['KAKURENBO'] = KAKURENBO(saving, confidence=0.51)
    found['StaticRandom'] = StaticRandom(1 - saving)
    found['FromFile'] = FromFile(str(folder / 'scores.npy'), 1 - saving)
    return found


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


def gradients_of(model: Any, dataset: Any, count: int) -> Any:
    """The losses and gradients of the first samples.

    Returns:
        tuple[Tensor, Tensor]: float32 [n], and the inner products of the gradients, float64 [n, n].
    """
    model.eval()
    parameters = [each for each in model.parameters() if each.requires_grad]
    losses, gradients = [], []
    for index in range(count):
        # Twice the same sample, whose mean loss is its own: mmpretrain's LeNet-5 cannot take one.
        batch = classifier.collate([dataset[index]] * 2)
        data = model.data_preprocessor(batch, training=False)
        loss = model.loss(data['inputs'], data['data_samples'])['loss']
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients.append(torch.cat([each.flatten() for each in found if each is not None]))
        losses.append(float(loss.detach()))
    matrix = torch.stack(gradients)
    return torch.tensor(losses), (matrix @ matrix.t()).double()


def best_mean_weight(products: Tensor, weights: Tensor, batch_size: int) -> float:
    """The mean weight at which a step lowers the loss most, by the noise of a batch alone.

    Args:
        products (Tensor): The inner products of the samples' gradients, float64 [n, n].
        weights (Tensor): Of the samples in plans, 0 where skipped, float64 [plans, n].
        batch_size (int): The samples of a step.
    """
    count, squares = len(products), products.diagonal()
    signal = (products.sum() - squares.sum()) / (count * (count - 1))  # |E g|^2, unbiased
    noise = float(squares.mean() / batch_size / signal)
    mean_weight = weights.sum() / (weights != 0).sum()
    second = (weights**2 @ squares).sum() / (weights != 0).sum() / squares.mean()
    return (1 + noise) / (1 + noise * float(second / mean_weight**2))


def compare_gradients(
    products: Tensor, scores: Tensor, saving: float, plans: int, folder: Path, batch_size: int
) -> List[Dict[str, Any]]:
    """How well plans' gradients are that of all samples, a row a policy.

    Args:
        products (Tensor): The inner products of the samples' gradients, float64 [n, n].
        scores (Tensor): What the policies see, float32 [n].
        saving (float): The share that each of them skips.
        plans (int): How many plans of each.
        folder (Path): Where a file of scores may be written.
        batch_size (int): The samples of a step.
    """
    rows, count = [], len(scores)
    whole = float(products.sum())
    for name, policy in policies_at(saving, scores, folder).items():
        generator = torch.Generator().manual_seed(2)
        weights = torch.zeros(plans, count).double()
        for row in weights:
            plan = policy.plan(scores, generator)
            row[plan.indices] = plan.weights.double()
        errors = weights - 1
        around = weights - weights.mean(0)
        off = errors.mean(0)
        with_whole = (weights @ products).sum(1)
        own = ((weights @ products) * weights).sum(1)
        bias = float(off @ products @ off) / whole
        unbiased = bias < 0.01 and abs(float(off.mean())) < 0.01
        rows.append(
            dict(
                policy=name,
                skipped=float((weights == 0).double().mean()),
                error=float(((errors @ products) * errors).sum(1).mean()) / whole,
                variance=float(((around @ products) * around).sum(1).sum())
                / max(plans - 1, 1)
                / whole,
                bias=bias,
                cosine=float((with_whole / (own * whole).sqrt()).mean()),
                largest_weight=float(weights.max()),
                mean_weight=float(weights.sum() / (weights != 0).sum()),
                best_mean_weight=(
                    best_mean_weight(products, weights, batch_size) if unbiased else None
                ),
            )
        )
    return rows


def compare(args: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    """All that the command line asks for."""
    result: Dict[str, Any] = dict(
        saving=args.saving,
        python=platform.python_version(),
        torch=torch.__version__,
        machine=platform.machine(),
        threads=torch.get_num_threads(),
    )
    if args.repeats:
        result['times'] = dict(
            num_samples=args.num_samples,
            rows=time_plans(args.num_samples, args.saving, args.repeats, folder),
        )
    if args.config is None:
        return result
    cfg = Config.fromfile(str(args.config))
    classifier.prepare(cfg)
    batch_size = cfg.train_dataloader.batch_size
    result['config'], result['gradients'] = args.config.name, []
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset, model = classifier.build_train_set(cfg), classifier.build_model(cfg)
        for path in args.checkpoints:
            checkpoint = read_checkpoint(path)
            model.load_state_dict(checkpoint['state_dict'])
            state = checkpoint.get('infobatch')
            losses, products = gradients_of(model, dataset, min(args.gradients, len(dataset)))
            scores, stored = losses, None
            if state is not None:
                stored = state['sampler']['scores'][: len(losses)]
                scores = torch.where(stored.isnan(), losses, stored)
            result['gradients'].append(
                dict(
                    checkpoint=path.stem,
                    scores='losses of now' if stored is None else 'as kept in the checkpoint',
                    mean_loss=float(losses.mean()),
                    num_samples=len(losses),
                    plans=args.plans,
                    batch_size=batch_size,
                    rows=compare_gradients(
                        products, scores, args.saving, args.plans, folder, batch_size
                    ),
                )
            )
    return result


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Compare policies at equal saving')
    parser.add_argument('config', nargs='?', type=Path, help='of a classifier')
    parser.add_argument('checkpoints', nargs='*', type=Path, help='of it, early to late')
    parser.add_argument('--saving', type=float, default=0.4, help='of a pass (default: 0.4)')
    parser.add_argument('--num-samples', type=int, default=1_281_167, help='for the times')
    parser.add_argument('--repeats', type=int, default=5, help='plans to time; 0: none')
    parser.add_argument('--gradients', type=int, default=1000, help='samples to differentiate')
    parser.add_argument('--plans', type=int, default=1000, help='plans of each policy')
    parser.add_argument('--json', type=Path, help='where to write the numbers too')
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> None:
    """Print the numbers that the command line asks for."""
    args = parse_args(argv)
    if not 0 < args.saving < 1:
        sys.exit(f'compare_policies.py: error: --saving {args.saving} lies outside (0, 1)')
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = compare(args, Path(folder))
    except ValueError as error:
        sys.exit(f'compare_policies.py: error: {error}')
    text = json.dumps(result, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + '\n')


if __name__ == '__main__':
    main()
