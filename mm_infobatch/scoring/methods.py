"""The methods by name: what each needs, and its own settings."""

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from . import calls, cost
from .calls import Settings, averaged, classes, rounds, validation
from .contextual_diversity import contextual_diversity
from .cost import Cost, Size
from .craig import craig
from .deepfool import STEPS
from .el2n import el2n
from .glister import glister
from .graph_cut import graph_cut
from .herding import herding
from .k_center import k_center
from .source import Source
from .uncertainty import entropy, least_confidence, margin

# Scores, float32 [N], and where a method has them the weights of those that it chooses.
Scores = Union[np.ndarray, Tuple[np.ndarray, np.ndarray]]


class Option(NamedTuple):
    """A setting of some methods, which is an argument of their commands.

    Args:
        default (Any): The default, whose type is that of the setting; False makes it a flag.
        help (str): For the help.
        choices (tuple[str]): What may be chosen; () where anything may.
    """

    default: Any
    help: str
    choices: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method.

    Args:
        summary (str): For the help.
        score (callable): From checkpoints and settings to scores, or to scores and weights.
        cost (callable): From the size of a group and the settings to what it takes.
        images (callable): From the settings to what it does with each image in another pass over
            them, which ``cost`` does not count; '' where it makes none.
        checkpoints (tuple[int, int]): The least and the largest number of them.
        features (bool): Whether it needs the inputs of the last layer with any settings.
        selects (bool): Whether it makes an order or a subset, and not a score of each sample alone.
        needs_count (bool): Whether the result depends on K.
        per_class (bool, optional): Whether it selects in each class by default; None where it
            cannot.
        deepcore (str): What ``--deepcore`` changes; '' where the codes agree.
        options (dict[str, Option]): Its own settings.
    """

    summary: str
    score: Callable[[List[Source], Settings], Scores]
    cost: Callable[[Size, Settings], Cost] = lambda size, settings: cost.of_rows(size)
    images: Callable[[Settings], str] = lambda settings: ''
    checkpoints: Tuple[int, int] = (1, 1)
    features: bool = True
    selects: bool = False
    needs_count: bool = False
    per_class: Optional[bool] = False
    deepcore: str = ''
    options: Dict[str, Option] = field(default_factory=dict)


VALIDATION = Option(
    False,
    'validate on val_dataloader.dataset, and not on the training data; in configs of benchmarks '
    'that is the test set, which must not choose samples',
)
ANY = (1, 10**9)
METHODS: Dict[str, Method] = {
    'least_confidence': Method(
        'samples whose largest probability is the smallest',
        averaged(lambda source, settings: least_confidence(source.logits, settings.deepcore)),
        checkpoints=ANY,
        features=False,
        deepcore='takes the largest logit instead of the largest probability',
    ),
    'margin': Method(
        'the smallest difference of the two largest probabilities',
        averaged(lambda source, settings: margin(source.logits)),
        checkpoints=ANY,
        features=False,
    ),
    'entropy': Method(
        'the largest entropy of the probabilities',
        averaged(lambda source, settings: entropy(source.logits)),
        checkpoints=ANY,
        features=False,
    ),
    'el2n': Method(
        'the largest error of the probabilities, the mean over checkpoints',
        averaged(lambda source, settings: el2n(source.logits, source.labels)),
        checkpoints=ANY,
        features=False,
    ),
    'grand': Method(
        'the largest gradient of the last layer, the mean over checkpoints',
        averaged(calls.by_grand),
        images=lambda settings: (
            'a forward and a backward pass' if settings.options['all_parameters'] else ''
        ),
        checkpoints=ANY,
        features=False,  # --all-parameters needs none; else they are asked for
        options=dict(
            all_parameters=Option(False, 'take the gradient of all parameters, image by image')
        ),
    ),
    'forgetting': Method(
        'most often learned in one checkpoint and not in the next',
        calls.by_forgetting,
        checkpoints=(2, 10**9),
        features=False,
        deepcore='gives 0 to samples that were never learned',
    ),
    'herding': Method(
        'samples whose mean follows that of all features',
        lambda sources, settings: herding(
            sources[0].features,
            classes(sources[0], settings),
            settings.count,
            farthest=settings.deepcore,
            normalize=settings.options['normalize'],
            seed=settings.seed,
        ),
        lambda size, settings: cost.of_features(size),
        selects=True,
        per_class=True,
        deepcore='takes the farthest sample instead of the nearest',
        options=dict(normalize=Option(False, 'divide the features of each sample by their norm')),
    ),
    'k_center': Method(
        'the sample farthest from those chosen, again and again, by features',
        lambda sources, settings: k_center(
            sources[0].features, classes(sources[0], settings), settings.count, settings.seed
        ),
        lambda size, settings: cost.of_features(size),
        selects=True,
    ),
    'contextual_diversity': Method(
        'the sample farthest from those chosen, again and again, by divergence of probabilities',
        lambda sources, settings: contextual_diversity(
            sources[0].logits, classes(sources[0], settings), settings.count, settings.seed
        ),
        lambda size, settings: cost.of_probabilities(size),
        features=False,
        selects=True,
    ),
    'deepfool': Method(
        'the smallest perturbation of the image that changes its class',
        calls.by_deepfool,
        images=lambda settings: (
            ''
            if settings.options['proxy']
            else f'up to {STEPS} forward passes with {settings.options["classes"]} backward passes'
        ),
        features=False,
        deepcore='does not overshoot the boundary',
        options=dict(
            classes=Option(10, 'the most likely classes, whose boundaries are looked at'),
            proxy=Option(False, 'a stand-in: the distance of the features to the nearest boundary'),
        ),
    ),
    'craig': Method(
        'samples to whose gradients all others are near, with weights',
        lambda sources, settings: craig(
            *sources[0].arrays,
            count=settings.count or 0,
            seed=settings.seed,
            one_more=settings.deepcore,
            over_all=not settings.per_class,
        ),
        lambda size, settings: cost.of_pairs(size),
        selects=True,
        needs_count=True,
        per_class=True,
        deepcore='adds 1 to each weight',
    ),
    'glister': Method(
        'samples whose gradients reduce the loss on validation data',
        lambda sources, settings: glister(
            sources[0].arrays,
            validation(sources[0], settings),
            count=settings.count or 0,
            rounds=rounds(settings),
            step=settings.options['step'],
            per_class=settings.per_class,
            seed=settings.seed,
        ),
        lambda size, settings: cost.of_rounds(size, rounds(settings), settings.per_class),
        selects=True,
        needs_count=True,
        deepcore='chooses all samples in one round',
        options=dict(
            rounds=Option(15, 'how often the validation gradient is computed'),
            step=Option(0.1, 'the length of the step of the last layer'),
            validation_set=VALIDATION,
        ),
    ),
    'graph_cut': Method(
        'samples whose gradients are like all others and unlike each other',
        lambda sources, settings: graph_cut(
            *sources[0].arrays,
            count=settings.count,
            trade_off=settings.options['trade_off'],
            over_all=not settings.per_class,
            seed=settings.seed,
        ),
        lambda size, settings: cost.of_gradients(size),
        selects=True,
        per_class=True,
        options=dict(trade_off=Option(1.0, 'lambda, the weight of the similarity to all others')),
    ),
    'influence': Method(
        'samples that moved the last layer the most, by its Hessian',
        calls.by_influence,
        lambda size, settings: cost.of_hessian(size),
        options=dict(
            formula=Option(
                'norm',
                'which number of the influence; the default is a guess of what InfoBatch used',
                ('norm', 'self', 'validation'),
            ),
            damping=Option(1e-3, 'lambda, added to the Hessian'),
            validation_set=VALIDATION,
        ),
    ),
    'dp': Method(
        'all but the samples whose influences cancel out',
        calls.by_dp,
        lambda size, settings: cost.of_skipping(size),
        selects=True,
        needs_count=True,
        per_class=None,
        options=dict(
            damping=Option(1e-3, 'lambda, added to the Hessian'),
            swaps=Option(20000, 'pairs of a kept and a skipped sample to try'),
        ),
    ),
}
