"""The user's settings for a scoring method, and the methods whose call takes more than a line."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch

from . import gradients, hessian
from .cost import DIMENSIONS
from .dataset_pruning import dataset_pruning
from .deepfool import boundary_in_features, deepfool
from .forgetting import forgetting
from .glister import Split
from .grand import grand, grand_of_model
from .influence import influence
from .rows import by_rows, errors
from .source import Source


@dataclass(frozen=True)
class Settings:
    """The user's settings for a scoring method.

    Args:
        count (int, optional): K, how many samples to select. Defaults to None: rank all of them.
        per_class (bool): Whether to select in each class separately. Defaults to False.
        seed (int): The seed of methods that draw random numbers. Defaults to 0.
        deepcore (bool): Whether to follow the code of DeepCore where it differs from the
            publication. Defaults to False.
        options (dict): The method's own settings.
    """

    count: Optional[int] = None
    per_class: bool = False
    seed: int = 0
    deepcore: bool = False
    options: Any = None


def averaged(
    score: Callable[[Source, Settings], np.ndarray],
) -> Callable[[List[Source], Settings], np.ndarray]:
    """The mean of a score over checkpoints, in float64."""

    def mean(sources: List[Source], settings: Settings) -> np.ndarray:
        rows = [score(source, settings) for source in sources]
        return np.stack(rows).mean(0, dtype=np.float64).astype(np.float32)

    return mean


def classes(source: Source, settings: Settings) -> Optional[np.ndarray]:
    """The labels if a method selects in each class, else None."""
    return source.labels if settings.per_class else None


def rounds(settings: Settings) -> int:
    """How often GLISTER computes the validation gradient."""
    return 1 if settings.deepcore else int(settings.options['rounds'])


def by_grand(source: Source, settings: Settings) -> np.ndarray:
    """The norm of the gradient, of the last layer or of all parameters."""
    if settings.options['all_parameters']:
        return source.walk('grand', lambda model, batch: {'norm': grand_of_model(model, batch)})
    return grand(*source.arrays)


def by_forgetting(sources: List[Source], settings: Settings) -> np.ndarray:
    """How often each sample was learned and then not, in the order of training: as given, where
    a checkpoint does not name its iteration."""
    rows: List[np.ndarray] = []
    last = None
    if all('iter' in source.meta for source in sources):
        sources = sorted(sources, key=lambda each: int(each.meta['iter']))
    for source in sources:
        # In blocks, as NumPy copies a read-only array to find the largest of each row.
        predicted = by_rows(lambda logits: logits.argmax(1), source.logits)
        rows.append(predicted == source.labels)
        iters = source.meta.get('iter')
        if iters is not None and iters == last and not np.array_equal(rows[-2], rows[-1]):
            raise ValueError(
                f'two checkpoints of iteration {iters}, one of them {source.path}, predict other '
                'classes, so they are of different runs; forgetting needs those of one run'
            )
        last = iters
    return forgetting(np.stack(rows), 0 if settings.deepcore else None)


def by_deepfool(sources: List[Source], settings: Settings) -> np.ndarray:
    """Minus the squared distance to the nearest boundary, of images or of features."""
    source, top = sources[0], settings.options['classes']
    if settings.options['proxy']:
        extraction = source.extraction()
        assert extraction.weight is not None  # as there are features
        return boundary_in_features(extraction.logits, extraction.weight)
    overshoot = 0.0 if settings.deepcore else 0.02

    def compute(model: Any, batch: Dict[str, Any]) -> Dict[str, np.ndarray]:
        images = model.data_preprocessor(batch, False)['inputs']
        scores = deepfool(lambda images: logits_of(model, images), images, top, overshoot=overshoot)
        return {'distance': scores.cpu().numpy()}

    return source.walk(f'deepfool-{top}-{overshoot:g}', compute)


def logits_of(model: Any, images: torch.Tensor) -> torch.Tensor:
    """The logits of a classifier, differentiable, [B, C].

    A head of several outputs, such as Conformer's, does not return the logits it predicts from. For
    it, the logarithm of the probabilities is returned, which differs from them by a constant.
    """
    count = len(images)
    if count == 1:  # which mmpretrain's LeNet-5 cannot take
        images = torch.cat([images, images])
    logits = model(images)
    if not isinstance(logits, torch.Tensor):
        scores = torch.stack([sample.pred_score for sample in model.predict(images)])
        logits = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return logits[:count]


def by_influence(sources: List[Source], settings: Settings) -> np.ndarray:
    """The influence on the last layer.

    Raises:
        ValueError: If a validation set is asked for, but the formula does not use one.
    """
    direction, kind = None, settings.options['formula']
    if settings.options['validation_set'] and kind != 'validation':
        raise ValueError(
            f'--validation-set has no effect with --formula {kind}; write --formula validation, or '
            'leave it out'
        )
    if kind == 'validation':
        logits, features, labels = validation(sources[0], settings)
        direction = gradients.mean(errors(logits, labels), features)
    return influence(*sources[0].arrays, kind, settings.options['damping'], direction)


def by_dp(sources: List[Source], settings: Settings) -> np.ndarray:
    """1 for the samples that Dataset Pruning keeps, 0 for the others."""
    generator = np.random.default_rng(settings.seed)
    influences = hessian.influences(*sources[0].arrays, settings.options['damping'])
    sketches = influences.sketches(DIMENSIONS, generator)
    swaps = settings.options['swaps']
    return dataset_pruning(sketches, settings.count or 0, swaps, settings.seed)


def validation(source: Source, settings: Settings) -> Split:
    """Logits, features and labels of the data that a method validates on."""
    if not settings.options['validation_set']:
        return source.arrays
    return source.validation().arrays
