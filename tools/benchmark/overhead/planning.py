"""What planning a pass costs: beside mmengine's sampler, and for growing datasets."""

import contextlib
import ctypes
import importlib.util
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional
from unittest import mock

import torch
from mmengine.dataset import DefaultSampler
from torch import Tensor
from torch.utils.data.dataloader import _BaseDataLoaderIter

import mm_infobatch.passes.running_pass as running_pass_module
from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.running_pass import RunningPass

from .clocks import CPU, hand_out, in_process, memory, seconds_of, take_turns


def drawn_losses(count: int, seed: int = 0) -> Tensor:
    """Losses like those of a training, most of them below their mean, float32 [count]."""
    return torch.empty(count).exponential_(generator=torch.Generator().manual_seed(seed))


class Passes:
    """Passes over a dataset, as one rank plans them: merge, plan, hand out.

    Args:
        num_samples (int): N.
        world_size (int): The number of ranks, of which this is rank 0.
        **kwargs: Further arguments of the sampler.
    """

    def __init__(self, num_samples: int, world_size: int = 1, **kwargs: Any) -> None:
        self.sampler = InfoBatchSampler(
            range(num_samples), seed=0, rank=0, world_size=world_size, **kwargs
        )
        self.sampler.set_epoch(0)
        self.running = RunningPass.of(self.sampler, CPU)
        self.kept = num_samples
        self.train()

    def train(self) -> None:
        """Give the pass its losses, as if it had been trained."""
        self.running.add(drawn_losses(len(self.running._losses), self.sampler.epoch))

    def __call__(self) -> None:
        """Merge the losses of the last pass, plan the next one, and hand out its indices."""
        self.merge()
        self.plan()

    def merge(self) -> None:
        """Put the losses of the last pass into the score table."""
        world_size = self.sampler.world_size
        with mock.patch.object(
            running_pass_module,
            'gather_in_order',
            lambda losses: (
                losses if world_size == 1 else torch.stack([losses] * world_size, dim=1).reshape(-1)
            ),
        ):
            self.running.merge()

    def plan(self) -> None:
        """Plan the next pass, and hand out its indices."""
        self.sampler.set_epoch(self.sampler.epoch + 1)
        self.running = RunningPass.of(self.sampler, CPU)
        hand_out(self.sampler)
        self.kept = self.sampler.order.kept


def default_order(num_samples: int, world_size: int) -> Callable[[], None]:
    """A function that makes the order of the next pass by ``DefaultSampler`` on rank 0."""
    sampler = DefaultSampler(range(num_samples), seed=0)
    sampler.world_size = world_size
    sampler.num_samples = -(-num_samples // world_size)
    sampler.total_size = sampler.num_samples * world_size

    def next_pass() -> None:
        sampler.set_epoch(sampler.epoch + 1)
        hand_out(sampler)

    return next_pass


def load_reference(path: Path) -> Any:
    """Import the published implementation from a checkout, and undo what it patches in PyTorch.

    Raises:
        ValueError: If it is not there.
    """
    file = path / 'infobatch' / 'infobatch.py'
    spec = importlib.util.spec_from_file_location('reference_infobatch', file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise ValueError(
            f'--reference {path} has no infobatch/infobatch.py: give a checkout of '
            'https://github.com/NUS-HPC-AI-Lab/InfoBatch'
        )
    module, original = importlib.util.module_from_spec(spec), _BaseDataLoaderIter.__next__
    try:
        spec.loader.exec_module(module)
    finally:
        _BaseDataLoaderIter.__next__ = original  # type: ignore[method-assign]
    return module


def measure_planning(num_samples: int, repeats: int, reference: Optional[Path]) -> Dict[str, Any]:
    """Times of one pass's planning, in seconds."""
    result: Dict[str, Any] = dict(num_samples=num_samples, rows=[])
    for world_size in (1, 8):
        passes = Passes(num_samples, world_size)
        functions: Dict[str, Callable[[], Any]] = dict(
            ours=passes, default=default_order(num_samples, world_size)
        )
        if reference is not None and world_size == 1:
            theirs = load_reference(reference).InfoBatch(range(num_samples), 10**9)
            theirs.scores[:] = drawn_losses(num_samples)
            # Threshold, draw and shuffle alone, without merge and without handing out.
            functions['reference'] = theirs.sampler.reset
        found = take_turns(functions, repeats, passes.train)
        result['rows'].append(
            dict(
                world_size=world_size,
                kept=passes.kept / num_samples,
                **found,
                ratio=found['ours'] / found['default'],
            )
        )
        if 'reference' in found:
            result['faster_than_reference'] = found['reference'] / found['ours']
    return result


def measure_size(num_samples: int, repeats: int) -> Dict[str, Any]:
    """Time and memory of planning for one size, of this process alone."""
    Passes(1000)()
    before = memory('VmRSS')
    passes, times = Passes(num_samples), []
    for _ in range(repeats):
        # Of the thread: sizes are not measured in turns, and other work comes and goes.
        times.append(seconds_of(passes, time.thread_time))
        passes.train()
    permutation = seconds_of(
        lambda: torch.randperm(num_samples, dtype=torch.int32), time.thread_time
    )
    with contextlib.suppress(OSError, AttributeError):  # what is freed goes back to the system
        ctypes.CDLL(None).malloc_trim(0)
    return dict(
        num_samples=num_samples,
        ns_per_sample=statistics.median(times) / num_samples * 1e9,
        randperm_ns_per_sample=permutation / num_samples * 1e9,
        resident_bytes_per_sample=(memory('VmRSS') - before) / num_samples,
        peak_bytes_per_sample=(memory('VmHWM') - before) / num_samples,
    )


def measure_scaling(sizes: List[int], repeats: int) -> Dict[str, Any]:
    """Time and memory of planning for each size."""
    rows = [
        in_process('--child', 'size', str(size), str(repeats if size < 5 * 10**7 else 2))
        for size in sizes
    ]
    times = [row['ns_per_sample'] for row in rows]
    return dict(rows=rows, spread=max(times) / min(times))
