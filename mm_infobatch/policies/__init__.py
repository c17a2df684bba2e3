"""Policies: rules that choose the samples of a pass, pure functions from scores to a plan."""

from .build import build_policy
from .epsilon_greedy import EpsilonGreedy
from .ies import IES
from .kakurenbo import KAKURENBO
from .order_dp import OrderDP
from .plan import Plan
from .quantile_pruning import QuantilePruning
from .random_pruning import RandomPruning
from .repb import RePB
from .run import Run
from .seta import SeTa
from .soft_pruning import SoftPruning
from .static import FromFile, StaticRandom
from .target_saving import TargetSaving
from .ucb import UCB

__all__ = [
    'EpsilonGreedy',
    'FromFile',
    'IES',
    'KAKURENBO',
    'OrderDP',
    'Plan',
    'QuantilePruning',
    'RandomPruning',
    'RePB',
    'Run',
    'SeTa',
    'SoftPruning',
    'StaticRandom',
    'TargetSaving',
    'UCB',
    'build_policy',
]
