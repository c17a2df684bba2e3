"""A wrapped loss takes no more memory than the loss alone, but for maps without classes."""

import importlib
import warnings

import pytest
import toolbox_runs as runs
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.utils import digit_version
from peak_memory import PeakMemory

from mm_infobatch import InfoBatchLoss

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    focal = importlib.import_module('mmseg.models.losses.focal_loss')
    importlib.import_module('mmpretrain.models')

pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
    pytest.mark.skipif(
        digit_version(torch.__version__) < digit_version('2.2'),
        reason='this torch does not tell when a storage is freed',
    ),
]

B, C, H, W = 4, 20, 32, 32
PIXELS = 4 * B * H * W  # bytes of a map without classes
LABELS = torch.arange(B * H * W).view(B, H, W) % C
PRED = torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(0))


class OnDevice(torch.autograd.Function):
    """Stands in for the operator of mmcv, which makes one map."""

    @staticmethod
    def forward(ctx, pred, target):
        ctx.save_for_backward(pred, target)
        return torch.sigmoid(pred)

    @staticmethod
    def backward(ctx, grad):
        pred, _ = ctx.saved_tensors
        return torch.sigmoid(pred) * grad, None


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Have mmseg's focal loss take the way that it takes on a GPU."""
    monkeypatch.setattr(
        focal, '_sigmoid_focal_loss', lambda pred, target, *_: OnDevice.apply(pred, target)
    )
    monkeypatch.setattr(focal, 'py_sigmoid_focal_loss', focal.sigmoid_focal_loss)


def peak(loss, pred, target, weights=None, uniform=False, **kwargs):
    """The peak of forward and backward together, in bytes."""
    pred = pred.clone().requires_grad_()
    with PeakMemory() as memory:
        if weights is not None:
            loss.begin_batch(weights, uniform)
        loss(pred, target, **kwargs).backward()
        if weights is not None:
            loss.end_batch()
    return memory.peak


def more(config, *args, uniform, **kwargs):
    """What wrapping adds to the peak, in bytes."""
    weights = torch.linspace(1, 1 if uniform else 2, len(args[0]))
    alone = peak(MODELS.build(dict(config)), *args, **kwargs)
    return peak(InfoBatchLoss(dict(config)), *args, weights, uniform, **kwargs) - alone


@pytest.mark.parametrize('uniform', [False, True])
@pytest.mark.parametrize('loss_weight', [1.0, 0.4])
def test_a_focal_loss_takes_no_map_of_classes_more(as_on_a_gpu, loss_weight, uniform):
    target = F.one_hot(LABELS, C).movedim(-1, 1).contiguous()
    config = dict(type='mmseg.FocalLoss', loss_weight=loss_weight)
    assert more(config, PRED, target, uniform=uniform) < PIXELS


@pytest.mark.parametrize('uniform', [False, True])
@pytest.mark.parametrize('settings', [dict(), dict(avg_non_ignore=True), dict(loss_weight=0.4)])
def test_a_cross_entropy_takes_no_map_of_classes_more(settings, uniform):
    config = dict(type='mmseg.CrossEntropyLoss', **settings)
    assert more(config, PRED, LABELS, uniform=uniform, ignore_index=255) < 2 * PIXELS


@pytest.mark.parametrize('uniform', [False, True])
def test_a_cross_entropy_of_images_takes_a_few_numbers_an_image_more(uniform):
    scores, labels = torch.randn(64, 100), torch.arange(64)
    config = dict(type='mmpretrain.CrossEntropyLoss')
    assert more(config, scores, labels, uniform=uniform, avg_factor=64) <= 8 * 4 * 64


def test_the_peak_is_that_of_what_lives_at_a_time():
    with PeakMemory() as memory:
        first = torch.ones(1000)
        second = first + 1
        view = second[:10]
        del first
        third = second.add_(1) * 2
        assert view.sum() and third.sum()
    assert 8000 <= memory.peak <= 8016
