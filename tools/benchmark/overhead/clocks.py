"""Clocks and memory, for the tools that measure."""

import collections
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch

from . import ROOT

CPU = torch.device('cpu')


def seconds_of(
    function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> float:
    """The time of a call in seconds."""
    began = clock()
    function()
    return clock() - began


def take_turns(
    functions: Dict[str, Callable[[], Any]],
    repeats: int,
    after_turn: Callable[[], Any] = lambda: None,
) -> Dict[str, float]:
    """The median time of each function in seconds. They are called in turns.

    Args:
        functions (dict[str, callable]): What to measure, by name.
        repeats (int): The turns that are measured. One more, the first, is not.
        after_turn (callable): Is called after each turn and not measured. Defaults to nothing.
    """
    times: Dict[str, List[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            seconds = seconds_of(function)
            if turn:
                times[name].append(seconds)
        after_turn()
    return {name: statistics.median(found) for name, found in times.items()}


def hand_out(indices: Any) -> None:
    """Iterate over all indices, as a dataloader does."""
    collections.deque(iter(indices), maxlen=0)


def memory(key: str) -> int:
    """A figure of this process's memory, in bytes: VmRSS or VmHWM (its largest so far)."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{key}:'):
            return int(line.split()[1]) * 1024
    raise ValueError(f'{key} is not known on this system')


def in_process(*arguments: str) -> Any:
    """Run ``benchmark_overhead.py`` in a child process, and return what it prints as JSON."""
    tool = str(ROOT / 'tools' / 'benchmark' / 'benchmark_overhead.py')
    command = [sys.executable, '-W', 'ignore', tool, *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        cwd=str(ROOT),
        env=dict(os.environ, PYTHONPATH=path),
    )
    return json.loads(done.stdout.decode().splitlines()[-1])
