"""mmseg's IoUMetric, with the IoU of each class among the logged numbers."""

from typing import Any, Dict, List

import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class ClassIoUMetric(IoUMetric):
    """IoUMetric that also returns ``IoU.<class>`` for each class, in percent.

    A class that is neither in the labels nor predicted has NaN, which the mean leaves out.
    """

    def compute_metrics(self, results: List[Any]) -> Dict[str, float]:
        """Add the IoU of each class to what IoUMetric computes.

        Args:
            results (list): For each image the areas of intersection, union, prediction and label
                of each class, float32 [C] each.
        """
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        intersection, union = (
            torch.stack(areas).double().sum(0) for areas in list(zip(*results))[:2]
        )
        values = (intersection / union * 100).tolist()
        for name, value in zip(self.dataset_meta['classes'], values):
            metrics[f'IoU.{name}'] = round(value, 2)
        return metrics
