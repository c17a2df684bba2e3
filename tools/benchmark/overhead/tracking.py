"""What it costs to track the losses of each sample, and the histogram of the scores."""

import io
from typing import Any, Callable, Dict, List

import torch

from mm_infobatch.training.score_histogram import histogram

from .clocks import take_turns
from .planning import Passes, default_order


def bytes_of(state: Any) -> int:
    """The bytes that a state takes in a file."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.tell()


def measure_tracking(num_samples: int, repeats: int) -> Dict[str, Any]:
    """Times in s of the parts of a pass's planning, in turns: the tracker's thread wants a core."""
    passes = {
        name: Passes(num_samples, track=track) for name, track in (('on', True), ('off', False))
    }
    functions: Dict[str, Callable[[], Any]] = dict(default=default_order(num_samples, 1))
    for name, each in passes.items():
        functions[f'merge {name}'], functions[f'plan {name}'] = each.merge, each.plan
    functions['histogram'] = lambda: histogram(passes['on'].sampler.scores.values)

    def train() -> None:
        for each in passes.values():
            each.train()

    found = take_turns(functions, repeats, train)
    rows: List[Dict[str, Any]] = []
    for name, each in passes.items():
        merge, planning = found[f'merge {name}'], found[f'merge {name}'] + found[f'plan {name}']
        rows.append(
            dict(
                track=name,
                merge=merge,
                planning=planning,
                ratio=planning / found['default'],
                checkpoint_bytes=bytes_of(each.sampler.state_dict()) / num_samples,
            )
        )
    return dict(
        num_samples=num_samples,
        rows=rows,
        merge_ratio=found['merge on'] / found['merge off'],
        default=found['default'],
        histogram=found['histogram'],
        ratio_with_histogram=(rows[0]['planning'] + found['histogram']) / found['default'],
    )
