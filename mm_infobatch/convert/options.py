"""The options of a conversion, and the checks that do not need the config."""

import copy
from typing import Any, Dict, NamedTuple, Optional, Sequence, Union

from ..arguments import require_bool, require_delta
from ..passes.schedule import BUDGETS
from ..policies import build_policy
from ..registry import PRUNING_POLICIES
from ..training.step_length import require_step_length


class Options(NamedTuple):
    """The options of a conversion: the arguments of :func:`mm_infobatch.convert`, in order."""

    prune_ratio: Optional[float]
    delta: Optional[float]
    policy: Optional[Dict[str, Any]]
    budget: Optional[str]
    score: Optional[Sequence[str]]
    per_image: bool
    step_length: Union[None, str, float]
    track: Optional[bool]


def check_options(options: Options) -> Options:
    """Check options without the config.

    Returns:
        Options: The same, with ``score`` as a list, where it is given.

    Raises:
        TypeError: If one has the wrong type.
        ValueError: If one is out of range, or two contradict.
    """
    prune_ratio, policy, score = options.prune_ratio, options.policy, options.score
    if prune_ratio is not None and policy is not None:
        raise ValueError(
            f'prune_ratio={prune_ratio!r} and policy={policy!r} both say what to '
            "prune; give one of them, or policy=dict(type='SoftPruning', prune_ratio=...)"
        )
    if prune_ratio is not None:
        build_policy(dict(type='SoftPruning', prune_ratio=prune_ratio))
    if policy is not None:
        check_policy(policy)
    if options.delta is not None:
        require_delta(options.delta, 'delta=0.875')
    if options.budget is not None:
        check_budget(options.budget, 'budget')
    names = [score] if isinstance(score, str) else score
    if names is not None and not (
        isinstance(names, (list, tuple)) and names and all(isinstance(n, str) and n for n in names)
    ):
        raise TypeError(
            f"score={score!r} has to be the types of losses; write score=['CrossEntropyLoss', "
            '...], on the command line score=CrossEntropyLoss'
        )
    require_bool('per_image', options.per_image, 'per_image=True')
    if options.step_length is not None:
        require_step_length(options.step_length)
    if options.track is not None:
        require_bool('track', options.track, 'track=False')
    return options._replace(score=None if names is None else list(names))


def check_policy(policy: Any) -> None:
    """Check the config of a policy by building it.

    Raises:
        TypeError: If it is not a config, or has an argument that the policy does not take.
        ValueError: If the type is not registered, or an argument is out of range.
    """
    if not isinstance(policy, dict):
        known = sorted(PRUNING_POLICIES.module_dict)
        name = getattr(policy, '__name__', policy)
        example = name if name in known else 'TargetSaving'
        raise TypeError(
            f'policy={policy!r} has to be a dict with a type, one of {", ".join(known)}; write '
            f'policy=dict(type={example!r}), on the command line policy.type={example}'
        )
    built = build_policy(copy.deepcopy(policy))
    if not callable(getattr(built, 'plan', None)):
        raise TypeError(
            f'policy={policy!r} builds a {type(built).__name__}, which has no method '
            "plan(scores, generator); write policy=dict(type='SoftPruning', prune_ratio=0.5)"
        )


def check_budget(budget: Any, name: str) -> None:
    """Check the meaning of ``max_iters``.

    Raises:
        ValueError: If it is neither 'passes' nor 'iterations'.
    """
    if budget not in BUDGETS:
        raise ValueError(f"{name}={budget!r} is neither 'passes' nor 'iterations'; write one")
