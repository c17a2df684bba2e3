"""The tables of overhead, from the figures of ``benchmark_overhead.py``."""

from typing import Any, Dict, List


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f'| {" | ".join(cells)} |'


def head(*cells: str) -> List[str]:
    """The first two rows of a Markdown table."""
    return [row(*cells), row(*['---'] * len(cells))]


def verdict(holds: bool) -> str:
    """Whether a bar is met."""
    return 'met' if holds else '**missed**'


def ms(seconds: float) -> str:
    """Milliseconds."""
    return f'{seconds * 1e3:.1f} ms'


def planning(found: Dict[str, Any]) -> List[str]:
    """Bar 1."""
    lines = [
        f'Planning a pass of {found["num_samples"]:,} samples on rank 0:',
        '',
        *head('ranks', 'kept', 'ours', 'DefaultSampler', 'ratio', 'bar', ''),
    ]
    for each in found['rows']:
        bar = 1.0 if each['world_size'] == 1 else 0.5
        lines.append(
            row(
                str(each['world_size']),
                f'{each["kept"]:.1%}',
                ms(each['ours']),
                ms(each['default']),
                f'{each["ratio"]:.2f}',
                f'<= {bar}',
                verdict(each['ratio'] <= bar),
            )
        )
    if 'faster_than_reference' in found:
        times = found['faster_than_reference']
        lines += [
            '',
            f'The published implementation takes {ms(found["rows"][0]["reference"])} for '
            'threshold, draw and shuffle alone, without merge and iteration: '
            f'{times:.1f} times ours; bar >= 4, {verdict(times >= 4)}.',
        ]
    return lines


def scaling(found: Dict[str, Any]) -> List[str]:
    """Bar 2."""
    lines = head('samples', 'time a sample', 'of which permutation', 'resident', 'peak')
    for each in found['rows']:
        lines.append(
            row(
                f'{each["num_samples"]:,}',
                f'{each["ns_per_sample"]:.0f} ns',
                f'{each["randperm_ns_per_sample"]:.0f} ns',
                f'{each["resident_bytes_per_sample"]:.1f} B',
                f'{each["peak_bytes_per_sample"]:.1f} B',
            )
        )
    largest = max(found['rows'], key=lambda each: each['num_samples'])
    resident, peak = largest['resident_bytes_per_sample'], largest['peak_bytes_per_sample']
    return [
        *lines,
        '',
        f'Largest time a sample / smallest: {found["spread"]:.2f}; bar <= 2, '
        f'{verdict(found["spread"] <= 2)}. At the largest size, where the rest of the '
        f'process is negligible: resident {resident:.1f} bytes, bar <= 12, '
        f'{verdict(resident <= 12)}; peak {peak:.1f} bytes, bar <= 40, '
        f'{verdict(peak <= 40)}.',
    ]


def step(found: Dict[str, Any]) -> List[str]:
    """Bar 3."""
    lines = head(
        'task',
        'batch',
        'losses',
        'before the step',
        'in the losses',
        'after the step',
        'added',
        'bar',
        '',
        'losses, caches warm',
        'collectives in steps',
        'merge',
    )
    for each in found['rows']:
        lines.append(
            row(
                each['task'],
                str(each['batch_size']),
                str(each['heads']),
                *(
                    f'{each[part] * 1e6:.0f} us'
                    for part in ('before_step', 'losses', 'after_step', 'added')
                ),
                '<= 50 us',
                verdict(each['added'] <= 50e-6),
                f'{each["warm_losses"] * 1e6:.0f} us',
                str(each['collectives_in_steps']),
                f'{each["merge_bytes_per_sample"]:.0f} B a sample',
            )
        )
    return lines


def loss(found: Dict[str, Any]) -> List[str]:
    """Bar 5."""
    shape = ', '.join(map(str, found['shape']))
    return [
        f'Cross entropy at [{shape}], forward and backward, on {found["device"]}:',
        '',
        *head('', 'bare', 'wrapped', 'ratio', 'bar', ''),
        row(
            'time',
            ms(found['bare']),
            ms(found['wrapped']),
            f'{found["time_ratio"]:.3f}',
            '<= 1.02',
            verdict(found['time_ratio'] <= 1.02),
        ),
        row(
            'peak memory beyond the logits',
            f'{found["bare_peak"] / 2**20:.0f} MiB',
            f'{found["wrapped_peak"] / 2**20:.0f} MiB',
            f'{found["memory_ratio"]:.3f}',
            '<= 1.05',
            verdict(found['memory_ratio'] <= 1.05),
        ),
    ]


def efficiency(found: Dict[str, Any]) -> List[str]:
    """Bar 6."""
    lines = [
        f'The demo config, {found["iterations"]} iterations as the schedule, '
        f'{found["repeats"]} runs of each kind, alternating, without validation:',
        '',
        *head('', 'all data', 'InfoBatch', 'saved', 'efficiency', 'bar', ''),
        row(
            'samples',
            f'{found["bare_samples"]:,.0f}',
            f'{found["ours_samples"]:,.0f}',
            f'{found["samples_saved"]:.1%}',
            '-',
            '-',
            '-',
        ),
    ]
    for key, name in (
        ('wall', 'wall time'),
        ('cpu', 'processor time'),
        ('median_iterations', 'iterations x their median processor time'),
    ):
        share = found[f'{key}_efficiency']
        lines.append(
            row(
                name,
                f'{found[f"bare_{key}"]:.1f} s',
                f'{found[f"ours_{key}"]:.1f} s',
                f'{found[f"{key}_saved"]:.1%}',
                '-' if share is None else f'{share:.3f}',
                '>= 0.97',
                '-' if share is None else verdict(share >= 0.97),
            )
        )
    return lines


def cuda(found: Dict[str, Any]) -> List[str]:
    """Bar 4."""
    if not found['run']:
        return [f'Not run: {found["why"]}.']
    lines = [
        f'On {found["device"]}. Hook and losses do not wait for the device.',
        '',
        *head('model', 'AMP', 'without', 'with', 'ratio', 'bar', '', 'extra memory'),
    ]
    for each in found['rows']:
        lines.append(
            row(
                each['model'],
                'on' if each['amp'] else 'off',
                ms(each['bare']),
                ms(each['ours']),
                f'{each["ratio"]:.4f}',
                '<= 1.005',
                verdict(each['ratio'] <= 1.005),
                f'{each["extra_bytes"] / 2**20:.1f} MiB',
            )
        )
    return lines


TITLES = dict(
    planning=('Planning a pass', planning),
    scaling=('From 10^5 to 10^8 samples', scaling),
    step=('In a training step', step),
    cuda=('On a GPU', cuda),
    loss=('The loss per pixel', loss),
    efficiency=('A whole run', efficiency),
)


def text(result: Dict[str, Any]) -> str:
    """All tables, as Markdown.

    Args:
        result (dict): What ``benchmark_overhead.py --json`` keeps.
    """
    lines = [
        f'Python {result["python"]}, PyTorch {result["torch"]}, mmengine '
        f'{result["mmengine"]}, {result["machine"]}, {result["cores"]} cores, '
        f'{result["threads"]} thread(s) used; load average at the start {result["load"]:.1f}.'
    ]
    for section, (title, write) in TITLES.items():
        if section in result:
            lines += ['', f'### {title}', '', *write(result[section])]
    return '\n'.join(lines)
