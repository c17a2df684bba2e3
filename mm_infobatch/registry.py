"""The registry of pruning policies."""

from mmengine.registry import Registry

PRUNING_POLICIES = Registry('pruning policy', locations=['mm_infobatch.policies'])
"""Rules that turn scores into a :class:`~mm_infobatch.policies.Plan`. A policy has one method,
``plan(scores, generator) -> Plan``, and is named by ``InfoBatchSampler(policy=dict(type=...))``.
"""
