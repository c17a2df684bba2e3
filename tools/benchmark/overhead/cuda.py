"""On a GPU: that a step does not wait for the device, and the time of whole steps."""

import contextlib
from typing import Any, Callable, Dict, Iterator, List

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

from mm_infobatch import InfoBatchLoss
from mm_infobatch.cli.launch import find_sync_bn

from . import ROOT
from .clocks import take_turns
from .loss import alternating_weights
from .step import measure_step


@contextlib.contextmanager
def refuse_syncs() -> Iterator[None]:
    """While it lasts, waiting for a GPU is an error."""
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def model_step(config: str, wrapped: bool, size: int, amp: bool) -> Callable[[], None]:
    """A function that makes a whole training step of a model on random images on the GPU."""
    from mmpretrain.structures import DataSample
    from mmseg.structures import SegDataSample

    cfg = Config.fromfile(str(ROOT / 'configs' / config))
    cfg.model.pretrained = None
    if cfg.model.backbone.get('init_cfg') is not None:
        cfg.model.backbone.init_cfg = None
    if cfg.get('data_preprocessor') is not None:
        cfg.model.data_preprocessor = cfg.data_preprocessor
    batch_size = cfg.train_dataloader.batch_size
    for _, norm in find_sync_bn(cfg.model):
        norm['type'] = 'BN'
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).cuda().train()
    images = torch.randn(batch_size, 3, size, size, device='cuda')
    samples: List[Any] = []
    for _ in range(batch_size):
        if cfg.default_scope == 'mmseg':
            sample: Any = SegDataSample(metainfo=dict(img_shape=(size, size)))
            sample.gt_sem_seg = PixelData(
                data=torch.randint(0, 150, (1, size, size), device='cuda')
            )
        else:
            sample = DataSample().set_gt_label(torch.zeros(1, dtype=torch.int64, device='cuda'))
        samples.append(sample)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = [each for each in model.modules() if isinstance(each, InfoBatchLoss)]
    assert bool(losses) == wrapped
    weights = alternating_weights(batch_size, torch.device('cuda'))

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
    (
        'UperNet-R50, 512x512',
        512,
        'upernet/upernet_r50_4xb4-80k_ade20k-512x512.py',
        'upernet/upernet_r50_4xb4-infobatch-80k_ade20k-512x512.py',
    ),
    (
        'ResNet-50, 224x224',
        224,
        'resnet/resnet50_8xb32_in1k.py',
        'resnet/resnet50_8xb32-infobatch_in1k.py',
    ),
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
            rows.append(
                dict(
                    model=name,
                    amp=amp,
                    **times,
                    ratio=times['ours'] / times['bare'],
                    extra_bytes=peaks['ours'] - peaks['bare'],
                )
            )
    return dict(run=True, device=torch.cuda.get_device_name(), steps=found['rows'], rows=rows)
