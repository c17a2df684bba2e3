"""The tables of overhead, from the figures of ``benchmark_overhead.py``."""

from typing import Any, Callable, Dict, List, Sequence, Tuple

from .markdown import table

Found = Dict[str, Any]
Parts = List[str]  # paragraphs and tables


def verdict(holds: bool) -> str:
    """Whether a bar is met."""
    return 'met' if holds else '**missed**'


def ms(seconds: float) -> str:
    """Milliseconds."""
    return f'{seconds * 1e3:.1f} ms'


def mib(size: float, digits: int = 0) -> str:
    """Mebibytes."""
    return f'{size / 2**20:.{digits}f} MiB'


def plain(head: str, rows: List[List[str]]) -> str:
    """A table whose head is given as words between bars."""
    return table([head.split('|'), *rows], aligned=False)


def planning(found: Found) -> Parts:
    """Bar 1."""
    rows = []
    for each in found['rows']:
        bar = 1.0 if each['world_size'] == 1 else 0.5
        rows.append(
            [
                str(each['world_size']),
                f'{each["kept"]:.1%}',
                ms(each['ours']),
                ms(each['default']),
                f'{each["ratio"]:.2f}',
                f'<= {bar}',
                verdict(each['ratio'] <= bar),
            ]
        )
    parts = [
        f'Planning a pass of {found["num_samples"]:,} samples on rank 0:',
        plain('ranks|kept|ours|DefaultSampler|ratio|bar|', rows),
    ]
    if 'faster_than_reference' in found:
        times = found['faster_than_reference']
        parts.append(
            f'The published implementation takes {ms(found["rows"][0]["reference"])} for '
            'threshold, draw and shuffle alone (without merge and handing out): '
            f'{times:.1f} times ours; bar >= 4, {verdict(times >= 4)}.'
        )
    return parts


def scaling(found: Found) -> Parts:
    """Bar 2."""
    rows = [
        [
            f'{each["num_samples"]:,}',
            f'{each["ns_per_sample"]:.0f} ns',
            f'{each["randperm_ns_per_sample"]:.0f} ns',
            f'{each["resident_bytes_per_sample"]:.1f} B',
            f'{each["peak_bytes_per_sample"]:.1f} B',
        ]
        for each in found['rows']
    ]
    largest = max(found['rows'], key=lambda each: each['num_samples'])
    resident, peak = largest['resident_bytes_per_sample'], largest['peak_bytes_per_sample']
    return [
        plain('samples|time a sample|of it the permutation|resident|peak', rows),
        f'Spread of the time a sample: {found["spread"]:.2f}; bar <= 2, '
        f'{verdict(found["spread"] <= 2)}. At the largest size, where the rest of the '
        f'process does not show: resident {resident:.1f} bytes, bar <= 12, '
        f'{verdict(resident <= 12)}; peak {peak:.1f} bytes, bar <= 40, '
        f'{verdict(peak <= 40)}.',
    ]


def step(found: Found) -> Parts:
    """Bar 3."""
    parts = ('before_step', 'losses', 'after_step', 'added')
    rows = [
        [
            each['task'],
            str(each['batch_size']),
            str(each['heads']),
            *(f'{each[part] * 1e6:.0f} us' for part in parts),
            '<= 50 us',
            verdict(each['added'] <= 50e-6),
            f'{each["warm_losses"] * 1e6:.0f} us',
            str(each['collectives_in_steps']),
            f'{each["merge_bytes_per_sample"]:.0f} B a sample',
        ]
        for each in found['rows']
    ]
    head = 'task|batch|losses|before the step|in the losses|after the step|added|bar||'
    return [plain(head + 'losses, caches warm|collectives in steps|merge', rows)]


def loss(found: Found) -> Parts:
    """Bar 5."""
    shape = ', '.join(map(str, found['shape']))
    rows = [
        [name, write(found[f'bare{key}']), write(found[f'wrapped{key}'])]
        + [f'{found[ratio]:.3f}', f'<= {bar}', verdict(found[ratio] <= bar)]
        for name, key, write, ratio, bar in LOSS_ROWS
    ]
    return [
        f'Cross entropy at [{shape}], forward and backward, on {found["device"]}:',
        plain('|bare|wrapped|ratio|bar|', rows),
    ]


LOSS_ROWS: Sequence[Tuple[str, str, Callable[[float], str], str, float]] = (
    ('time', '', ms, 'time_ratio', 1.02),
    ('peak memory beyond the logits', '_peak', mib, 'memory_ratio', 1.05),
)


def efficiency(found: Found) -> Parts:
    """Bar 6."""
    samples = [f'{found[f"{side}_samples"]:,.0f}' for side in ('bare', 'ours')]
    rows = [['samples', *samples, f'{found["samples_saved"]:.1%}', '-', '-', '-']]
    for key, name in (
        ('wall', 'wall time'),
        ('cpu', 'processor time'),
        ('median_iterations', 'iterations x their median processor time'),
    ):
        times = [f'{found[f"{side}_{key}"]:.1f} s' for side in ('bare', 'ours')]
        share = found[f'{key}_efficiency']
        ends = ['-', '>= 0.97', '-']
        if share is not None:
            ends = [f'{share:.3f}', '>= 0.97', verdict(share >= 0.97)]
        rows.append([name, *times, f'{found[f"{key}_saved"]:.1%}', *ends])
    return [
        f'The demo config, {found["iterations"]} iterations as the schedule, '
        f'{found["repeats"]} runs of each kind in turns, validation aside:',
        plain('|all data|InfoBatch|saved|efficiency|bar|', rows),
    ]


def cuda(found: Found) -> Parts:
    """Bar 4."""
    if not found['run']:
        return [f'Not run: {found["why"]}.']
    rows = [
        [
            each['model'],
            'on' if each['amp'] else 'off',
            ms(each['bare']),
            ms(each['ours']),
            f'{each["ratio"]:.4f}',
            '<= 1.005',
            verdict(each['ratio'] <= 1.005),
            mib(each['extra_bytes'], 1),
        ]
        for each in found['rows']
    ]
    return [
        f'On {found["device"]}. No wait for the device in hook and losses.',
        plain('model|AMP|without|with|ratio|bar||extra memory', rows),
    ]


TITLES: Dict[str, Tuple[str, Callable[[Found], Parts]]] = dict(
    planning=('Planning a pass', planning),
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
