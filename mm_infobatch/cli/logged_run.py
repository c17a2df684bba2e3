"""The results that a run has logged: loss, metrics, iterations, samples and time."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from .sessions import Row, passes_of

PREFERRED_METRICS = ('mIoU', 'accuracy/top1')


@dataclass
class LoggedRun:
    """A whole run, over all its sessions.

    Attributes:
        name: Last part of the work directory's path.
        train: Logged training rows, ascending in their ``iter``.
        metrics: Rows of validation results, ascending in their ``iter``.
        iterations: Training iterations done.
        samples: Samples trained on over all ranks; None if the logs do not tell the world size.
        seconds: Time of the training iterations without validation, and of choosing samples;
            None if the logs have no times.
        infobatch: Content of ``infobatch.json``; None for a run without InfoBatch.
        notes: Limits of the numbers, a sentence each.
        sample_corners: Corners (iterations, samples) of the line along which the samples grow.
        second_corners: Corners (iterations, seconds) of the line along which the time grows.
        full_batches: The iterations of an epoch and the samples of an iteration, of a run whose
            last batch of an epoch is counted as a full one; None for other runs.
        begin: The iterations that it made before InfoBatch was switched on; 0 for most.
        unfinished: Why it has not reached its end, which is one of the notes; None where it has.
        planned: The iterations that a run without InfoBatch is to make, where it is known.
    """

    name: str
    train: List[Row]
    metrics: List[Row]
    iterations: int
    samples: Optional[int]
    seconds: Optional[float]
    infobatch: Optional[Dict[str, Any]]
    notes: List[str]
    sample_corners: Tuple[np.ndarray, np.ndarray]
    second_corners: Tuple[np.ndarray, np.ndarray]
    full_batches: Optional[Tuple[int, int]] = None
    begin: int = 0
    unfinished: Optional[str] = None
    planned: Optional[int] = None

    @property
    def passes(self) -> List[Dict[str, Any]]:
        """list[dict]: The records of its passes; none without InfoBatch."""
        return passes_of(self.infobatch)

    def samples_at(self, iterations: np.ndarray) -> np.ndarray:
        """Samples trained on after the given iterations, float64 [M]."""
        return np.interp(iterations, *self.sample_corners)

    def seconds_at(self, iterations: np.ndarray) -> np.ndarray:
        """Training time in seconds after the given iterations, float64 [M]."""
        return np.interp(iterations, *self.second_corners)

    def loss(self, trained: bool = False) -> Tuple[np.ndarray, np.ndarray]:
        """Iterations int64 [M] and the training loss logged there, float64 [M].

        Args:
            trained (bool): Whether it is the loss that was trained, instead of the mean loss over
                all data that it implies. Defaults to False.
        """
        rows = [row for row in self.train if 'loss' in row]
        steps = np.array([row['iter'] for row in rows], int)
        key = 'loss' if trained else 'loss_all_data'
        return steps, np.array([row.get(key, row['loss']) for row in rows])

    def count_samples(self, num_samples: int) -> None:
        """Count the samples of a run without InfoBatch by the length of its dataset, if it fits."""
        if self.full_batches is None:
            return
        length, samples = self.full_batches
        if (length - 1) * samples < num_samples <= length * samples:
            steps = self.sample_corners[0]
            rest = np.minimum(steps % length * samples, num_samples)
            self.sample_corners = steps, (steps // length * num_samples + rest).astype(float)
            self.samples = int(self.sample_corners[1][-1])
            self.full_batches = None

    def metric_names(self) -> List[str]:
        """Names of the logged validation metrics, sorted."""
        names = {name for row in self.metrics for name in row}
        return sorted(names - {'iter', 'step', 'time', 'data_time'})

    def metric(self, name: Optional[str] = None) -> Tuple[str, np.ndarray, np.ndarray]:
        """Name of a metric, iterations int64 [M] and the values logged there, float64 [M].

        Args:
            name (str, optional): Which metric. Defaults to mIoU or top-1 accuracy, whichever was
                logged, else to the first one; empty arrays if none was.

        Raises:
            ValueError: If ``name`` is given and was never logged.
        """
        names = self.metric_names()
        if name is None:
            preferred = [each for each in PREFERRED_METRICS if each in names] + names
            if not preferred:
                return '', np.zeros(0, int), np.zeros(0)
            name = preferred[0]
        elif name not in names:
            logged = ', '.join(names) or 'no metric at all'
            raise ValueError(
                f'metric {name!r} is not in the logs of {self.name!r}, which have: {logged}. '
                'Give --metric one of these'
            )
        rows = [row for row in self.metrics if name in row]
        return name, np.array([row['iter'] for row in rows], int), np.array([r[name] for r in rows])
