"""What a checkpoint knows of each sample: scores, mean and spread of losses, how often skipped."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import numpy as np

from ..passes.tracking import SampleTracker


@dataclass
class SampleTable:
    """The columns of the table of all samples.

    Attributes:
        scores: float32 [N], the latest loss, NaN where unseen.
        mean: float32 [N], the mean of a sample's losses, NaN where unseen; None if not tracked.
        spread: float32 [N], their population standard deviation, NaN where unseen; None if not
            tracked.
        trained: int16 [N], how many losses were taken; None if not tracked.
        skipped: int32 [N], in how many passes the sample was skipped; None if not tracked.
        passes: Completed passes; None if not tracked.
        late: Whether there were passes before them that were not tracked.
    """

    scores: np.ndarray
    mean: Optional[np.ndarray] = None
    spread: Optional[np.ndarray] = None
    trained: Optional[np.ndarray] = None
    skipped: Optional[np.ndarray] = None
    passes: Optional[int] = None
    late: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    def columns(self) -> Dict[str, np.ndarray]:
        """The columns that there are, each [N], by the names that they have in the files."""
        named = {
            'score': self.scores,
            'mean_score': self.mean,
            'score_spread': self.spread,
            'times_trained': self.trained,
            'times_skipped': self.skipped,
        }
        return {name: values for name, values in named.items() if values is not None}

    def skipped_share(self) -> Optional[np.ndarray]:
        """The share of the passes in which each sample was skipped, float64 [N]."""
        if self.skipped is None or not self.passes:
            return None
        return self.skipped / self.passes


def read_samples(state: Dict[str, Any]) -> SampleTable:
    """Make the table from the state of a sampler in a checkpoint.

    Args:
        state (dict): ``checkpoint['infobatch']['sampler']``: ``scores`` (float32 [N]); ``tracked``,
            the state of a :class:`SampleTracker`, if the run was tracked; and ``epoch`` (the number
            of the pass), ``consumed`` and ``order``, which say how far the run was.

    Raises:
        ValueError: If the tensors are not of one shape [N].
    """
    table = SampleTable(state['scores'].numpy().copy())
    tensors = {'scores': state['scores'], **(state.get('tracked') or {})}
    whole = ('passes', 'unfinished')  # of the run, not of each sample
    shapes = {name: list(each.shape) for name, each in tensors.items() if name not in whole}
    if any(shape != [len(table)] for shape in shapes.values()):
        raise ValueError(f'its state of InfoBatch is not of one length: {shapes}')
    if state.get('tracked') is not None:
        tracker = SampleTracker(len(table))
        tracker.load_state_dict(state['tracked'])
        table.mean = tracker.mean.numpy()
        table.spread = tracker.spread().numpy()
        table.trained = tracker.trained.numpy()
        table.skipped = tracker.skipped().numpy()
        table.passes = tracker.passes
        done = 'order' in state and state['consumed'] >= len(state['order'])
        table.late = state.get('epoch', 0) + done > tracker.passes
    return table


@dataclass
class Occurrences:
    """Which classes occur in which samples, as P pairs.

    Attributes:
        samples: int64 [P], indices of samples.
        classes: int64 [P], the class that occurs there.
        looked_at: Number of samples whose classes were read.
        pixels: int64 [P], pixels of the class in the label map; None for classification.
    """

    samples: np.ndarray
    classes: np.ndarray
    looked_at: int
    pixels: Optional[np.ndarray] = None


@dataclass
class ClassRow:
    """A row of the table of classes; None where it is not known.

    Attributes:
        index: The number of the class.
        images: Number of samples with the class.
        pixels: Share of the pixels of the label maps.
        mean: Mean over its samples of their mean score, or of their latest one if not tracked.
        spread: Mean of their spread.
        skipped: Mean share of the passes in which they were skipped.
    """

    index: int
    images: int
    pixels: Optional[float]
    mean: Optional[float]
    spread: Optional[float]
    skipped: Optional[float]


def class_table(table: SampleTable, occurrences: Occurrences) -> List[ClassRow]:
    """One row for each class that occurs, by its number.

    Args:
        table (SampleTable): Of N samples.
        occurrences (Occurrences): Which classes occur in them.
    """
    if not len(occurrences.classes):
        return []
    length = int(occurrences.classes.max()) + 1
    images = np.bincount(occurrences.classes, minlength=length)

    def means(values: Optional[np.ndarray]) -> List[Optional[float]]:
        """Mean over the samples of each class, without NaN."""
        if values is None:
            return [None] * length
        chosen = values[occurrences.samples].astype(np.float64)
        finite = np.isfinite(chosen)
        counts = np.bincount(occurrences.classes[finite], minlength=length)
        sums = np.bincount(occurrences.classes[finite], chosen[finite], minlength=length)
        return [total / count if count else None for total, count in zip(sums, counts)]

    mean = means(table.scores if table.mean is None else table.mean)
    spread, skipped = means(table.spread), means(table.skipped_share())
    pixels: List[Optional[float]] = [None] * length
    if occurrences.pixels is not None:
        sums = np.bincount(occurrences.classes, occurrences.pixels, minlength=length)
        pixels = list(sums / sums.sum())
    return [
        ClassRow(
            int(index),
            int(images[index]),
            pixels[index],
            mean[index],
            spread[index],
            skipped[index],
        )
        for index in np.flatnonzero(images)
    ]
