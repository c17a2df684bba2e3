"""Time and memory of a wrapped cross entropy beside the bare one."""

from typing import Any, Callable, Dict, List

import torch
from mmengine.registry import MODELS

from mm_infobatch import InfoBatchLoss

from .clocks import in_process, memory, take_turns


def alternating_weights(batch_size: int, device: torch.device) -> torch.Tensor:
    """Weights of a batch, 1 and 2 in turns, float32 [B]."""
    return torch.tensor([1.0, 2.0], device=device).repeat(batch_size)[:batch_size]


def loss_call(shape: List[int], wrapped: bool, device: torch.device) -> Callable[[], None]:
    """A function that evaluates a cross entropy of mmseg forward and backward."""
    config = dict(type='mmseg.CrossEntropyLoss', loss_weight=1.0)
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(*shape, generator=generator).to(device).requires_grad_()
    target = torch.randint(0, shape[1], [shape[0], *shape[2:]], generator=generator).to(device)
    loss = InfoBatchLoss(config) if wrapped else MODELS.build(config)
    weights = alternating_weights(shape[0], device)

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
        dict(bare=loss_call(shape, False, device), wrapped=loss_call(shape, True, device)), repeats
    )
    return dict(
        shape=shape,
        device=device.type,
        bare=times['bare'],
        wrapped=times['wrapped'],
        time_ratio=times['wrapped'] / times['bare'],
        bare_peak=peaks['bare'],
        wrapped_peak=peaks['wrapped'],
        memory_ratio=peaks['wrapped'] / peaks['bare'],
    )
