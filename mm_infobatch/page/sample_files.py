"""Writes the table of all samples: CSV and Parquet, and the fields of FiftyOne.

The rows go to the files while the annotations are read, so that memory holds a part of them only.
"""

from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from .sample_table import SampleTable
from .scan import Annotations, class_name


def rows_of(
    table: SampleTable, annotations: Annotations, names: Sequence[str], paths: bool = True
) -> Dict[str, Any]:
    """The columns of the files for some samples.

    ``filepath`` and ``label`` have the names that FiftyOne and cleanlab use; several labels are
    separated by a semicolon. Columns that no sample has a value for are still there.

    Args:
        table (SampleTable): Of all samples.
        annotations (Annotations): Of these samples.
        names (list[str]): The names of the classes.
        paths (bool): Whether the annotations could be read. Defaults to True.
    """
    part = slice(annotations.begin, annotations.begin + len(annotations.paths))
    columns: Dict[str, Any] = {'index': np.arange(part.start, part.stop)}
    if paths:
        columns['filepath'] = annotations.paths
        columns['label'] = [
            ';'.join(class_name(label, names) for label in row) for row in annotations.labels
        ]
        columns['mask_path'] = annotations.masks
    for name, values in table.columns().items():
        columns[name] = values[part]
    return columns


class SampleFiles:
    """Writes the table of all samples as CSV and Parquet, some rows at a time.

    NaN is an empty cell in CSV and null in Parquet.

    Args:
        stem (Path): The files' path without a suffix.
    """

    def __init__(self, stem: Path) -> None:
        self.paths = [stem.with_name(stem.name + suffix) for suffix in ('.csv', '.parquet')]
        self._writers: List[Any] = []

    def __enter__(self) -> 'SampleFiles':
        return self

    def __exit__(self, *error: Any) -> None:
        for writer in self._writers:
            writer.close()

    def write(self, columns: Dict[str, Any]) -> None:
        """Write some rows.

        Args:
            columns (dict): The values of each column, the same columns each time.
        """
        import pyarrow
        from pyarrow import csv, parquet

        arrays = {
            name: pyarrow.array(values, from_pandas=isinstance(values, np.ndarray))
            for name, values in columns.items()
        }
        table = pyarrow.table(arrays)
        if not self._writers:
            self._writers = [
                csv.CSVWriter(self.paths[0], table.schema),
                parquet.ParquetWriter(self.paths[1], table.schema, compression='zstd'),
            ]
        for writer in self._writers:
            writer.write_table(table)


def write_fiftyone(parquet: Path, name: str) -> int:
    """Write the rows that have a path into a new persistent dataset of FiftyOne.

    A label becomes the field ``ground_truth``, a label map too; the other columns are fields with
    the prefix ``infobatch_``, left out where they are empty.

    Args:
        parquet (Path): The Parquet file of the samples.
        name (str): The name of the dataset.

    Returns:
        int: How many samples were written.

    Raises:
        ValueError: If FiftyOne has a dataset of this name.
    """
    import fiftyone
    from pyarrow import parquet as reader

    if fiftyone.dataset_exists(name):
        raise ValueError(
            f'FiftyOne has a dataset {name!r} already: delete it with fiftyone.delete_dataset'
            f'({name!r}), or give the run another name with --labels'
        )
    dataset, count = fiftyone.Dataset(name, persistent=True), 0
    for batch in reader.ParquetFile(parquet).iter_batches():
        samples = []
        for row in batch.to_pylist():
            path, label, mask = (row.pop(key, '') for key in ('filepath', 'label', 'mask_path'))
            fields = {f'infobatch_{key}': value for key, value in row.items() if value is not None}
            if label:
                fields['ground_truth'] = fiftyone.Classification(label=label)
            elif mask:
                fields['ground_truth'] = fiftyone.Segmentation(mask_path=mask)
            if path:
                samples.append(fiftyone.Sample(filepath=path, **fields))
        dataset.add_samples(samples)
        count += len(samples)
    return count
