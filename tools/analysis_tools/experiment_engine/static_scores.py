"""The table of what static scores cost: measured, and by arithmetic for ImageNet."""

from typing import Any, Dict, List

import numpy as np

from mm_infobatch.cli.summarize import markdown_table
from mm_infobatch.policies.budgets import count_in_share, divide_among_classes
from mm_infobatch.scoring.calls import Settings
from mm_infobatch.scoring.cost import Cost, Size, rough_duration
from mm_infobatch.scoring.methods import METHODS

# ImageNet-1k with the last layer of ResNet-50; its classes taken as equally large.
IMAGENET = dict(samples=1_281_167, classes=1000, features=2048)
KEEP = 0.7


def text(result: Dict[str, Any]) -> str:
    """The table of a record.

    Args:
        result (dict): ``hardware`` (str), and ``runs``: what ``mm-infobatch scores`` has written
            about itself, by the name of the row.
    """
    first = next(iter(result['runs'].values()))
    rows = [['method', 'selects', 'passes', 'processor', 'ImageNet', 'ImageNet, memory']]
    for name, run in result['runs'].items():
        rows.append([name, _groups(run), *_times(run), *_on_imagenet(run)])
    return (
        f'{first["num_samples"]:,} samples, {first["num_classes"]} classes, '
        f'{first["num_features"]} features, {KEEP:.0%} kept where it matters; '
        f'{result["hardware"]}, torch {first["torch"]}, {first["threads"]} thread:\n\n'
        + markdown_table(rows, aligned=False)
    )


def _groups(run: Dict[str, Any]) -> str:
    if not METHODS[run['method']].selects:
        return '-'
    return 'per class' if run['settings']['per_class'] else 'over all'


def _times(run: Dict[str, Any]) -> List[str]:
    return [f'{run["seconds"]["extraction"]:.1f} s', f'{run["processor_seconds"]:.2f} s']


def _on_imagenet(run: Dict[str, Any]) -> List[str]:
    """Time by the ratio of operations, and memory."""
    options = run['settings']['options']
    if run['method'] == 'deepfool' and not options['proxy'] or options.get('all_parameters'):
        return ['as its passes', '-']
    here = _costs(run, run['num_samples'], run['num_classes'], run['num_features'])
    there = _costs(run, IMAGENET['samples'], IMAGENET['classes'], IMAGENET['features'])
    operations = [sum(each.operations for each in costs) for costs in (here, there)]
    memory = max(each.memory for each in there)
    seconds = run['processor_seconds'] * operations[1] / operations[0]
    return [rough_duration(seconds), f'{memory / 1e9:,.1f} GB']


def _costs(run: Dict[str, Any], samples: int, classes: int, features: int) -> List[Cost]:
    method = METHODS[run['method']]
    apart = method.selects and run['settings']['per_class']
    sizes = np.full(classes, samples // classes) if apart else np.array([samples])
    kept = divide_among_classes(sizes, count_in_share(int(sizes.sum()), KEEP))
    settings = Settings(**run['settings'])
    return [
        method.cost(Size(int(n), int(k), classes, features), settings) for n, k in zip(sizes, kept)
    ]
