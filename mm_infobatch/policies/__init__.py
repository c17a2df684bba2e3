from .plan import Plan
from .soft_pruning import SoftPruning

__all__ = ['Plan', 'SoftPruning']
