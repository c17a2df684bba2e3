"""Losses of single samples: weights in, scores out."""

from .wrapper import InfoBatchLoss

__all__ = ['InfoBatchLoss']
