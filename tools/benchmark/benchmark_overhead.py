"""Measure what InfoBatch costs, beside the same work without it, in one run.

- ``planning``: one pass's planning (take the losses of the last pass, threshold, draw, shuffle,
  hand out this rank's indices) beside the order of mmengine's ``DefaultSampler``, on rank 0 of 1
  and of 8; with ``--reference`` also beside the planning of the published implementation.
- ``tracking``: what tracking the losses of each sample adds to the merge and to planning, and the
  histogram of the scores.
- ``scaling``: the same for growing datasets, each in a process of its own, with its memory.
- ``step``: the host time that a training step gains, in real runs of a Runner.
- ``loss``: a wrapped cross entropy beside the bare one, forward and backward.
- ``efficiency``: (share of time saved) / (share of samples saved) of whole runs of the demo config.
- ``cuda``: on a GPU only: that a step does not wait for the device, and the time of whole steps.

Ratios are those of medians over repeats that take turns, so that other work on the machine hits
both sides. It prints the figures as JSON; ``--json`` keeps them, and ``tools/analysis_tools/
experiment.py report`` writes the tables of docs/overhead.md from them (``show 'overhead: FILE'``
prints the tables).
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import torch

from overhead.cuda import measure_cuda
from overhead.efficiency import measure_efficiency, train_demo
from overhead.loss import loss_peak, measure_loss
from overhead.planning import load_reference, measure_planning, measure_scaling, measure_size
from overhead.step import measure_step
from overhead.tracking import measure_tracking

SECTIONS = ('planning', 'tracking', 'scaling', 'step', 'loss', 'efficiency', 'cuda')


def child(arguments: List[str]) -> Dict[str, Any]:
    """Measure in a child process what its arguments ask for."""
    kind, rest = arguments[0], arguments[1:]
    if kind == 'size':
        return measure_size(int(rest[0]), int(rest[1]))
    if kind == 'train':
        return train_demo(rest[0], int(rest[1]), rest[2], rest[3] == '1')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    return dict(peak=loss_peak([int(each) for each in rest[1:]], rest[0] == 'wrapped', device))


def import_toolboxes() -> None:
    """Import both toolboxes, which registers their classes."""
    import mmpretrain.utils
    import mmseg.utils

    for toolbox in (mmseg, mmpretrain):
        toolbox.utils.register_all_modules(init_default_scope=False)


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Measure the sections that the command line names."""
    from mmengine import __version__ as mmengine_version

    result: Dict[str, Any] = dict(
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine_version,
        machine=platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        load=os.getloadavg()[0],
    )
    makers: Dict[str, Callable[[], Dict[str, Any]]] = dict(
        planning=lambda: measure_planning(args.num_samples, args.repeats, args.reference),
        tracking=lambda: measure_tracking(args.num_samples, args.repeats),
        scaling=lambda: measure_scaling(args.sizes, args.repeats),
        step=lambda: measure_step(args.steps),
        loss=lambda: measure_loss(args.shape, args.repeats),
        efficiency=lambda: measure_efficiency(args.iterations, args.runs, args.small),
        cuda=lambda: measure_cuda(args.steps, args.repeats),
    )
    for section in args.sections:
        print(f'measuring {section} ...', file=sys.stderr)
        result[section] = makers[section]()
    return result


def main(argv: Optional[List[str]] = None) -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0], epilog='Sections: ' + ', '.join(SECTIONS)
    )
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument('--reference', type=Path, help='a checkout of the published InfoBatch')
    parser.add_argument(
        '--json',
        type=Path,
        help='keep the figures here; sections that it has and that are not measured now stay',
    )
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--num-samples', type=int, default=1281167)
    parser.add_argument('--sizes', type=int, nargs='+', default=[10**5, 10**6, 10**7, 10**8])
    parser.add_argument('--steps', type=int, default=240, help='of the section step')
    parser.add_argument('--shape', type=int, nargs='+', default=[4, 150, 512, 512])
    parser.add_argument('--iterations', type=int, default=480, help='of each run for efficiency')
    parser.add_argument('--runs', type=int, default=2, help='runs of each kind for efficiency')
    parser.add_argument('--small', action='store_true', help='efficiency on a handful of images')
    parser.add_argument('--child', nargs='+', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    import_toolboxes()
    if args.child:
        print(json.dumps(child(args.child)))
        return
    try:
        if args.reference is not None:
            load_reference(args.reference)
    except ValueError as error:
        parser.error(str(error))
    result = measure(args)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        old = json.loads(args.json.read_text()) if args.json.is_file() else {}
        result = {**old, **result}
        args.json.write_text(json.dumps(result, indent=2) + '\n')
    print(json.dumps(result, indent=2))


if __name__ == '__main__':
    main()
