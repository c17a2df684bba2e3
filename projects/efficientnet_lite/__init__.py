"""Segmentation from pretrained weights on a CPU: backbone, memory format and IoU by class."""

from .channels_last_hook import ChannelsLastHook
from .class_iou_metric import ClassIoUMetric
from .class_scores import ClassScoreLoss
from .efficientnet_lite import EfficientNetLite
from .own_threshold import OwnThreshold
from .ramped_pruning import RampedPruning

__all__ = [
    'ChannelsLastHook',
    'ClassIoUMetric',
    'ClassScoreLoss',
    'EfficientNetLite',
    'OwnThreshold',
    'RampedPruning',
]
