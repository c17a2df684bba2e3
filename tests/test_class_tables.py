"""The table of an experiment with the IoU of each class."""

import json
from types import SimpleNamespace

import pytest

from experiment_engine import class_tables


def write_record(folder, name, metrics):
    content = dict(
        settings=None,
        starts=None,
        train={},
        metrics=metrics,
        infobatch=None,
        iterations=4,
        samples=None,
        seconds=None,
        notes=[],
    )
    folder.mkdir(exist_ok=True)
    (folder / f'{name}.json').write_text(json.dumps(content))


def experiment(*names):
    arms = {
        name: SimpleNamespace(owner='demo', name=name, label=name, seeds=(0, 1)) for name in names
    }
    return SimpleNamespace(name='demo', arms=arms)


def test_a_row_has_the_mean_of_the_last_validations_of_all_seeds(tmp_path):
    for seed, car in ((0, 30.0), (1, 31.0)):
        metrics = {'iter': [2, 4], 'mIoU': [1.0, 2.0], 'IoU.car': [9.0, car], 'IoU.sky': [1, 80]}
        write_record(tmp_path / 'demo', f'all_seed{seed}', metrics)
    write_record(tmp_path / 'demo', 'pruned_seed0', {'iter': [4], 'mIoU': [2.0]})
    text = class_tables.table(experiment('all', 'pruned', 'missing'), tmp_path)
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    assert rows[0] == ['run', 'n', 'car', 'sky']
    assert rows[2:] == [['all', '2', '30.5', '80.0'], ['pruned', '1', '-', '-']]


def test_runs_without_the_iou_of_classes_are_refused(tmp_path):
    write_record(tmp_path / 'demo', 'all_seed0', {'iter': [4], 'mIoU': [2.0]})
    with pytest.raises(ValueError, match='demo: no run has logged IoU'):
        class_tables.table(experiment('all'), tmp_path)
