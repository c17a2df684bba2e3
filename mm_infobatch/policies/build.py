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
    found = PRUNING_POLICIES.get(kind) if isinstance(kind, str) else kind
    if not callable(found):
        raise ValueError(
            f'policy type {kind!r} is not in the registry of pruning policies, which has '
            f'{", ".join(sorted(PRUNING_POLICIES.module_dict))}; write '
            "policy=dict(type='SoftPruning', prune_ratio=0.5)"
        )
    taken = inspect.signature(found).parameters.values()
    unknown = sorted(config.keys() - {'type'} - {each.name for each in taken})
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in taken):
        raise TypeError(
            f'{found.__name__} does not take {", ".join(unknown)}, only '
            f'{", ".join(each.name for each in taken)}. A config that inherits another policy '
            'also inherits its arguments; to replace it, write '
            f'policy=dict(_delete_=True, type={found.__name__!r}, ...)'
        )
    # PRUNING_POLICIES.build would warn that the toolboxes have no registry of that name.
    return found(**{key: value for key, value in config.items() if key != 'type'})
