"""Computes scores for static pruning, from a classifier or from the losses in checkpoints."""

import argparse
import platform
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.registry import DefaultScope

from ..policies.budgets import count_in_share, divide_among_classes
from ..policies.score_file import ScoreFile
from ..scoring import cost
from ..scoring.calls import Settings
from ..scoring.classifier import check_classes, prepare
from ..scoring.extraction import Extraction
from ..scoring.forgetting import forgetting, learned_by_loss
from ..scoring.methods import METHODS, Method
from ..scoring.source import Source, Study, make_study
from .checkpoints import read_checkpoint
from .common import check_directory, read_config
from .logged_losses import logged_losses
from .same_run import SameRunCheck


def scores_of_losses(args: argparse.Namespace) -> Tuple[ScoreFile, Dict[str, Any]]:
    """Forgetting, from the scores in the checkpoints of a run with InfoBatch.

    Args:
        args (Namespace): The arguments of ``mm-infobatch scores``.

    Returns:
        tuple[ScoreFile, dict]: What the file holds, and how it was made, for the file beside it.

    Raises:
        ValueError: If the checkpoints do not have them.
    """
    if args.per_class:
        raise ValueError('--per-class needs the classes; give the config before the checkpoints')
    if len(args.checkpoints) < 2:
        raise ValueError('forgetting needs two checkpoints or more of one run')
    began = time.perf_counter()
    learned = learned_by_loss(logged_losses(args.checkpoints))
    scores = forgetting(learned, 0 if args.deepcore else None)
    seconds = dict(extraction=0.0, method=round(time.perf_counter() - began, 3))
    names = [path.name for path in args.checkpoints]
    return ScoreFile(scores), dict(
        method='forgetting', checkpoints=names, num_samples=len(scores), seconds=seconds
    )


def scores_of_model(args: argparse.Namespace) -> Tuple[ScoreFile, Dict[str, Any]]:
    """A method, from a classifier on its training set.

    Args:
        args (Namespace): The arguments of ``mm-infobatch scores``.

    Returns:
        tuple[ScoreFile, dict]: As of :func:`scores_of_losses`.

    Raises:
        ValueError: If the method cannot work with what is given.
    """
    method = METHODS[args.kind]
    least, most = method.checkpoints
    if not least <= len(args.checkpoints) <= most:
        wanted = {(1, 1): 'one checkpoint'}.get((least, most), f'{least} checkpoints or more')
        raise ValueError(f'{args.kind} needs {wanted}, but is given {len(args.checkpoints)}')
    cfg = read_config(args.config, args.cfg_options)
    prepare(cfg)
    folder = args.work_dir or args.out.parent / 'extraction'
    check_directory(str(folder), '--work-dir')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        study = make_study(
            cfg, folder, batch_size=args.batch_size, num_workers=args.num_workers, say=_say
        )
        same_run = SameRunCheck() if args.kind == 'forgetting' else None
        sources = [_source(study, path, same_run) for path in args.checkpoints]
        _check_different(sources)
        extraction = sources[0].extraction(method.features)
        settings = _settings(args, method, len(extraction.labels))
        _say(_cost(args.kind, method, extraction, settings))
        began, waited, processor = time.perf_counter(), sources[0].waited, time.process_time()
        result = method.score(sources, settings)
    scores, weights = result if isinstance(result, tuple) else (result, None)
    # Passes over the images that the method asked for count as extraction, like the first.
    spent = time.perf_counter() - began - sum(source.waited for source in sources) + waited
    extracting = sum(source.seconds for source in sources)
    if not np.isfinite(scores).all():
        raise ValueError(
            f'{args.kind} gives NaN or infinite scores, as the features of the checkpoint are out '
            'of range; give a checkpoint of a training that has not diverged'
        )
    note = dict(
        method=args.kind,
        settings=dict(settings.__dict__),
        checkpoints=[_checkpoint_note(source) for source in sources],
        num_samples=len(scores),
        num_classes=extraction.logits.shape[1],
        num_features=None if extraction.features is None else extraction.features.shape[1],
        seconds=dict(extraction=round(extracting, 3), method=round(spent, 3)),
        processor_seconds=round(time.process_time() - processor, 3),  # without the first pass
        peak_memory=cost.peak_memory(),
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
    )
    count = settings.count if method.selects else None
    return ScoreFile(scores, extraction.labels, weights, args.per_class, count), note


def _source(study: Study, path: Path, same_run: Optional[SameRunCheck]) -> Source:
    """A checkpoint as a source of scores, checked by ``same_run`` if that is given."""
    checkpoint = read_checkpoint(path)
    if same_run is not None:
        same_run.add(path, checkpoint)
    check_classes(checkpoint.get('meta') or {}, study.dataset, path)
    return Source(study, path, read_checkpoint, checkpoint.get('meta'))


def _check_different(sources: List[Source]) -> None:
    first: Dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.digest, source)
        if other is not source:
            raise ValueError(
                f'checkpoints {other.path} and {source.path} are the same file, which would count '
                'twice; give each once'
            )


def _checkpoint_note(source: Source) -> Dict[str, Any]:
    return dict(
        name=source.path.name,
        sha256=source.digest,
        epoch=source.meta.get('epoch'),
        iter=source.meta.get('iter'),
    )


def _settings(args: argparse.Namespace, method: Method, num_samples: int) -> Settings:
    count = args.count if args.keep is None else count_in_share(num_samples, args.keep)
    if count is not None and count > num_samples:
        raise ValueError(f'--count {count} is more than the {num_samples} samples; give a smaller')
    options = {name: getattr(args, name) for name in method.options}
    return Settings(count, bool(args.per_class), args.seed, args.deepcore, options)


def _cost(name: str, method: Method, extracted: Extraction, settings: Settings) -> str:
    """What the method will need beside the extraction.

    Raises:
        ValueError: If that is more memory than is free.
    """
    work = method.images(settings)
    if work:
        return (
            f'{name}: another pass over the {len(extracted.labels):,} images, {work} for each; '
            f'the extraction, one forward pass for each in batches, took {extracted.seconds:,.0f} s'
        )
    labels, classes = extracted.labels, extracted.logits.shape[1]
    features = 0 if extracted.features is None else extracted.features.shape[1]
    per_class = method.selects and settings.per_class
    groups = np.unique(labels, return_counts=True)[1] if per_class else np.array([len(labels)])
    counts = groups
    if settings.count is not None:
        counts = divide_among_classes(groups, settings.count)
    sizes = [cost.Size(int(n), int(k), classes, features) for n, k in zip(groups, counts)]
    divisible = method.selects and method.per_class is not None and not per_class
    free = cost.free_memory()
    return cost.statement(name, sizes, lambda size: method.cost(size, settings), free, divisible)


def _say(line: str) -> None:
    print(line, flush=True)
