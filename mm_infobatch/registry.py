"""The registry of pruning policies."""

from mmengine.registry import Registry

PRUNING_POLICIES = Registry('pruning policy', locations=['mm_infobatch.policies'])
"""Registry: The policies. A policy has a method ``plan(scores, generator)`` that returns a
:class:`~mm_infobatch.policies.Plan`, and is set by ``InfoBatchSampler(policy=dict(type=...))``.
"""
