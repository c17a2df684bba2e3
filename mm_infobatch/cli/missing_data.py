"""One line in place of a traceback from every process, where the files of a dataset are missing."""

import os
import traceback
from contextlib import contextmanager
from typing import Iterator, Optional

from torch.utils.data import Dataset

from .common import UsageError


@contextmanager
def missing_data_in_one_line() -> Iterator[None]:
    """Report an ``OSError`` from the construction of a dataset as a user's error.

    An image that cannot be read later keeps its traceback, which tells the pipeline and the sample.

    Raises:
        UsageError: If a dataset cannot list its data.
    """
    try:
        yield
    except OSError as error:
        name = _dataset_of(error)
        if name is None:
            raise
        reason, place = str(error), 'in its data_root'  # which it could not be downloaded to
        if error.filename is not None:
            reason, place = f'{error.strerror}: {error.filename!r}', 'there'
            if not os.path.isabs(error.filename):
                reason += f', seen from {os.getcwd()!r}'
        raise UsageError(
            f'the data of a dataset {name} cannot be read: {reason}. Put the data {place}, or '
            'change data_root, data_prefix or ann_file of the dataset in the config'
        ) from error


def _dataset_of(error: BaseException) -> Optional[str]:
    """The name of the innermost dataset that was being constructed."""
    name = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        dataset = frame.f_locals.get('self')
        if frame.f_code.co_name in ('__init__', 'full_init') and isinstance(dataset, Dataset):
            name = type(dataset).__name__
    return name
