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
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mm_infobatch.cli.checkpoints import read_checkpoint
from mm_infobatch.scoring import classifier
from policy_comparison.gradients import compare_gradients, gradients_of
from policy_comparison.plan_times import time_plans


def compare(args: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    """Measure times and, with a config, gradients."""
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
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = compare(args, Path(folder))
    except (ValueError, OSError) as error:
        sys.exit(f'compare_policies.py: error: {error}')
    text = json.dumps(result, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + '\n')


if __name__ == '__main__':
    main()
