"""Builds the policy that a config names."""

import inspect
from typing import Any, Dict

from ..registry import PRUNING_POLICIES


def build_policy(config: Dict[str, Any]) -> Any:
    """Build the policy that a config names.

    Raises:
        TypeError: If the config has no type, or an argument that the policy does not take.
        ValueError: If no policy of that name is registered.
    """
    if 'type' not in config:
        raise TypeError(
            f"policy={config!r} has no type; write policy=dict(type='SoftPruning', prune_ratio=0.5)"
        )
    kind = config['type']
    cls = PRUNING_POLICIES.get(kind) if isinstance(kind, str) else kind
    if not callable(cls):
        raise ValueError(
            f'policy type {kind!r} is not in the registry of pruning policies, which has '
            f'{", ".join(sorted(PRUNING_POLICIES.module_dict))}; write '
            "policy=dict(type='SoftPruning', prune_ratio=0.5)"
        )
    parameters = inspect.signature(cls).parameters
    unknown = sorted(config.keys() - {'type'} - parameters.keys())
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise TypeError(
            f'{cls.__name__} does not take {", ".join(unknown)}, only '
            f'{", ".join(parameters)}. A config that inherits another policy '
            'also inherits its arguments; to replace it, write '
            f'policy=dict(_delete_=True, type={cls.__name__!r}, ...)'
        )
    # PRUNING_POLICIES.build would warn that the toolboxes have no registry of that name.
    return cls(**{key: value for key, value in config.items() if key != 'type'})
