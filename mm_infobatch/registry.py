"""The registry of pruning policies."""
from typing import Any

from mmengine.registry import Registry, build_from_cfg


def build_policy(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build a policy in the scope of this package, whatever toolbox the config is for: another
    scope has no policies, of which mmengine would warn."""
    scoped = dict(cfg, _scope_='mm_infobatch') if isinstance(cfg, dict) else cfg
    return build_from_cfg(scoped, registry, default_args)


PRUNING_POLICIES = Registry(
    'pruning policy', build_func=build_policy, locations=['mm_infobatch.policies'])
"""Rules that turn scores into a :class:`~mm_infobatch.policies.Plan`. A policy has one method,
``plan(scores, generator) -> Plan``, and is named by ``InfoBatchSampler(policy=dict(type=...))``.
"""
