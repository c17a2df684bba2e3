"""The share of time that whole runs of the demo config save, for the samples that they save."""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

from mmengine.config import Config
from mmengine.runner import Runner

from . import ROOT
from .clocks import in_process

DRAW = 'tools/dataset_converters/make_segmentation_data.py'


def train_demo(name: str, iterations: int, data: str, small: bool) -> Dict[str, Any]:
    """Train a demo config for fewer iterations, without validation and checkpoints."""
    cfg = Config.fromfile(str(ROOT / 'configs' / 'demo' / name))
    cfg.train_cfg.max_iters = iterations
    cfg.param_scheduler[0].end = iterations
    for key in (
        'val_dataloader',
        'val_cfg',
        'val_evaluator',
        'test_dataloader',
        'test_cfg',
        'test_evaluator',
    ):
        cfg[key] = None
    cfg.train_cfg.pop('val_interval', None)
    cfg.default_hooks.pop('visualization', None)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=-1, save_last=False)
    cfg.train_dataloader.dataset.data_root = data
    cfg.train_dataloader.num_workers, cfg.train_dataloader.persistent_workers = 0, False
    if small:
        cfg.train_dataloader.batch_size = 2
    cfg.log_level, cfg.randomness = 'ERROR', dict(seed=0)
    times: Dict[str, float] = {}
    ends: List[float] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        cfg.work_dir = folder
        runner = Runner.from_cfg(cfg)
        call = runner.call_hook

        def clocked(name: str, **kwargs: Any) -> None:
            if name == 'before_train':
                times.update(wall=-time.perf_counter(), cpu=-time.process_time())
            call(name, **kwargs)
            if name == 'after_train_iter':
                ends.append(time.process_time())
            if name == 'after_train':
                times['wall'] += time.perf_counter()
                times['cpu'] += time.process_time()

        runner.call_hook = clocked
        runner.train()
    median = statistics.median(end - begin for begin, end in zip(ends, ends[1:]))
    return dict(
        times,
        median_iterations=median * runner.iter,
        samples=runner.iter * cfg.train_dataloader.batch_size,
    )


def measure_efficiency(iterations: int, repeats: int, small: bool) -> Dict[str, Any]:
    """Share of time saved over share of samples saved, of whole runs that take turns."""
    configs = dict(
        bare='upernet_r18-slim_1xb8-1.2k_shapes-64x64.py',
        ours='upernet_r18-slim_1xb8-infobatch-1.2k_shapes-64x64.py',
    )
    runs: Dict[str, List[Dict[str, Any]]] = {name: [] for name in configs}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / 'shapes')
        more = ['--train', '12', '--val', '2'] if small else []
        subprocess.run(
            [sys.executable, str(ROOT / DRAW), data, *more], check=True, stdout=subprocess.DEVNULL
        )
        for _ in range(repeats):
            for name, config in configs.items():
                runs[name].append(
                    in_process('--child', 'train', config, str(iterations), data, str(int(small)))
                )
    found: Dict[str, Any] = dict(iterations=iterations, repeats=repeats)
    for key in ('wall', 'cpu', 'median_iterations', 'samples'):
        bare, ours = (statistics.median(run[key] for run in runs[name]) for name in configs)
        found.update({f'bare_{key}': bare, f'ours_{key}': ours, f'{key}_saved': 1 - ours / bare})
    for key in ('wall', 'cpu', 'median_iterations'):
        found[f'{key}_efficiency'] = (
            found[f'{key}_saved'] / found['samples_saved'] if found['samples_saved'] else None
        )
    return found
