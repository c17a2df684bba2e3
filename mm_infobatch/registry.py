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
        TypeError: If it is neither, or does not take the config's arguments.
        ValueError: If no policy has the name in the config.
    """
    line = "policy=dict(type='SoftPruning', prune_ratio=0.5)"
    if policy is None:
        policy = dict(type='SoftPruning', prune_ratio=0.5)
    if isinstance(policy, dict):
        if 'type' not in policy:
            raise TypeError(f'policy={policy!r} has no type; write {line}')
        # Not PRUNING_POLICIES.build, which warns in each run that the toolbox in whose scope it is
        # has no such registry.
        arguments = dict(policy)
        name = arguments.pop('type')
        cls = PRUNING_POLICIES.get(name) if isinstance(name, str) else name
        if not callable(cls):
            raise ValueError(f'policy type {name!r} is not in the registry of pruning policies, '
                             f'which has {sorted(PRUNING_POLICIES.module_dict)}; write {line}')
        built = cls(**arguments)
    else:
        built = policy
    if not callable(getattr(built, 'plan', None)):
        raise TypeError(f'policy={policy!r} has no method plan(scores, generator); write {line} or '
                        'register one of your own in PRUNING_POLICIES')
    return built
