"""Rules that choose what a pass trains on: pure functions from scores to a plan."""
from .plan import Plan
from .soft_pruning import SoftPruning

__all__ = ['Plan', 'SoftPruning']
