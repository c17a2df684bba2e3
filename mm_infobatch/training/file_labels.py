"""Compares the labels in a file of scores with those of the training dataset."""

import operator
from typing import Any, Optional

from .sample_idx import annotation_of

COMPARED = 1000  # samples, evenly spaced: a large dataset takes its time to read


def label_of(dataset: Any, index: int) -> Optional[int]:
    """The class of a sample, from its annotation.

    Args:
        dataset (Dataset): The outermost dataset.
        index (int): The index into it.

    Returns:
        int, optional: None if it is unknown, or the sample has several.
    """
    try:
        return operator.index(annotation_of(dataset, index)['gt_label'])
    except (KeyError, TypeError):
        return None


def other_labels_warning(policy: Any, dataset: Any) -> Optional[str]:
    """Compare the classes in the file of a policy with those of the training dataset.

    Args:
        policy (object): A policy that may have ``sample_labels``, int64 [N], as ``FromFile`` does.
        dataset (Dataset): The training dataset.

    Returns:
        str, optional: A warning, if they differ; None too where either has none.
    """
    labels = getattr(policy, 'sample_labels', None)
    if labels is None or len(labels) != len(dataset):  # another length is refused
        return None
    compared = range(0, len(labels), -(-len(labels) // COMPARED))
    known = {index: label_of(dataset, index) for index in compared}
    differing = [
        index for index, label in known.items() if label is not None and label != labels[index]
    ]
    if not differing:
        return None
    index = differing[0]
    return (
        f'{len(differing)} of {len(known)} samples that were compared are of another class in the '
        f'training dataset than in the file of {policy!r} (sample {index} is of class '
        f'{known[index]}, and of {labels[index]} in the file): the file was made for other classes '
        'or another order of the samples, so its scores may belong to other samples. Write it for '
        'this dataset with mm-infobatch scores, unless labels were changed on purpose'
    )
