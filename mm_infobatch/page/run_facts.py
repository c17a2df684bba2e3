"""What the page shows of a run besides its samples, as plain values."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np


@dataclass
class Curve:
    """A line of the curves.

    Attributes:
        panel: The title of the chart that it is in.
        positions: Where its points are on each of the axes ``iterations``, ``samples`` and
            ``time``, each [M]; an axis that the logs do not have is missing.
        values: float64 [M].
        style: 'line', 'points', 'steps', 'faint' (as logged) or 'dashed'.
    """

    panel: str
    positions: Dict[str, np.ndarray]
    values: np.ndarray
    style: str = 'line'

    def thinned(self, count: int = 1500) -> 'Curve':
        """The curve with at most ``count`` points, the last one among them."""
        length = len(self.values)
        if length <= count:
            return self
        kept = np.unique(np.linspace(0, length - 1, count).round().astype(int))
        positions = {axis: values[kept] for axis, values in self.positions.items()}
        return Curve(self.panel, positions, self.values[kept], self.style)


@dataclass
class RunFacts:
    """A run, as the page shows it.

    Attributes:
        label: Its name.
        color: Its color in the charts.
        numbers: Names and texts of the run in numbers.
        settings: Its config, flat: ``{'optim_wrapper.optimizer.lr': '0.1'}``.
        notes: Limits of the numbers, a sentence each.
        curves: Its curves.
        passes: The records in ``infobatch.json``; none for a run without InfoBatch.
    """

    label: str
    color: str
    numbers: Dict[str, str] = field(default_factory=dict)
    settings: Dict[str, str] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)
    curves: List[Curve] = field(default_factory=list)
    passes: List[Dict[str, Any]] = field(default_factory=list)


def flat(config: Any, prefix: str = '') -> Dict[str, str]:
    """The values of a config by their dotted names; a list of plain values is one value."""
    if isinstance(config, dict) and config:
        items = [(str(key), value) for key, value in config.items()]
    elif isinstance(config, (list, tuple)) and any(isinstance(x, (dict, list)) for x in config):
        items = [(str(number), value) for number, value in enumerate(config)]
    else:
        return {prefix: repr(config)}
    values: Dict[str, str] = {}
    for key, value in items:
        values.update(flat(value, f'{prefix}.{key}' if prefix else key))
    return values


def side_by_side(columns: Sequence[Dict[str, str]]) -> List[Tuple[str, List[str], bool]]:
    """Put named texts side by side.

    Args:
        columns (list[dict]): One per run.

    Returns:
        list[tuple[str, list[str], bool]]: The name, the text of each run ('-' where it has none),
        and whether they differ; in the order in which names first occur.
    """
    names = dict.fromkeys(name for column in columns for name in column)
    rows = []
    for name in names:
        texts = [column.get(name, '-') for column in columns]
        rows.append((name, texts, len(set(texts)) > 1))
    return rows
