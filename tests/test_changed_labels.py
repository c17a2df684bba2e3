"""The tool that counts changed labels among the hardest samples."""

import sys

import numpy as np
import pytest

import find_changed_labels
from experiment_engine import measurements


def test_a_share_of_the_labels_becomes_another_class():
    labels = np.arange(1000) % 10
    changed, chosen = find_changed_labels.changed_labels(labels, 0.02, seed=0)
    assert len(chosen) == len(set(chosen)) == 20
    assert set(changed) <= set(range(10)) and (changed[chosen] != labels[chosen]).all()
    rest = np.setdiff1d(np.arange(1000), chosen)
    assert (changed[rest] == labels[rest]).all()


def test_the_choice_follows_the_seed():
    labels = np.arange(1000) % 10
    first, again, other = (
        find_changed_labels.changed_labels(labels, 0.02, seed)[1] for seed in (3, 3, 4)
    )
    assert (first == again).all() and (first != other).any()


def test_the_share_found_is_that_among_the_highest_values():
    values = np.array([5.0, 1.0, np.nan, 4.0, 3.0])
    assert find_changed_labels.share_found(values, np.array([0, 4]), 2) == 0.5
    assert find_changed_labels.share_found(values, np.array([0, 3]), 2) == 1
    assert find_changed_labels.share_found(values, np.array([2]), 4) == 0


def test_only_the_labels_of_the_copy_change(tmp_path):
    source = tmp_path / 'data'
    source.mkdir()
    labels = bytes(range(10)) * 10
    (source / find_changed_labels.LABELS).write_bytes(b'12345678' + labels)
    (source / 'images').write_bytes(b'images')
    chosen = find_changed_labels.write_data(source, tmp_path / 'copy', 0.1, 0)
    copy = (tmp_path / 'copy' / find_changed_labels.LABELS).read_bytes()
    assert copy[:8] == b'12345678' and (tmp_path / 'copy' / 'images').read_bytes() == b'images'
    assert [i for i in range(100) if copy[8 + i] != labels[i]] == list(chosen)
    assert (source / find_changed_labels.LABELS).read_bytes()[8:] == labels


def test_the_table_has_each_seed_and_the_mean():
    found = {'0': dict(latest_loss=0.5), '1': dict(latest_loss=0.7)}
    text = measurements.changed_labels(dict(found=found))
    assert 'latest loss' in text and '50.0 %' in text and '70.0 %' in text and '60.0 %' in text


def test_a_folder_without_the_labels_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['x.py', str(tmp_path), '--out', str(tmp_path / 'out.json')])
    with pytest.raises(SystemExit, match='2'):
        find_changed_labels.main()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        f'error: {tmp_path} has no train-labels-idx1-ubyte: give the folder of its idx files'
    )
