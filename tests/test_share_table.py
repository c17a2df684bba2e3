"""The table of methods by the share that they skip."""

import json

import pytest

from experiment_engine import share_table

EXPERIMENT = """
title = 'Demo: LeNet-5'
config = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
seeds = [0, 1, 2]
_RANDOM = dict(policy=dict(type='RandomPruning', prune_ratio=0.3))
arms = [
    dict(name='all', label='all data'),
    *(
        dict(name=f'{name}_{share}', label=f'{label}, {share} %', infobatch=_RANDOM)
        for name, label in (('random', 'Random*'), ('ucb', 'UCB'))
        for share in (30, 50)
    ),
    dict(name='default', label='InfoBatch, default', infobatch={}),
    dict(name='control_30', label='fewer iterations, 30 %', control_of='random_30'),
    dict(name='later', label='Later, 30 %', infobatch=_RANDOM),
    dict(name='settled', label='IES', infobatch=dict(policy=dict(type='IES'))),
    dict(name='selection', label='a run to select by', infobatch={}, keep_checkpoints=True),
]
"""


def write_record(root, name, seed, metric, saving=None, samples=100, seconds=60.0):
    totals = dict(passes={}, totals=dict(saving=saving, seconds_choosing=2.0))
    content = dict(
        settings=None,
        starts=None,
        train={},
        metrics={'iter': [4], 'accuracy/top1': [metric]},
        infobatch=None if saving is None else totals,
        iterations=4,
        samples=samples,
        seconds=seconds,
        notes=[],
    )
    folder = root / 'records' / 'demo'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}_seed{seed}.json').write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'demo.py').write_text(EXPERIMENT)
    return tmp_path


def rows_of(root):
    text = share_table.text('demo', root, root)
    lines = [line for line in text.splitlines() if line.startswith('|')]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return text.splitlines()[0], rows[0], {row[0]: row[1:] for row in rows[2:]}


def test_a_method_is_a_row_with_a_column_for_each_share(root):
    for seed, shift in enumerate((-0.1, 0.0, 0.1)):
        write_record(root, 'all', seed, 90 + shift, seconds=120.0)
        write_record(root, 'random_30', seed, 89 + shift, saving=0.3, seconds=90.0)
        write_record(root, 'random_50', seed, 88 + shift, saving=0.46)
        write_record(root, 'ucb_30', seed, 91 + shift, saving=0.299)
        write_record(root, 'default', seed, 89 + shift, saving=0.33)
        write_record(root, 'control_30', seed, 90 + shift, samples=70)
        write_record(root, 'settled', seed, 90 + shift, saving=0.0)
        write_record(root, 'selection', seed, 80 + shift, saving=0.0)
    write_record(root, 'ucb_50', 0, 85.0, saving=0.5)
    head, columns, rows = rows_of(root)
    assert head == 'Differences to all data, which ends at 90.00 ± 0.10 (n=3) in 2 min 00 s:'
    assert columns[1:] == ['n', '30 %', '50 %', 'another saving', 'training time', 'extra time']
    assert rows['Random*'] == [
        '3',
        '-1.00 [-1.23, -0.77] ↓',
        '-2.00 [-2.23, -1.77] at 46.0 %',
        '-',
        '1 min 30 s',
        '2.0 s',
    ]
    assert rows['UCB'][:3] == ['3, 1', '+1.00 [+0.77, +1.23] ↑', '-5.00 (too few runs)']
    assert rows['InfoBatch, default'][1:4] == ['-', '-', '-1.00 [-1.23, -0.77] at 33.0 %']
    assert rows['fewer iterations'][1] == '+0.00 [-0.23, +0.23]'
    assert rows['IES'][3] == '+0.00 [-0.23, +0.23] at 0.0 %'
    assert not rows.keys() & {'Later', 'all data', 'a run to select by'}


def test_one_run_of_the_control_tells_nothing_of_significance(root):
    for seed in (0, 1):
        write_record(root, 'all', seed, 90.0)
        write_record(root, 'random_30', seed, 80.0 + seed, saving=0.3)
    write_record(root, 'control_30', 0, 90.0, samples=70)
    assert '↓' not in rows_of(root)[2]['Random*'][1]


def test_an_experiment_without_a_record_is_refused(root):
    with pytest.raises(ValueError, match='shares: demo: there is no record of a method'):
        share_table.text('demo', root, root)
