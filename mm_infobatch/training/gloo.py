"""Waits for the threads of gloo before processes start or end."""

import time
from typing import Any

from torch import distributed as dist

GRACE = 0.3  # seconds


def wait_for_gloo() -> None:
    """Wait until gloo's threads have nothing left to do; without gloo, return at once.

    A thread of gloo drops the tensors of a collective a moment after the collective has returned,
    for which it may need the interpreter. Within that moment

    - a process that is forked, as a dataloader's workers are, may deadlock: Python up
      to 3.11 waits there for a lock that the thread held (``_PyThreadState_DeleteExcept``);
    - PyTorch 2.1 hangs when the process group is destroyed;
    - PyTorch 2.12 aborts when the interpreter ends (pytorch/pytorch#179291).

    Nothing signals the end of that moment, so the wait is generous.
    """
    if dist.is_available() and dist.is_initialized() and 'gloo' in dist.get_backend():
        time.sleep(GRACE)


def wait_before_workers(dataloader: Any) -> None:
    """Wait as :func:`wait_for_gloo` does, if iterating over a dataloader will start processes."""
    started = getattr(dataloader, '_iterator', None) is not None  # of persistent workers
    if getattr(dataloader, 'num_workers', 0) > 0 and not started:
        wait_for_gloo()
