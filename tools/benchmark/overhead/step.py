"""The host time that a training step gains, in real runs of a Runner."""

import contextlib
import os
import statistics
import tempfile
import time
from typing import Any, Callable, Dict, List
from unittest import mock

import torch
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

import mm_infobatch.passes.running_pass as running_pass_module
from mm_infobatch import InfoBatchHook, InfoBatchLoss
from mm_infobatch.passes.scores import gather_in_order

from .clocks import CPU, seconds_of, take_turns
from .loss import alternating_weights


class Drawn(BaseDataset):
    """Samples that know their index and hold nothing else."""

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(serialize_data=False)

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Make the annotations."""
        return [dict() for _ in range(self.length)]

    def prepare_data(self, idx: int) -> Dict[str, Any]:
        """Make a sample."""
        return dict(
            inputs=torch.zeros(1), data_samples=BaseDataElement(metainfo=dict(sample_idx=idx))
        )


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

    def __init__(
        self, losses: List[Dict[str, Any]], pred: Tensor, target: Tensor, guard: Callable[[], Any]
    ) -> None:
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


def step_times(
    losses: List[Dict[str, Any]],
    pred: Tensor,
    target: Tensor,
    steps: int,
    guard: Callable[[], Any] = contextlib.nullcontext,
) -> Dict[str, Any]:
    """The time of the training thread that our code adds to a step of a Runner, by part, in s."""
    batch_size = len(pred)
    model = Heads(losses, pred, target, guard)
    parts: Dict[str, List[float]] = dict(before_step=[], after_step=[])
    gathered: List[int] = []

    def gather(values: Tensor) -> Tensor:
        gathered.append(values.numel() * values.element_size())
        return gather_in_order(values)

    def timed(function: Callable[..., None], part: List[float], whole_pass: bool) -> Any:

        def method(runner: Any, *args: Any, **kwargs: Any) -> None:
            calls = len(gathered)
            last = whole_pass and schedule.iters_left <= 1
            with contextlib.nullcontext() if last else guard():
                seconds = seconds_of(lambda: function(runner, *args, **kwargs), time.thread_time)
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
                sampler=dict(type='InfoBatchSampler'),
            ),
            train_cfg=dict(type='InfoBatchIterLoop', max_iters=steps),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_hooks=dict(checkpoint=None, logger=None),
            custom_hooks=[dict(type='InfoBatchHook')],
            randomness=dict(seed=0),
            log_level='ERROR',
            experiment_name=f'overhead-{os.getpid()}-{time.monotonic_ns()}',
        )
        schedule = runner.train_loop.schedule
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
        merge_bytes_per_sample=max(gathered) / (batches * batch_size),
    )


def warm_losses(model: Heads, batch_size: int, repeats: int = 300) -> float:
    """What the losses add when nothing else runs in between, in seconds."""
    weights = alternating_weights(batch_size, model.pred.device)
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


def measure_step(
    steps: int, device: torch.device = CPU, guard: Callable[[], Any] = contextlib.nullcontext
) -> Dict[str, Any]:
    """Added host time of a step of each toolbox."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    rows = []
    for name, losses, pred, target in (
        (
            'segmentation',
            [
                dict(type='mmseg.CrossEntropyLoss', loss_weight=1.0),
                dict(type='mmseg.CrossEntropyLoss', loss_weight=0.4),
            ],
            draw(16, 4, 8, 8),
            torch.zeros(16, 8, 8, dtype=torch.int64, device=device),
        ),
        (
            'classification',
            [dict(type='mmpretrain.CrossEntropyLoss')],
            draw(256, 10),
            torch.zeros(256, dtype=torch.int64, device=device),
        ),
    ):
        rows.append(dict(task=name, **step_times(losses, pred, target, steps, guard)))
    return dict(rows=rows)
