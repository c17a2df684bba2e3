"""Reads the annotations of all samples, without loading an image, and which classes occur."""

from dataclasses import dataclass, field
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .dataset_reader import as_text, ignored_label, info_of, labels_of, path_of, read_label_map
from .sample_table import Occurrences

CHUNK = 50_000


@dataclass
class Annotations:
    """The annotations of consecutive samples.

    Attributes:
        begin: Index of the first one.
        paths: Path of each image, '' where there is none.
        masks: Path of each label map, '' where there is none.
        labels: The labels of each image; none for segmentation.
        failed: How many could not be read.
    """

    begin: int
    paths: List[str] = field(default_factory=list)
    masks: List[str] = field(default_factory=list)
    labels: List[List[int]] = field(default_factory=list)
    failed: int = 0


def read_annotations(dataset: Any, num_samples: int, chunk: int = CHUNK) -> Iterator[Annotations]:
    """Read the annotations of a dataset, some at a time. Yields :class:`Annotations`."""
    for begin in range(0, num_samples, chunk):
        annotations = Annotations(begin)
        for index in range(begin, min(begin + chunk, num_samples)):
            try:
                info = info_of(dataset, index)
            except ValueError:
                info = {}
                annotations.failed += 1
            annotations.paths.append(path_of(info))
            annotations.masks.append(as_text(info.get('seg_map_path')))
            annotations.labels.append(labels_of(info))
        yield annotations


def class_name(label: int, names: Sequence[str]) -> str:
    """The name of a class, or its number where it has none."""
    return names[label] if 0 <= label < len(names) else str(label)


def occurrences_of_labels(labels: Sequence[Sequence[int]], begin: int = 0) -> Occurrences:
    """The pairs of samples and classes that labels say; negative labels are left out.

    Args:
        labels (list[list[int]]): The labels of each sample.
        begin (int): Index of the first sample. Defaults to 0.
    """
    counts = np.array([len(row) for row in labels], np.int64)
    classes = np.array([label for row in labels for label in row], np.int64)
    samples = np.repeat(np.arange(begin, begin + len(labels)), counts)
    valid = classes >= 0
    return Occurrences(samples[valid], classes[valid], int((counts > 0).sum()))


def joined(parts: Sequence[Occurrences]) -> Optional[Occurrences]:
    """The pairs of several parts of the dataset; None if no sample has a label."""
    looked_at = sum(part.looked_at for part in parts)
    if not looked_at:
        return None
    return Occurrences(
        np.concatenate([part.samples for part in parts]),
        np.concatenate([part.classes for part in parts]),
        looked_at,
    )


def occurrences_in_maps(
    dataset: Any, num_samples: int, num_classes: int, limit: int
) -> Tuple[Optional[Occurrences], Optional[str]]:
    """Read which classes occur in the label maps of some samples.

    Args:
        dataset (Dataset): The outermost dataset.
        num_samples (int): N.
        num_classes (int): Labels from here on, such as 255, are not a class.
        limit (int): How many samples to look at; they are drawn at random if there are more.

    Returns:
        tuple[Occurrences, str]: None for the first where no label map could be read; the reason
        that the first failure had, None if there was none.
    """
    chosen = np.arange(num_samples)
    if num_samples > limit:
        drawn = np.random.default_rng(0).choice(num_samples, limit, replace=False)
        chosen = np.sort(drawn)
    samples, classes, pixels, looked_at, reason = [], [], [], 0, None
    for index in chosen:
        try:
            labels = read_label_map(dataset, int(index))
        except ValueError as error:
            reason = reason or str(error)
            if not looked_at and len(chosen) > 5 and index == chosen[5]:
                break  # none of the first ones
            continue
        looked_at += 1
        values, counts = np.unique(labels, return_counts=True)
        valid = (values >= 0) & (values < num_classes)
        ignored = ignored_label(dataset, int(index))
        if ignored is not None:
            valid &= values != ignored
        samples.append(np.full(int(valid.sum()), index, np.int64))
        classes.append(values[valid].astype(np.int64))
        pixels.append(counts[valid].astype(np.int64))
    if not looked_at:
        return None, reason
    joined_samples, joined_classes, joined_pixels = map(np.concatenate, (samples, classes, pixels))
    return Occurrences(joined_samples, joined_classes, looked_at, joined_pixels), reason
