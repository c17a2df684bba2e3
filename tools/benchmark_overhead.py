"""Measure what InfoBatch costs, beside the same work without it, in one run.

- ``planning``: one pass's planning (take the losses of the last pass, threshold, draw, shuffle,
  hand out this rank's indices) beside the order of mmengine's ``DefaultSampler``, on rank 0 of 1
  and of 8; with ``--reference`` also beside the planning of the published implementation.
- ``scaling``: the same for growing datasets, each in a process of its own, with its memory.
- ``step``: the host time that a training step gains, in real runs of a Runner.
- ``loss``: a wrapped cross entropy beside the bare one, forward and backward.
- ``efficiency``: (share of time saved) / (share of samples saved) of whole runs of the demo config.
- ``cuda``: on a GPU only: that a step does not wait for the device, and the time of whole steps.

Ratios are those of medians over repeats that take turns, so that other work on the machine hits
both sides. ``--json`` keeps the figures, from which ``render_docs.py`` writes the tables of
docs/overhead.md.
"""
import argparse
import collections
import contextlib
import ctypes
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional
from unittest import mock

import torch
from mmengine.dataset import BaseDataset, DefaultSampler
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.data.dataloader import _BaseDataLoaderIter

import mm_infobatch.running_pass as running_pass_module
from _common import find_sync_bn
from _overhead import text
from mm_infobatch import InfoBatchHook, InfoBatchLoss, InfoBatchSampler
from mm_infobatch.running_pass import RunningPass

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = ('planning', 'scaling', 'step', 'loss', 'efficiency', 'cuda')
CPU = torch.device('cpu')


def seconds_of(function: Callable[[], Any],
               clock: Callable[[], float] = time.perf_counter) -> float:
    """How long a call takes."""
    began = clock()
    function()
    return clock() - began


def take_turns(functions: Dict[str, Callable[[], Any]], repeats: int) -> Dict[str, float]:
    """The median time of each function, which are called in turns, after one call for nothing."""
    times: Dict[str, List[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            seconds = seconds_of(function)
            if turn:
                times[name].append(seconds)
    return {name: statistics.median(found) for name, found in times.items()}


def hand_out(indices: Any) -> None:
    """Ask for every index, as a dataloader does."""
    collections.deque(iter(indices), maxlen=0)


def drawn_losses(count: int, seed: int = 0) -> Tensor:
    """Losses like those of a training, most of them below their mean, float32 [count]."""
    return torch.empty(count).exponential_(generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------ planning


class Passes:
    """Passes over a dataset, as one rank plans them: merge, plan, hand out.

    Args:
        num_samples (int): N.
        world_size (int): The number of ranks, of which this is rank 0.
    """

    def __init__(self, num_samples: int, world_size: int = 1) -> None:
        self.sampler = InfoBatchSampler(range(num_samples), seed=0, rank=0, world_size=world_size)
        self.sampler.set_epoch(0)
        self.running = RunningPass(self.sampler, CPU)
        self.kept = num_samples
        self.done()

    def done(self) -> None:
        """Have the pass trained, which is no part of planning."""
        self.running.add(drawn_losses(len(self.running._losses), self.sampler.epoch))

    def __call__(self) -> None:
        """Plan the next pass."""
        world_size = self.sampler.world_size
        with mock.patch.object(running_pass_module, 'gather_in_order',
                               lambda losses: losses if world_size == 1 else torch.stack(
                                   [losses] * world_size).t().reshape(-1)):
            self.running.merge()
        self.sampler.set_epoch(self.sampler.epoch + 1)
        self.running = RunningPass(self.sampler, CPU)
        hand_out(self.sampler)
        self.kept = self.sampler.kept


def default_order(num_samples: int, world_size: int) -> Callable[[], None]:
    """``DefaultSampler`` of rank 0, as a function that makes and hands out the next pass."""
    sampler = DefaultSampler(range(num_samples), seed=0)
    sampler.world_size = world_size
    sampler.num_samples = -(-num_samples // world_size)
    sampler.total_size = sampler.num_samples * world_size

    def next_pass() -> None:
        sampler.set_epoch(sampler.epoch + 1)
        hand_out(sampler)

    return next_pass


def load_reference(path: Path) -> Any:
    """The module of a checkout of the published implementation; what it patches is put back.

    Raises:
        ValueError: If it is not there.
    """
    file = path / 'infobatch' / 'infobatch.py'
    spec = importlib.util.spec_from_file_location('reference_infobatch', file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise ValueError(f'--reference {path} has no infobatch/infobatch.py: give a checkout of '
                         'https://github.com/NUS-HPC-AI-Lab/InfoBatch')
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
            ours=passes, default=default_order(num_samples, world_size))
        if reference is not None and world_size == 1:
            theirs = load_reference(reference).InfoBatch(range(num_samples), 10**9)
            theirs.scores[:] = drawn_losses(num_samples)
            # Threshold, draw and shuffle alone, without merge and without handing out.
            functions['reference'] = theirs.sampler.reset
        times: Dict[str, List[float]] = {name: [] for name in functions}
        for turn in range(repeats + 1):
            for name, function in functions.items():
                seconds = seconds_of(function)
                if turn:
                    times[name].append(seconds)
            passes.done()
        found = {name: statistics.median(all_of_it) for name, all_of_it in times.items()}
        result['rows'].append(
            dict(world_size=world_size, kept=passes.kept / num_samples, **found,
                 ratio=found['ours'] / found['default']))
        if 'reference' in found:
            result['faster_than_reference'] = found['reference'] / found['ours']
    return result


# ------------------------------------------------------------------- scaling


def memory(key: str) -> int:
    """A figure of this process's memory, in bytes: VmRSS or VmHWM (its largest so far)."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{key}:'):
            return int(line.split()[1]) * 1024
    raise ValueError(f'{key} is not known on this system')


def measure_size(num_samples: int, repeats: int) -> Dict[str, Any]:
    """Time and memory of planning for one size, of this process alone."""
    Passes(1000)()
    before = memory('VmRSS')
    passes, times = Passes(num_samples), []
    for _ in range(repeats):
        # Of the thread: sizes are not measured in turns, and other work comes and goes.
        times.append(seconds_of(passes, time.thread_time))
        passes.done()
    permutation = seconds_of(lambda: torch.randperm(num_samples, dtype=torch.int32),
                             time.thread_time)
    with contextlib.suppress(OSError, AttributeError):  # what is freed goes back to the system
        ctypes.CDLL(None).malloc_trim(0)
    return dict(
        num_samples=num_samples,
        ns_per_sample=statistics.median(times) / num_samples * 1e9,
        randperm_ns_per_sample=permutation / num_samples * 1e9,
        resident_bytes_per_sample=(memory('VmRSS') - before) / num_samples,
        peak_bytes_per_sample=(memory('VmHWM') - before) / num_samples)


def in_process(*arguments: str) -> Any:
    """What this tool prints as JSON in a process of its own."""
    command = [sys.executable, '-W', 'ignore', str(Path(__file__).resolve()), *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=str(ROOT),
                          env=dict(os.environ, PYTHONPATH=path))
    return json.loads(done.stdout.decode().splitlines()[-1])


def measure_scaling(sizes: List[int], repeats: int) -> Dict[str, Any]:
    """Time and memory of planning for each size."""
    rows = [in_process('--child', 'size', str(size), str(repeats if size < 5 * 10**7 else 2))
            for size in sizes]
    times = [row['ns_per_sample'] for row in rows]
    return dict(rows=rows, spread=max(times) / min(times))


# ---------------------------------------------------------------------- step


class Drawn(BaseDataset):
    """Samples that know their index and hold nothing else."""

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(serialize_data=False)

    def load_data_list(self) -> List[dict]:
        """Make the annotations."""
        return [dict() for _ in range(self.length)]

    def prepare_data(self, idx: int) -> Dict[str, Any]:
        """Make a sample."""
        return dict(inputs=torch.zeros(1),
                    data_samples=BaseDataElement(metainfo=dict(sample_idx=idx)))


class Heads(BaseModel):
    """Losses of fixed logits, with the time of the wrapped and of the bare ones.

    Every step evaluates both, and counts the one that comes first, as it does in a training where
    other work has emptied the caches: the wrapped ones in one step, the bare ones in the next.

    Args:
        losses (list[dict]): Their configs.
        pred (Tensor): [B, C, ...].
        target (Tensor): [B, ...].
        guard (callable): A context manager around the wrapped losses.
    """

    def __init__(self, losses: List[dict], pred: Tensor, target: Tensor,
                 guard: Callable[[], Any]) -> None:
        super().__init__()
        self.pred = nn.Parameter(pred)
        self.register_buffer('target', target)
        self.losses = nn.ModuleList(InfoBatchLoss(loss) for loss in losses)
        self.guard = guard
        self.steps = 0
        self.times: Dict[str, List[float]] = dict(bare=[], wrapped=[])

    def forward(self, inputs: Any, data_samples: Any, mode: str) -> Dict[str, Tensor]:
        """Evaluate the losses."""
        given: Dict[str, Tensor] = {}
        target: Any = self.target

        def bare() -> None:
            for loss in self.losses:
                wrapped_loss: Any = loss
                wrapped_loss.loss(self.pred, target)

        def wrapped() -> None:
            with self.guard():
                for number, loss in enumerate(self.losses):
                    given[f'loss_{number}'] = loss(self.pred, target)

        turns = [('bare', bare), ('wrapped', wrapped)]
        first, second = turns if self.steps % 2 else turns[::-1]
        self.steps += 1
        self.times[first[0]].append(seconds_of(first[1], time.thread_time))
        second[1]()
        return given


@contextlib.contextmanager
def refuse_syncs() -> Iterator[None]:
    """While it lasts, waiting for a GPU is an error."""
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def step_times(losses: List[dict], pred: Tensor, target: Tensor, steps: int,
               guard: Callable[[], Any] = contextlib.nullcontext) -> Dict[str, Any]:
    """The time of the training thread that our code adds to a step of a Runner, by part, in s."""
    batch_size = len(pred)
    model = Heads(losses, pred, target, guard)
    parts: Dict[str, List[float]] = dict(before_step=[], after_step=[])
    gathered: List[int] = []
    real_gather = running_pass_module.gather_in_order

    def gather(values: Tensor) -> Tensor:
        gathered.append(values.numel() * values.element_size())
        return real_gather(values)

    def timed(function: Callable[..., None], part: List[float], whole_pass: bool) -> Any:

        def method(runner: Any, *args: Any, **kwargs: Any) -> None:
            calls = len(gathered)
            last = whole_pass and schedule.step + 1 >= schedule.steps
            with contextlib.nullcontext() if last else guard():
                seconds = seconds_of(lambda: function(runner, *args, **kwargs),
                                     time.thread_time)
            if not last:
                part.append(seconds)
                in_steps.append(len(gathered) - calls)

        return method

    in_steps: List[int] = []
    batches = 12
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(
            model=model,
            work_dir=folder,
            train_dataloader=dict(
                dataset=Drawn(batches * batch_size),
                batch_size=batch_size,
                num_workers=0,
                drop_last=True,
                sampler=dict(type='InfoBatchSampler')),
            train_cfg=dict(type='InfoBatchIterLoop', max_iters=steps),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_hooks=dict(checkpoint=None, logger=None),
            custom_hooks=[dict(type='InfoBatchHook')],
            randomness=dict(seed=0),
            log_level='ERROR',
            experiment_name=f'overhead-{os.getpid()}-{time.monotonic_ns()}')
        schedule = runner.build_train_loop(runner.train_loop).schedule if isinstance(
            runner.train_loop, dict) else runner.train_loop.schedule
        hook: Any = next(each for each in runner.hooks if isinstance(each, InfoBatchHook))
        hook.before_train_iter = timed(hook.before_train_iter, parts['before_step'], False)
        hook.after_train_iter = timed(hook.after_train_iter, parts['after_step'], True)
        with mock.patch.object(running_pass_module, 'gather_in_order', gather):
            runner.train()
    medians = {name: statistics.median(times[5:]) for name, times in parts.items()}
    in_losses = {name: statistics.median(times[5:]) for name, times in model.times.items()}
    medians['losses'] = in_losses['wrapped'] - in_losses['bare']
    return dict(
        batch_size=batch_size,
        heads=len(losses),
        warm_losses=warm_losses(model, batch_size),
        bare_losses=in_losses['bare'],
        **medians,
        added=sum(medians.values()),
        collectives_in_steps=sum(in_steps),
        merges=len(gathered),
        merge_bytes_per_sample=max(gathered) / (batches * batch_size))


def warm_losses(model: Heads, batch_size: int, repeats: int = 300) -> float:
    """What the losses add when nothing else runs in between, in seconds."""
    weights = torch.tensor([1., 2.] * batch_size)[:batch_size].to(model.pred.device)
    target: Any = model.target
    losses: List[Any] = list(model.losses)

    def bare() -> None:
        for loss in losses:
            loss.loss(model.pred, target)

    def wrapped() -> None:
        for loss in losses:
            loss.begin_batch(weights)
            loss(model.pred, target)
            loss.end_batch()

    times = take_turns(dict(bare=bare, wrapped=wrapped), repeats)
    return times['wrapped'] - times['bare']


def measure_step(steps: int, device: torch.device = CPU,
                 guard: Callable[[], Any] = contextlib.nullcontext) -> Dict[str, Any]:
    """Added host time of a step of each toolbox."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    rows = []
    for name, losses, pred, target in (
        ('segmentation', [
            dict(type='mmseg.CrossEntropyLoss', loss_weight=1.0),
            dict(type='mmseg.CrossEntropyLoss', loss_weight=0.4)
        ], draw(16, 4, 8, 8), torch.zeros(16, 8, 8, dtype=torch.int64, device=device)),
        ('classification', [dict(type='mmpretrain.CrossEntropyLoss')], draw(256, 10),
         torch.zeros(256, dtype=torch.int64, device=device)),
    ):
        rows.append(dict(task=name, **step_times(losses, pred, target, steps, guard)))
    return dict(rows=rows)


# ---------------------------------------------------------------------- loss


def loss_call(shape: List[int], wrapped: bool, device: torch.device) -> Callable[[], None]:
    """A function that evaluates a cross entropy of mmseg forward and backward."""
    config = dict(type='mmseg.CrossEntropyLoss', loss_weight=1.0)
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(*shape, generator=generator).to(device).requires_grad_()
    target = torch.randint(0, shape[1], [shape[0], *shape[2:]], generator=generator).to(device)
    loss = InfoBatchLoss(config) if wrapped else MODELS.build(config)
    weights = torch.tensor([1., 2.] * shape[0])[:shape[0]].to(device)

    def call() -> None:
        pred.grad = None
        if wrapped:
            loss.begin_batch(weights)
        loss(pred, target, ignore_index=255).backward()
        if wrapped:
            loss.end_batch()
        if device.type == 'cuda':
            torch.cuda.synchronize()

    return call


def loss_peak(shape: List[int], wrapped: bool, device: torch.device) -> int:
    """The peak memory of this process in one evaluation, beyond logits and targets, in bytes."""
    call = loss_call(shape, wrapped, device)
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    loss_call([2, 3, 4, 4], wrapped, device)()
    before = memory('VmRSS')
    call()
    return memory('VmHWM') - before


def measure_loss(shape: List[int], repeats: int) -> Dict[str, Any]:
    """Time and peak memory of the wrapped loss beside the bare one."""
    peaks = {
        name: in_process('--child', 'loss', name, *map(str, shape))['peak']
        for name in ('bare', 'wrapped')
    }
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    times = take_turns(
        dict(bare=loss_call(shape, False, device), wrapped=loss_call(shape, True, device)), repeats)
    return dict(
        shape=shape, device=device.type, bare=times['bare'], wrapped=times['wrapped'],
        time_ratio=times['wrapped'] / times['bare'], bare_peak=peaks['bare'],
        wrapped_peak=peaks['wrapped'], memory_ratio=peaks['wrapped'] / peaks['bare'])


# ---------------------------------------------------------------- efficiency


def train_demo(name: str, iterations: int, data: str, small: bool) -> Dict[str, Any]:
    """Train a demo config for fewer iterations, without validation and checkpoints."""
    from mmengine.config import Config

    cfg = Config.fromfile(str(ROOT / 'configs' / 'demo' / name))
    cfg.train_cfg.max_iters = iterations
    cfg.param_scheduler[0].end = iterations
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator', 'test_dataloader', 'test_cfg',
                'test_evaluator'):
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
    return dict(times, median_iterations=median * runner.iter,
                samples=runner.iter * cfg.train_dataloader.batch_size)


def measure_efficiency(iterations: int, repeats: int, small: bool) -> Dict[str, Any]:
    """Share of time saved over share of samples saved, of whole runs that take turns."""
    configs = dict(
        bare='upernet_r18-slim_1xb8-1.2k_shapes-64x64.py',
        ours='upernet_r18-slim_1xb8-infobatch-1.2k_shapes-64x64.py')
    runs: Dict[str, List[Dict[str, Any]]] = {name: [] for name in configs}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / 'shapes')
        more = ['--train', '12', '--val', '2'] if small else []
        subprocess.run([sys.executable, str(ROOT / 'tools' / 'make_segmentation_data.py'), data,
                        *more], check=True, stdout=subprocess.DEVNULL)
        for _ in range(repeats):
            for name, config in configs.items():
                runs[name].append(in_process('--child', 'train', config, str(iterations), data,
                                             str(int(small))))
    found: Dict[str, Any] = dict(iterations=iterations, repeats=repeats)
    for key in ('wall', 'cpu', 'median_iterations', 'samples'):
        bare, ours = (statistics.median(run[key] for run in runs[name]) for name in configs)
        found.update({f'bare_{key}': bare, f'ours_{key}': ours, f'{key}_saved': 1 - ours / bare})
    for key in ('wall', 'cpu', 'median_iterations'):
        found[f'{key}_efficiency'] = (found[f'{key}_saved'] / found['samples_saved']
                                      if found['samples_saved'] else None)
    return found


# ---------------------------------------------------------------------- CUDA


def model_step(config: str, wrapped: bool, size: int, amp: bool) -> Callable[[], None]:
    """A function that makes a whole training step of a model on random images on the GPU."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmengine.structures import PixelData
    from mmpretrain.structures import DataSample
    from mmseg.structures import SegDataSample

    cfg = Config.fromfile(str(ROOT / 'configs' / config))
    cfg.model.pretrained = None
    if cfg.model.backbone.get('init_cfg') is not None:
        cfg.model.backbone.init_cfg = None
    if cfg.get('data_preprocessor') is not None:
        cfg.model.data_preprocessor = cfg.data_preprocessor
    batch_size = cfg.train_dataloader.batch_size
    for _, norm in find_sync_bn(cfg.model, 'model'):
        norm['type'] = 'BN'
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).cuda().train()
    images = torch.randn(batch_size, 3, size, size, device='cuda')
    samples: List[Any] = []
    for _ in range(batch_size):
        if cfg.default_scope == 'mmseg':
            sample: Any = SegDataSample(metainfo=dict(img_shape=(size, size)))
            sample.gt_sem_seg = PixelData(
                data=torch.randint(0, 150, (1, size, size), device='cuda'))
        else:
            sample = DataSample().set_gt_label(torch.zeros(1, dtype=torch.int64, device='cuda'))
        samples.append(sample)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = [each for each in model.modules() if isinstance(each, InfoBatchLoss)]
    assert bool(losses) == wrapped
    weights = torch.tensor([1., 2.] * batch_size)[:batch_size].cuda()

    def step() -> None:
        with contextlib.ExitStack() as stack:
            if amp:
                stack.enter_context(torch.autocast('cuda'))
            for loss in losses:
                loss.begin_batch(weights)
            found = model(images, samples, mode='loss')
            for loss in losses:
                loss.end_batch()
            total, _ = model.parse_losses(found)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        torch.cuda.synchronize()

    return step


MODELS_ON_CUDA = (
    ('UperNet-R50, 512x512', 512, 'upernet/upernet_r50_4xb4-80k_ade20k-512x512.py',
     'upernet/upernet_r50_4xb4-infobatch-80k_ade20k-512x512.py'),
    ('ResNet-50, 224x224', 224, 'resnet/resnet50_8xb32_in1k.py',
     'resnet/resnet50_8xb32-infobatch_in1k.py'),
)


def measure_cuda(steps: int, repeats: int) -> Dict[str, Any]:
    """What only a GPU can tell; a note where there is none."""
    if not torch.cuda.is_available():
        return dict(run=False, why='no CUDA device was at hand')
    # Waits in hook and losses raise here; the end of a pass, which merges, is left out.
    found = measure_step(steps, torch.device('cuda'), refuse_syncs)
    rows = []
    for name, size, bare, ours in MODELS_ON_CUDA:
        for amp in (False, True):
            peaks, functions = {}, {}
            for key, config in (('bare', bare), ('ours', ours)):
                step = model_step(config, key == 'ours', size, amp)
                step()
                before = torch.cuda.memory_allocated()
                torch.cuda.reset_peak_memory_stats()
                step()
                peaks[key] = torch.cuda.max_memory_allocated() - before
                functions[key] = step
            times = take_turns(functions, repeats)
            rows.append(dict(model=name, amp=amp, **times, ratio=times['ours'] / times['bare'],
                             extra_bytes=peaks['ours'] - peaks['bare']))
    return dict(run=True, device=torch.cuda.get_device_name(), steps=found['rows'], rows=rows)


# ---------------------------------------------------------------------- main


def child(arguments: List[str]) -> Dict[str, Any]:
    """What a process of its own measures."""
    kind, rest = arguments[0], arguments[1:]
    if kind == 'size':
        return measure_size(int(rest[0]), int(rest[1]))
    if kind == 'train':
        return train_demo(rest[0], int(rest[1]), rest[2], rest[3] == '1')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    return dict(peak=loss_peak([int(each) for each in rest[1:]], rest[0] == 'wrapped', device))


def import_toolboxes() -> None:
    """Fill the registries."""
    import mmpretrain.utils
    import mmseg.utils

    for toolbox in (mmseg, mmpretrain):
        toolbox.utils.register_all_modules(init_default_scope=False)


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """All that the command line asks for."""
    from mmengine import __version__ as mmengine_version

    result: Dict[str, Any] = dict(
        python=platform.python_version(), torch=torch.__version__, mmengine=mmengine_version,
        machine=platform.machine(), cores=os.cpu_count(), threads=torch.get_num_threads(),
        load=os.getloadavg()[0])
    makers: Dict[str, Callable[[], Dict[str, Any]]] = dict(
        planning=lambda: measure_planning(args.num_samples, args.repeats, args.reference),
        scaling=lambda: measure_scaling(args.sizes, args.repeats),
        step=lambda: measure_step(args.steps),
        loss=lambda: measure_loss(args.shape, args.repeats),
        efficiency=lambda: measure_efficiency(args.iterations, args.runs, args.small),
        cuda=lambda: measure_cuda(args.steps, args.repeats))
    for section in args.sections:
        print(f'measuring {section} ...', file=sys.stderr)
        result[section] = makers[section]()
    return result


def main(argv: Optional[List[str]] = None) -> None:
    """Measure, print the tables, keep the figures."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='Sections: ' + ', '.join(SECTIONS))
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument('--reference', type=Path, help='a checkout of the published InfoBatch')
    parser.add_argument('--json', type=Path, help='keep the figures here; sections that it has '
                        'and that are not measured now stay')
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
    print(text(result))


if __name__ == '__main__':
    main()
