"""The registry of pruning policies."""
from typing import Any, Union

from mmengine.registry import Registry

PRUNING_POLICIES = Registry('pruning policy', locations=['mm_infobatch.policies'])
"""Rules that turn scores into a :class:`~mm_infobatch.policies.Plan`. A policy has one method,
``plan(scores, generator) -> Plan``, and is named by ``InfoBatchSampler(policy=dict(type=...))``.
"""


def build_policy(policy: Union[dict, Any, None]) -> Any:
    """Make the policy that a sampler's argument names.

    Args:
        policy (dict or object): A config, or an object with ``plan(scores, generator) -> Plan``.
            None stands for ``dict(type='SoftPruning', prune_ratio=0.5)``.

    Raises:
        TypeError: If it is neither.
    """
    line = "policy=dict(type='SoftPruning', prune_ratio=0.5)"
    if policy is None:
        policy = dict(type='SoftPruning', prune_ratio=0.5)
    if isinstance(policy, dict):
        if 'type' not in policy:
            raise TypeError(f'policy={policy!r} has no type; write {line}')
        # With its scope, or mmengine would warn that the toolbox has no such registry.
        built = PRUNING_POLICIES.build({'_scope_': PRUNING_POLICIES.scope, **policy})
    else:
        built = policy
    if not callable(getattr(built, 'plan', None)):
        raise TypeError(f'policy={policy!r} has no method plan(scores, generator); write {line} or '
                        'register one of your own in PRUNING_POLICIES')
    return built
