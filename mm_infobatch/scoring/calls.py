"""How the function of each method is called: from checkpoints and settings to scores."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch

from . import gradients, hessian
from .contextual_diversity import contextual_diversity
from .cost import DIMENSIONS
from .craig import craig
from .dataset_pruning import dataset_pruning
from .deepfool import boundary_in_features, deepfool
from .el2n import el2n
from .extraction import Extraction
from .forgetting import forgetting
from .glister import Split, glister
from .grand import grand, grand_of_model
from .graph_cut import graph_cut
from .herding import herding
from .influence import influence
from .k_center import k_center
from .rows import errors
from .source import Source
from .uncertainty import entropy, least_confidence, margin

Scores = Tuple[np.ndarray, Optional[np.ndarray]]  # scores and weights, float32 [N]


@dataclass(frozen=True)
class Settings:
    """What a user chooses.

    Args:
        count (int, optional): K; None for an order of all samples.
        per_class (bool): Whether to select in each class, and not over all.
        seed (int): Of what is random.
        deepcore (bool): Whether to do as the code of DeepCore does.
        options (dict): The method's own settings.
    """

    count: Optional[int] = None
    per_class: bool = False
    seed: int = 0
    deepcore: bool = False
    options: Any = None


def averaged(score: Callable[[Source, Settings], np.ndarray]) -> Any:
    """The mean of a score over checkpoints, in float64."""

    def mean(sources: List[Source], settings: Settings) -> Scores:
        rows = [score(source, settings) for source in sources]
        return np.stack(rows).mean(0, dtype=np.float64).astype(np.float32), None

    return mean


def classes(found: Extraction, settings: Settings) -> Optional[np.ndarray]:
    """The labels where a method selects per class."""
    return found.labels if settings.per_class else None


def by_least_confidence(source: Source, settings: Settings) -> np.ndarray:
    """One minus the largest probability."""
    return least_confidence(source.extraction(False).logits, settings.deepcore)


def by_margin(source: Source, settings: Settings) -> np.ndarray:
    """One minus the difference of the two largest probabilities."""
    return margin(source.extraction(False).logits)


def by_entropy(source: Source, settings: Settings) -> np.ndarray:
    """The entropy of the probabilities."""
    return entropy(source.extraction(False).logits)


def by_el2n(source: Source, settings: Settings) -> np.ndarray:
    """The norm of the error."""
    found = source.extraction(False)
    return el2n(found.logits, found.labels)


def by_grand(source: Source, settings: Settings) -> np.ndarray:
    """The norm of the gradient, of the last layer or of all parameters."""
    if settings.options['all_parameters']:
        return source.walk('grand', lambda model, batch: {'norm': grand_of_model(model, batch)})
    found = source.extraction()
    return grand(found.logits, arrays(found)[1], found.labels)


def by_forgetting(sources: List[Source], settings: Settings) -> Scores:
    """How often each sample was learned and then not, in the order of training."""
    rows: List[np.ndarray] = []
    last = None
    for source in sorted(sources, key=lambda each: int(each.meta.get('iter', 0))):
        found = source.extraction(False)
        rows.append(found.logits.argmax(1) == found.labels)
        iters = source.meta.get('iter')
        if iters is not None and iters == last and not np.array_equal(rows[-2], rows[-1]):
            raise ValueError(
                f'two checkpoints of iteration {iters}, one of them {source.path}, predict other '
                'classes, so they are of different runs; forgetting needs those of one run'
            )
        last = iters
    return forgetting(np.stack(rows), 0 if settings.deepcore else None), None


def by_deepfool(sources: List[Source], settings: Settings) -> Scores:
    """Minus the distance to the boundary, of images or of features."""
    source, top = sources[0], settings.options['classes']
    if settings.options['proxy']:
        found = source.extraction()
        assert found.weight is not None  # as there are features
        return boundary_in_features(found.logits, found.weight), None
    overshoot = 0.0 if settings.deepcore else 0.02

    def compute(model: Any, batch: Dict[str, Any]) -> Dict[str, np.ndarray]:
        images = model.data_preprocessor(batch, False)['inputs']
        found = deepfool(lambda images: logits_of(model, images), images, top, overshoot=overshoot)
        return {'distance': found.cpu().numpy()}

    return source.walk(f'deepfool-{top}-{overshoot:g}', compute), None


def logits_of(model: Any, images: torch.Tensor) -> torch.Tensor:
    """What a classifier predicts from, differentiable, [B, C].

    A head of several outputs, as Conformer's, predicts from one number a class that it does not
    return: there, the logarithm of the probabilities, which is that but for a constant.
    """
    count = len(images)
    if count == 1:  # which mmpretrain's LeNet-5 cannot take
        images = torch.cat([images, images])
    found = model(images)
    if not isinstance(found, torch.Tensor):
        scores = torch.stack([sample.pred_score for sample in model.predict(images)])
        found = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return found[:count]


def by_herding(sources: List[Source], settings: Settings) -> Scores:
    """The order of herding."""
    found = sources[0].extraction()
    return herding(
        arrays(found)[1],
        classes(found, settings),
        settings.count,
        settings.deepcore,
        settings.options['normalize'],
    ), None


def by_k_center(sources: List[Source], settings: Settings) -> Scores:
    """The order of K-Center Greedy."""
    found = sources[0].extraction()
    groups = classes(found, settings)
    return k_center(arrays(found)[1], groups, settings.count, settings.seed), None


def by_contextual_diversity(sources: List[Source], settings: Settings) -> Scores:
    """The order of Contextual Diversity."""
    found = sources[0].extraction(False)
    groups = classes(found, settings)
    return contextual_diversity(found.logits, groups, settings.count, settings.seed), None


def by_craig(sources: List[Source], settings: Settings) -> Scores:
    """The order and the weights of CRAIG."""
    return craig(
        *arrays(sources[0].extraction()),
        count=settings.count or 0,
        seed=settings.seed,
        one_more=settings.deepcore,
        over_all=not settings.per_class,
    )


def by_graph_cut(sources: List[Source], settings: Settings) -> Scores:
    """The order of Graph Cut."""
    return graph_cut(
        *arrays(sources[0].extraction()),
        count=settings.count,
        trade_off=settings.options['trade_off'],
        over_all=not settings.per_class,
    ), None


def by_glister(sources: List[Source], settings: Settings) -> Scores:
    """The order of GLISTER."""
    return glister(
        arrays(sources[0].extraction()),
        _validation(sources[0], settings),
        settings.count or 0,
        1 if settings.deepcore else settings.options['rounds'],
        settings.options['step'],
        settings.per_class,
    ), None


def by_influence(sources: List[Source], settings: Settings) -> Scores:
    """The influence on the last layer."""
    direction, kind = None, settings.options['formula']
    if kind == 'validation':
        logits, features, labels = _validation(sources[0], settings)
        direction = gradients.mean(errors(logits, labels), features)
    data = arrays(sources[0].extraction())
    return influence(*data, kind, settings.options['damping'], direction), None


def by_dp(sources: List[Source], settings: Settings) -> Scores:
    """1 for what Dataset Pruning keeps."""
    data = arrays(sources[0].extraction())
    generator = np.random.default_rng(settings.seed)
    found = hessian.influences(*data, settings.options['damping'])
    sketches = found.sketches(DIMENSIONS, generator)
    swaps = settings.options['swaps']
    return dataset_pruning(sketches, settings.count or 0, swaps, settings.seed), None


def arrays(found: Extraction) -> Split:
    """Logits, features and labels of an extraction that has features."""
    assert found.features is not None
    return found.logits, found.features, found.labels


def _validation(source: Source, settings: Settings) -> Split:
    if not settings.options['validation_set']:
        return arrays(source.extraction())
    return arrays(source.validation())
