"""The tables of what other tools than experiments measure: sweep, faults, policies, scores."""

import json
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any, Dict, List, Tuple

from mm_infobatch.cli.summarize import markdown_table

from .spec import load_experiment

Result = Dict[str, Any]
GROUPS = {
    'mmseg': 'mmsegmentation',
    'supervised': 'mmpretrain, classification and retrieval',
    'texts': 'mmpretrain, images and texts',
    'self-supervised': 'mmpretrain, self-supervised',
}
STACKS = dict(onedl='maintained forks', openmmlab='stock OpenMMLab')


def sweep(result: Result) -> str:
    """The tables of a sweep of ``sweep_configs.py``."""
    versions = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
    counts = [['configs with a training section', 'number', 'convert', '']]
    refused = [['refused, because', 'configs']]
    for key, title in GROUPS.items():
        group = result['groups'][key]
        total = group['converted'] + sum(map(len, group['refused'].values()))
        share = group['converted'] / total if total else 1.0
        counts.append([title, str(total), str(group['converted']), f'{100 * share:.1f} %'])
        refused += [[reason, _listed(each)] for reason, each in sorted(group['refused'].items())]
    broken = [[reason, _listed(each)] for reason, each in sorted(result['unloadable'].items())]
    return '\n\n'.join(
        [
            f'With {versions}:',
            markdown_table(counts, aligned=False),
            markdown_table(refused, aligned=False),
            f'{result["without_training"]} more configs have no training section. These the '
            'toolbox itself cannot load as installed:',
            markdown_table([['error', 'configs'], *broken], aligned=False),
        ]
    )


def _listed(names: List[str]) -> str:
    """Names of configs as their number and the folders that they are in."""
    folders = Counter('/'.join(name.split('/')[:2]) for name in names)
    return f'{len(names)}: ' + ', '.join(
        f'{folder} ({count})' for folder, count in sorted(folders.items())
    )


def policies(result: Result) -> str:
    """The tables of ``compare_policies.py``."""
    parts = []
    if 'times' in result:
        parts += [
            f'A plan of {result["times"]["num_samples"]:,} samples that skips '
            f'{result["saving"]:.0%}, torch {result["torch"]}, {result["threads"]} '
            f'thread{"s" if result["threads"] > 1 else ""}:',
            _of_policies(result['times']['rows']),
        ]
    for each in result.get('gradients', []):
        parts += [
            f'{each["checkpoint"]}: {each["num_samples"]:,} samples, mean loss '
            f'{each["mean_loss"]:.4f}, scores {each["scores"]}, {each["plans"]:,} plans a '
            f'policy, batches of {each["batch_size"]}; error, variance and bias in units of |g|^2:',
            _of_policies(each['rows']),
        ]
    return '\n\n'.join(parts)


def _of_policies(rows: List[Result]) -> str:
    def text(value: Any) -> str:
        return '-' if value is None else value if isinstance(value, str) else f'{value:.4g}'

    cells = [[text(value) for value in row.values()] for row in rows]
    return markdown_table([[name.replace('_', ' ') for name in rows[0]], *cells])


def faults(folder: Path) -> str:
    """The table of faults, a section a group, from what ``pytest --faults-record`` wrote.

    Args:
        folder (Path): Where ``<stack>.json`` lie.

    Returns:
        str: The table. A cell says how many of the trials of a case ended as they have to.

    Raises:
        ValueError: If there is no record, or one cannot be read.
    """
    groups: Dict[str, Dict[Tuple[str, str], Dict[str, str]]] = {}
    stacks: Dict[str, str] = {}
    for path in sorted(folder.glob('*.json')):
        try:
            content = json.loads(path.read_text())
            name = STACKS[content['stack']]
            versions = [f'{key} {value}' for key, value in content['versions'].items()]
            stacks[name] = ', '.join([f'Python {content["python"]}', *versions])
            for row in content['cases']:
                cells = groups.setdefault(row['group'], {})
                cells.setdefault((row['case'], row['holds']), {})[name] = (
                    f'{row["passed"]} of {row["trials"]}'
                )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path.name} is not what pytest --faults-record writes: {error!r}'
            ) from error
    if not stacks:
        raise ValueError(f'{folder}: no record of the harness is there; run make test-faults')
    parts = ['; '.join(f'{name}: {text}' for name, text in stacks.items()) + '.']
    for group, cases in groups.items():
        rows = [['case', 'what has to hold', *stacks]]
        for (case, holds), found in cases.items():
            rows.append([case, holds, *(found.get(name, '-') for name in stacks)])
        parts += [f'### {group}', markdown_table(rows, aligned=False)]
    return '\n\n'.join(parts)


def changed_labels(result: Result) -> str:
    """The table of ``find_changed_labels.py``."""
    runs = list(result['found'].values())
    rows = [['ranked by', *(f'seed {seed}' for seed in result['found']), 'mean']]
    for name in runs[0]:
        found = [100 * run[name] for run in runs]
        rows.append([name.replace('_', ' '), *(f'{each:.1f} %' for each in (*found, mean(found)))])
    return markdown_table(rows)


def repeatability(folder: Path) -> str:
    """The table of ``score_repeatability.py``: means over the passes before annealing.

    Args:
        folder (Path): Where its records lie, one a task.

    Raises:
        ValueError: If there is no record.
    """
    rows = [['task', 'samples', 'score', 'rank correlation', 'below the mean', 'below it again']]
    for path in sorted(folder.glob('*.json')):
        result = json.loads(path.read_text())
        task, count = load_experiment(result['experiment']).task, f'{result["num_samples"]:,}'
        for smoothing, passes in result['smoothing'].items():
            score = f'moving average, {smoothing}' if float(smoothing) else 'latest loss'
            means = {key: mean(each[key] for each in passes) for key in passes[0]}
            shares = [f'{means[key]:.1%}' for key in ('below', 'below_again')]
            rows.append([task, count, score, f'{means["rank_correlation"]:.2f}', *shares])
    if len(rows) == 1:
        raise ValueError(f'{folder}: no record of score_repeatability.py is there')
    return markdown_table(rows)
