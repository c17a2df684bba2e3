"""The tables of overhead, from the figures of ``benchmark_overhead.py``."""

import string
from typing import Any, Callable, Dict, List, Tuple

from mm_infobatch.cli.summarize import markdown_table

Found = Dict[str, Any]
Parts = List[str]  # paragraphs and tables


class Cells(string.Formatter):
    """Formats a row; ``ms``, ``us``, ``MiB`` and ``<=BAR`` (is a bar met?) are formats, too."""

    def format_field(self, value: Any, spec: str) -> str:
        """Format one value."""
        if spec == 'ms':
            return f'{value * 1e3:.1f} ms'
        if spec == 'us':
            return f'{value * 1e6:.0f} us'
        if spec.endswith('MiB'):
            return f'{value / 2**20:{spec[:-3]}} MiB'
        if spec.startswith(('<=', '>=')):
            bar = float(spec[2:])
            return 'met' if (value <= bar if spec[0] == '<' else value >= bar) else '**missed**'
        return str(format(value, spec))


def written(head: str, *rows: Tuple[str, Found]) -> str:
    """A table; head and rows have their cells between bars, a row is a template and its values."""
    cells = [Cells().vformat(template, (), values).split('|') for template, values in rows]
    return markdown_table([head.split('|'), *cells], aligned=False)


def planning(found: Found) -> Parts:
    """Bar 1."""
    row = '{world_size}|{kept:.1%}|{ours:ms}|{default:ms}|{ratio:.2f}|<= {bar}|{ratio:<={bar}}'
    bars = {1: 1.0}
    rows = [(row, dict(each, bar=bars.get(each['world_size'], 0.5))) for each in found['rows']]
    parts = [
        f'Planning a pass of {found["num_samples"]:,} samples on rank 0:',
        written('ranks|kept|ours|DefaultSampler|ratio|bar|', *rows),
    ]
    if 'faster_than_reference' in found:
        parts.append(
            Cells().format(
                'The published implementation takes {reference:ms} for threshold, draw and shuffle '
                'alone, without merge and iteration: {times:.1f} times ours; bar >= 4, '
                '{times:>=4}.',
                reference=found['rows'][0]['reference'],
                times=found['faster_than_reference'],
            )
        )
    return parts


def tracking(found: Found) -> Parts:
    """Time and bytes with and without tracking."""
    row = (
        '{track}|{merge:ms}|{planning:ms}|{ratio:.2f}|<= 0.6|{ratio:<=0.6}|'
        '{checkpoint_bytes:.1f} B a sample'
    )
    return [
        f'With and without `track`, for {found["num_samples"]:,} samples on one rank; the merge '
        f'with it takes {found["merge_ratio"]:.2f} times that without:',
        written(
            'track|merge|planning with it|ratio to DefaultSampler|bar||sampler in checkpoints',
            *((row, each) for each in found['rows']),
        ),
        Cells().format(
            'The histogram of the scores takes {histogram:ms}, with which the ratio is '
            '{ratio_with_histogram:.2f}; `DefaultSampler` takes {default:ms}.',
            **found,
        ),
    ]


def scaling(found: Found) -> Parts:
    """Bar 2."""
    row = (
        '{num_samples:,}|{ns_per_sample:.0f} ns|{randperm_ns_per_sample:.0f} ns|'
        '{resident_bytes_per_sample:.1f} B|{peak_bytes_per_sample:.1f} B'
    )
    rows = [(row, each) for each in found['rows']]
    largest = max(found['rows'], key=lambda each: each['num_samples'])
    return [
        written('samples|time a sample|of which permutation|resident|peak', *rows),
        Cells().format(
            'Largest time a sample / smallest: {spread:.2f}; bar <= 2, {spread:<=2}. At the '
            'largest size, where the rest of the process is negligible: resident {resident:.1f} '
            'bytes, bar <= 12, {resident:<=12}; peak {peak:.1f} bytes, bar <= 40, {peak:<=40}.',
            spread=found['spread'],
            resident=largest['resident_bytes_per_sample'],
            peak=largest['peak_bytes_per_sample'],
        ),
    ]


def step(found: Found) -> Parts:
    """Bar 3."""
    row = (
        '{task}|{batch_size}|{heads}|{before_step:us}|{losses:us}|{after_step:us}|{added:us}|'
        '<= 50 us|{added:<=50e-6}|{warm_losses:us}|{collectives_in_steps}|'
        '{merge_bytes_per_sample:.0f} B a sample'
    )
    head = (
        'task|batch|losses|before the step|in the losses|after the step|added|bar||'
        'losses, caches warm|collectives in steps|merge'
    )
    return [written(head, *((row, each) for each in found['rows']))]


def loss(found: Found) -> Parts:
    """Bar 5."""
    time = 'time|{bare:ms}|{wrapped:ms}|{time_ratio:.3f}|<= 1.02|{time_ratio:<=1.02}'
    memory = (
        'peak memory beyond the logits|{bare_peak:.0fMiB}|{wrapped_peak:.0fMiB}|'
        '{memory_ratio:.3f}|<= 1.05|{memory_ratio:<=1.05}'
    )
    shape = ', '.join(map(str, found['shape']))
    return [
        f'Cross entropy at [{shape}], forward and backward, on {found["device"]}:',
        written('|bare|wrapped|ratio|bar|', (time, found), (memory, found)),
    ]


def efficiency(found: Found) -> Parts:
    """Bar 6."""
    samples = 'samples|{bare_samples:,.0f}|{ours_samples:,.0f}|{samples_saved:.1%}|-|-|-'
    rows = [(samples, found)]
    for key, name in (
        ('wall', 'wall time'),
        ('cpu', 'processor time'),
        ('median_iterations', 'iterations x their median processor time'),
    ):
        row = f'{name}|{{bare_{key}:.1f}} s|{{ours_{key}:.1f}} s|{{{key}_saved:.1%}}|'
        share = f'{key}_efficiency'
        known = f'{{{share}:.3f}}|>= 0.97|{{{share}:>=0.97}}'
        rows.append((row + (known if found[share] is not None else '-|>= 0.97|-'), found))
    return [
        f'The demo config, {found["iterations"]} iterations as the schedule, '
        f'{found["repeats"]} runs of each kind, alternating, without validation:',
        written('|all data|InfoBatch|saved|efficiency|bar|', *rows),
    ]


def cuda(found: Found) -> Parts:
    """Bar 4."""
    if not found['run']:
        return [f'Not run: {found["why"]}.']
    row = (
        '{model}|{mode}|{bare:ms}|{ours:ms}|{ratio:.4f}|<= 1.005|{ratio:<=1.005}|'
        '{extra_bytes:.1fMiB}'
    )
    rows = [(row, dict(each, mode='on' if each['amp'] else 'off')) for each in found['rows']]
    return [
        f'On {found["device"]}. Hook and losses do not wait for the device.',
        written('model|AMP|without|with|ratio|bar||extra memory', *rows),
    ]


TITLES: Dict[str, Tuple[str, Callable[[Found], Parts]]] = dict(
    planning=('Planning a pass', planning),
    tracking=('What is tracked', tracking),
    scaling=('From 10^5 to 10^8 samples', scaling),
    step=('In a training step', step),
    cuda=('On a GPU', cuda),
    loss=('The loss per pixel', loss),
    efficiency=('A whole run', efficiency),
)


def text(result: Found) -> str:
    """All tables, as Markdown.

    Args:
        result (dict): What ``benchmark_overhead.py --json`` keeps.
    """
    parts = [
        f'Python {result["python"]}, PyTorch {result["torch"]}, mmengine '
        f'{result["mmengine"]}, {result["machine"]}, {result["cores"]} cores, '
        f'{result["threads"]} thread(s) used; load average at the start {result["load"]:.1f}.'
    ]
    for section, (title, write) in TITLES.items():
        if section in result:
            parts += [f'### {title}', *write(result[section])]
    return '\n\n'.join(parts)
