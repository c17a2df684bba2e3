"""The tool that compares the scores of a pass with those of the next one."""

import json
import sys

import pytest
import torch
from toolbox_runs import (
    classification_config,
    segmentation_config,
    write_classification_data,
    write_segmentation_data,
)

import score_repeatability
from experiment_engine import measurements
from mm_infobatch import convert

NAN = float('nan')


def test_correlation_and_shares_are_those_computed_by_hand():
    # Without the sample that has one score: ranks 0 1 2 3 and 1 0 2 3, so 1 - 6 * 2 / (4 * 15).
    # The means are 2.5 and 3.25, below which lie samples 0 and 1, and 0, 1 and 2.
    found = score_repeatability.repeatability(
        torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0]), torch.tensor([2.0, 1.0, 3.0, 7.0, NAN])
    )
    assert found == pytest.approx(dict(rank_correlation=0.8, below=0.75, below_again=1.0))


def test_scores_of_chance_say_nothing():
    """The deviation of the correlation is 0.0032; more than 0.02 comes once in 10^9 runs."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 100_000, generator=generator)
    found = score_repeatability.repeatability(first, second)
    assert abs(found['rank_correlation']) < 0.02
    assert abs(found['below_again'] - found['below']) < 0.02


@pytest.mark.parametrize('passes, pairs', [(8, 6), (20, 16)])
def test_passes_of_annealing_are_left_out(passes, pairs):
    """Of 8 passes the last anneals, so 0 to 6 are compared; the last is never given."""
    losses = [torch.rand(9) for _ in range(passes - 1)]
    assert len(score_repeatability.compare_passes(losses)) == pairs


def test_moving_averages_tell_the_next_loss_where_losses_are_noisy():
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(1000, generator=generator)
    losses = [mean + torch.rand(1000, generator=generator) for _ in range(19)]
    latest, smooth = (score_repeatability.compare_passes(losses, each) for each in (0.0, 0.8))
    assert latest[0] == smooth[0]
    # Noise and mean have one variance, of which an average of 0.8 leaves 1/9 of the noise: the
    # correlations are 1/2 and 1 / sqrt(2 * 10/9).
    assert latest[-1]['rank_correlation'] == pytest.approx(0.5, abs=0.08)
    assert smooth[-1]['rank_correlation'] == pytest.approx(0.67, abs=0.08)


@pytest.mark.parametrize(
    'write, config',
    [
        (write_classification_data, classification_config),
        (write_segmentation_data, segmentation_config),
    ],
    ids=['by epoch', 'by iteration'],
)
def test_the_tool_trains_on_all_data_and_keeps_every_pass_but_the_last(tmp_path, write, config):
    write(tmp_path / 'data')
    path = tmp_path / 'config.py'
    convert(config(str(tmp_path / 'data'), str(tmp_path / 'run'))).dump(path)
    settings = dict(config=str(path), options={'randomness.seed': 3})
    tables = score_repeatability.train(settings, str(tmp_path / 'run'))
    assert all(table.isfinite().all() for table in tables)
    assert len({tuple(table.tolist()) for table in tables}) == len(tables) >= 2


def test_the_table_has_the_means(tmp_path):
    latest = [
        dict(rank_correlation=0.3, below=0.5, below_again=0.6),
        dict(rank_correlation=0.5, below=0.7, below_again=0.9),
    ]
    smoothing = {'0.0': latest, '0.8': [dict(latest[0], rank_correlation=0.64)]}
    record = dict(experiment='camvid_lite0', num_samples=1367, smoothing=smoothing)
    (tmp_path / 'one.json').write_text(json.dumps(record))
    first, second = measurements.repeatability(tmp_path).splitlines()[2:]
    for cell in ('1,367', 'latest loss', '0.40', '60.0%', '75.0%'):
        assert cell in first
    for cell in ('moving average, 0.8', '0.64', '50.0%', '60.0%'):
        assert cell in second
    with pytest.raises(ValueError, match='no record'):
        measurements.repeatability(tmp_path / 'none')


@pytest.mark.parametrize('content', [None, 'no JSON', '{}', '{"settings": null}'])
def test_what_is_no_record_of_a_run_is_one_line(content, tmp_path, monkeypatch, capsys):
    record = tmp_path / 'record.json'
    if content is not None:
        record.write_text(content)
    monkeypatch.setattr(sys, 'argv', ['x.py', str(record), '--out', str(tmp_path / 'out.json')])
    with pytest.raises(SystemExit, match='2'):
        score_repeatability.main()
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'error: {record} is not the record of a run of an experiment' in line
