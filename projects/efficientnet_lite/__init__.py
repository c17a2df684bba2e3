"""Segmentation from pretrained weights on a CPU: backbone, memory format and IoU by class."""

from .channels_last_hook import ChannelsLastHook
from .class_iou_metric import ClassIoUMetric
from .efficientnet_lite import EfficientNetLite
from .ramped_pruning import RampedPruning

__all__ = ['ChannelsLastHook', 'ClassIoUMetric', 'EfficientNetLite', 'RampedPruning']
