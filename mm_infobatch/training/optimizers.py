"""The optimizer wrappers of a run and their schedulers, by name; '' where there is one wrapper."""

from typing import Any, Dict, List

from mmengine.optim import OptimWrapperDict


def wrappers_of(runner: Any) -> Dict[str, Any]:
    """The optimizer wrappers of a run."""
    wrapper = runner.optim_wrapper
    return dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {'': wrapper}


def schedulers_of(runner: Any) -> Dict[str, List[Any]]:
    """The schedulers of each optimizer wrapper; one without schedulers may be missing."""
    schedulers = runner.param_schedulers or []
    return schedulers if isinstance(schedulers, dict) else {'': schedulers}
