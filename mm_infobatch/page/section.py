"""Puts together what the page shows of the samples of a run."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from . import figures
from .dataset_reader import build_dataset, class_names, info_of
from .gallery import CardMaker, make_galleries
from .lists import choose_lists
from .run_facts import RunFacts
from .sample_files import SampleFiles, rows_of
from .sample_table import Occurrences, SampleTable, class_table
from .scan import Annotations, joined, occurrences_in_maps, occurrences_of_labels, read_annotations
from .write import SampleSection

EMBEDDED_CSV = 1_500_000  # bytes of a table that is in the page too


@dataclass
class Limits:
    """How much the page shows.

    Attributes:
        images: Length of a list of the gallery.
        label_maps: For segmentation, how many label maps are read for the table of classes.
    """

    images: int = 36
    label_maps: int = 1000


def sample_section(
    run: RunFacts,
    table: Optional[SampleTable],
    cfg: Any,
    why_no_config: Optional[str],
    stem: Path,
    limits: Limits,
) -> SampleSection:
    """Read the samples of a run, and write the files that hold all of them.

    Args:
        run (RunFacts): The run.
        table (SampleTable, optional): What the checkpoint knows of each sample; None if there is
            none.
        cfg (Config, optional): The config, whose training dataset is read.
        why_no_config (str, optional): Why there is none.
        stem (Path): The path of the files of all samples, without a suffix.
        limits (Limits): How much the page shows.
    """
    section = SampleSection(run.label, figures.scores(run))
    if section.scores is None:
        section.notes.append(
            'The distribution of the scores over the passes is missing: infobatch.json has no '
            'histograms yet, or is of an older mm_infobatch, which wrote none'
        )
    if table is None:
        return section
    section.num_samples, section.passes = len(table), table.passes
    if table.mean is None or table.spread is None or table.trained is None:
        section.notes.append(
            'Mean, spread and how often samples were skipped are missing: the checkpoint has only '
            'the latest losses (sampler track=False, or an older mm_infobatch)'
        )
    else:
        section.hard_easy = figures.hard_easy_map(table.mean, table.spread, table.trained)
        if section.hard_easy is None:
            section.notes.append('No sample was trained twice yet, so there is no spread')
    if table.late:
        section.notes.append(
            'Mean, spread and how often samples were skipped are those of the latest '
            f'{table.passes:,} passes: before, the run was not tracked (InfoBatch was not switched '
            'on, sampler track=False, or an older mm_infobatch)'
        )
    dataset = _dataset_for(table, cfg, why_no_config, section)
    section.names = [] if dataset is None else class_names(dataset)
    occurrences = _scan(table, dataset, section, stem)
    if dataset is not None and occurrences is None:
        occurrences = _scan_maps(table, dataset, section, limits)
    if occurrences is not None:
        section.classes = class_table(table, occurrences)
    preprocessor = _preprocessor(cfg)
    swaps = preprocessor.get('to_rgb', preprocessor.get('bgr_to_rgb', False))
    make = CardMaker(dataset, table, bool(swaps))
    if limits.images:
        section.galleries = make_galleries(choose_lists(table, occurrences, limits.images), make)
    return section


def _preprocessor(cfg: Any) -> Dict[str, Any]:
    """The settings of the data preprocessor, where a config has them."""
    cfg = cfg or {}
    return (cfg.get('model') or {}).get('data_preprocessor') or cfg.get('data_preprocessor') or {}


def _dataset_for(
    table: SampleTable, cfg: Any, why_no_config: Optional[str], section: SampleSection
) -> Any:
    """The training dataset; None, and a note, where there is none of the same length."""
    missing = 'Images, paths and classes are missing: '
    if cfg is None:
        section.notes.append(missing + (why_no_config or 'there is no config'))
        return None
    try:
        dataset = build_dataset(cfg)
        length = len(dataset)
    except (ValueError, TypeError) as error:
        section.notes.append(
            f'{missing}the training dataset of the config cannot be built ({error}). Run the '
            'command in the directory of the training, or say where the data is: --cfg-options '
            'train_dataloader.dataset.data_root=FOLDER'
        )
        return None
    # num_batch_per_epoch has mmengine train the first samples only.
    sliced = 'num_batch_per_epoch' in cfg.train_dataloader and length > len(table)
    if length != len(table) and not sliced:
        section.notes.append(
            f'{missing}the training dataset of the config has {length:,} samples, and the '
            f'checkpoint {len(table):,}. Give the config of the training: --config CONFIG'
        )
        return None
    return dataset


def _scan(
    table: SampleTable, dataset: Any, section: SampleSection, stem: Path
) -> Optional[Occurrences]:
    """Write the files of all samples; the classes of the labels, None where there are none."""
    known = dataset is not None
    if known:
        try:
            info_of(dataset, 0)
        except ValueError as error:
            section.notes.append(f'Paths and classes are missing: {error}')
            known = False
    chunks = read_annotations(dataset, len(table)) if known else _no_annotations(len(table))
    parts: List[Occurrences] = []
    failed = 0
    with SampleFiles(stem) as files:
        for annotations in chunks:
            files.write(rows_of(table, annotations, section.names, known))
            parts.append(occurrences_of_labels(annotations.labels, annotations.begin))
            failed += annotations.failed
    if failed:
        section.notes.append(f'{failed:,} samples have no annotation that can be read')
    section.files = [path.name for path in files.paths]
    csv = files.paths[0]
    if csv.stat().st_size <= EMBEDDED_CSV:
        text = base64.b64encode(csv.read_bytes()).decode('ascii')
        section.csv = f'data:text/csv;base64,{text}'
    occurrences = joined(parts)
    if occurrences is not None:
        section.classes_about = _about('by their labels', table)
    return occurrences


def _no_annotations(num_samples: int) -> Sequence[Annotations]:
    empty = [''] * num_samples
    return [Annotations(0, empty, empty, [[]] * num_samples)]


def _scan_maps(
    table: SampleTable, dataset: Any, section: SampleSection, limits: Limits
) -> Optional[Occurrences]:
    """The classes in label maps; None, and a note, where there are none."""
    if not section.names:
        section.notes.append(
            'The table of classes is missing: the annotations have no labels, and the dataset has '
            'no names of classes for label maps (metainfo=dict(classes=...))'
        )
        return None
    if not limits.label_maps:
        section.notes.append('The table of classes is missing: --label-maps 0 reads no label map')
        return None
    occurrences, reason = occurrences_in_maps(
        dataset, len(table), len(section.names), limits.label_maps
    )
    if occurrences is None:
        section.notes.append(f'The table of classes is missing: {reason}')
        return None
    drawn = ', drawn at random' if len(table) > limits.label_maps else ''
    section.classes_about = _about(
        f'by the label maps of {occurrences.looked_at:,} of {len(table):,} images{drawn}', table
    )
    if reason is not None:
        section.notes.append(f'Some label maps cannot be read: {reason}')
    return occurrences


def _about(counted: str, table: SampleTable) -> str:
    mean = 'latest loss' if table.mean is None else 'mean loss'
    return f'Images are counted {counted}. A mean score is that of the {mean} of these images.'
