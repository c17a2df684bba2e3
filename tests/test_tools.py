"""The tools: data maker, table, figure, arguments, launchers. No network, seeded, on the CPU."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.visualization import LocalVisBackend
from PIL import Image

import make_segmentation_data
from mm_infobatch import cli
from mm_infobatch.cli import common, launch, plot, report_file, resume, run_logs, summarize
from mm_infobatch.cli import test as test_tool
from mm_infobatch.cli import train as train_tool

ROOT = Path(__file__).resolve().parent.parent


# ------------------------------------------------------------------ data maker


def make_data(out, train=6, val=2, size=(24, 32), seed=0):
    counts = {'training': train, 'validation': val}
    make_segmentation_data.write_set(out, counts, size, seed)
    return {path.relative_to(out): path.read_bytes() for path in out.rglob('*') if path.is_file()}


def test_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path):
    first = make_data(tmp_path / 'a')
    assert make_data(tmp_path / 'b') == first
    other = make_data(tmp_path / 'c', seed=1)
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if name.suffix == '.jpg')


def test_a_larger_set_begins_with_the_smaller_one(tmp_path):
    small, large = make_data(tmp_path / 'a'), make_data(tmp_path / 'b', train=9, val=3)
    for name, content in small.items():
        if name.suffix in ('.jpg', '.png'):
            assert large[name] == content


def test_layout_and_labels_are_those_of_ade20k(tmp_path):
    names = make_data(tmp_path, train=40, val=3)
    seen = np.zeros(256, dtype=bool)
    for split, prefix, count in [('training', 'ADE_train', 40), ('validation', 'ADE_val', 3)]:
        for index in range(1, count + 1):
            stem = f'{prefix}_{index:08d}'
            with Image.open(tmp_path / 'images' / split / f'{stem}.jpg') as image:
                assert (image.size, image.mode) == ((32, 24), 'RGB')
            with Image.open(tmp_path / 'annotations' / split / f'{stem}.png') as labels:
                assert (labels.size, labels.mode) == ((32, 24), 'L')
                seen[np.unique(labels)] = True
    assert seen[:9].all(), 'all classes and unlabelled pixels occur'
    assert not seen[9:].any()
    assert len(names) == 2 * 43 + 2
    lines = (tmp_path / 'objectInfo.txt').read_text().splitlines()
    assert [line.split('\t')[5] for line in lines[1:]] == list(make_segmentation_data.CLASSES)


def test_scenes_vary_in_difficulty_and_most_are_easy():
    scenes = [
        make_segmentation_data.make_scene((48, 48), np.random.default_rng(i)) for i in range(100)
    ]
    hardness = np.array([scene.hardness for scene in scenes])
    noise = np.array(
        [np.abs(np.diff(scene.image.astype(float), axis=0)).mean() for scene in scenes]
    )
    assert np.quantile(hardness, 0.1) < 0.05 and np.quantile(hardness, 0.9) > 0.6
    assert np.median(hardness) < hardness.mean()
    assert np.corrcoef(hardness, noise)[0, 1] > 0.8


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--train', '0'], '--train is 0, but must be at least 1'),
        (['--size', '64', '8'], '--size is 8, but must be at least 16'),
        (['--seed', '-1'], '--seed is -1, but must be at least 0'),
    ],
)
def test_data_maker_refuses_what_it_cannot_draw(tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        make_segmentation_data.main([str(tmp_path / 'out'), *arguments])
    assert not (tmp_path / 'out').exists()


def test_data_maker_does_not_mix_with_an_older_set(tmp_path):
    make_data(tmp_path)
    with pytest.raises(SystemExit, match='already has images: remove it'):
        make_segmentation_data.main([str(tmp_path)])


# --------------------------------------------------------------- reading a run


def write_session(work_dir, rows, stamp='20260101_000000', log='', **settings):
    """Write a session's scalars and config through mmengine, and its text log."""
    backend = LocalVisBackend(str(work_dir / stamp / 'vis_data'))
    config = dict(
        train_dataloader=dict(batch_size=4),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=60),
        default_hooks=dict(logger=dict(interval=10, log_metric_by_epoch=False)),
        launcher='none',
    )
    config.update(settings)
    backend.add_config(Config(config))
    for row in rows:
        backend.add_scalars(row, step=row['step'])
    (work_dir / stamp / f'{stamp}.log').write_text(log)


def train_row(iteration, loss=1.0, time=0.5, **more):
    return dict(loss=loss, time=time, data_time=0.1, iter=iteration, step=iteration, **more)


def metric_row(step, **metrics):
    return dict(metrics, time=9.0, data_time=9.0, step=step)


def infobatch_passes(*passes):
    """The content of infobatch.json for passes given as (iterations, kept, annealing) of 100."""
    records, begin, trained = [], 0, 0
    for index, (iterations, kept, annealing) in enumerate(passes):
        trained += kept
        saving = 1 - trained / (100 * (index + 1))
        records.append(
            {
                'pass': index,
                'begin_iter': begin,
                'iterations': iterations,
                'kept': kept,
                'pruned': 100 - kept,
                'pruned_share': 1 - kept / 100,
                'annealing': annealing,
                'threshold': None,
                'mean_score': None,
                'seconds': 0.25,
                'trained': kept,
                'full': 100,
                'saving': saving,
            }
        )
        begin += iterations
    totals = dict(
        passes=len(passes),
        iterations=begin,
        schedule_iterations=25 * len(passes),
        samples_trained=trained,
        samples_full=100 * len(passes),
        saving=saving,
        seconds_choosing=0.25 * len(passes),
        finished=True,
    )
    settings = dict(pass_length=25, num_samples=100, batch_size=4, world_size=1, delta=0.875)
    return {'version': 1, 'settings': settings, 'passes': records, 'totals': totals}


@pytest.fixture
def baseline(tmp_path):
    rows = [train_row(i, loss=2.0 - i / 50) for i in range(10, 61, 10)]
    rows[3:3] = [metric_row(30, mIoU=20.0, aAcc=50.0)]
    rows.append(metric_row(60, mIoU=31.26, aAcc=70.0))
    write_session(tmp_path / 'baseline', rows)
    return tmp_path / 'baseline'


@pytest.fixture
def pruned(tmp_path):
    rows = [{'infobatch/kept': 100, 'step': 0}]
    rows += [train_row(i, loss=2.0 - i / 40) for i in range(10, 61, 10)]
    rows += [{'infobatch/kept': 60, 'step': 25}, metric_row(65, mIoU=30.0)]
    write_session(tmp_path / 'pruned', rows)
    content = infobatch_passes((25, 100, False), (15, 60, False), (25, 100, True))
    (tmp_path / 'pruned' / 'infobatch.json').write_text(json.dumps(content))
    return tmp_path / 'pruned'


def test_a_baseline_counts_iterations_times_batch_size_times_processes(baseline):
    run = run_logs.read_run(baseline)
    assert (run.iterations, run.samples, run.seconds, run.notes) == (60, 240, 30.0, [])
    log = baseline / '20260101_000000' / '20260101_000000.log'
    log.write_text('    Distributed training: True\n    GPU number: 2\n')
    assert run_logs.read_run(baseline).samples == 480


def test_samples_stay_unknown_where_the_number_of_processes_is(tmp_path):
    write_session(tmp_path, [train_row(60)], launcher='pytorch')
    run = run_logs.read_run(tmp_path)
    assert run.samples is None
    assert run.notes == ['samples unknown: no <timestamp>.log with the number of processes']


def test_infobatch_json_gives_samples_and_saving_and_the_choosing_is_in_the_clock(pruned):
    run = run_logs.read_run(pruned)
    assert (run.iterations, run.samples) == (65, 260)
    assert run.seconds == pytest.approx(65 * 0.5 + 3 * 0.25)
    assert run.samples_at(np.array([0, 25, 40, 65])).tolist() == [0, 100, 160, 260]
    assert run.metric_names() == ['mIoU'], 'what the hook logs is not a metric'


def test_a_resumed_run_is_merged_and_the_later_session_wins(tmp_path):
    write_session(
        tmp_path,
        [train_row(i, loss=1.0) for i in (10, 20, 30, 40)]
        + [metric_row(20, mIoU=1.0), metric_row(40, mIoU=2.0)],
        '20260101_000000',
    )
    write_session(
        tmp_path,
        [train_row(i, loss=5.0) for i in (30, 40, 50, 60)] + [metric_row(40, mIoU=3.0)],
        '20260102_000000',
        '    GPU number: 2\n',
    )
    write_session(tmp_path, [], '20260103_000000')  # a test, or a start that failed
    run = run_logs.read_run(tmp_path)
    assert [(row['iter'], row['loss']) for row in run.train] == [
        (10, 1.0),
        (20, 1.0),
        (30, 5.0),
        (40, 5.0),
        (50, 5.0),
        (60, 5.0),
    ]
    assert run.metric()[2].tolist() == [1.0, 3.0]
    assert run.samples == 20 * 4 + 40 * 8


def test_a_second_run_in_the_same_directory_replaces_the_first(tmp_path):
    write_session(tmp_path, [train_row(i) for i in (10, 20, 30)], '20260101_000000')
    (tmp_path / 'last_checkpoint').write_text('somewhere/iter_1000.pth')
    write_session(tmp_path, [train_row(10, loss=7.0)], '20260102_000000')
    run = run_logs.read_run(tmp_path)
    assert [row['loss'] for row in run.train] == [7.0]
    assert run.iterations == 10


def test_a_later_run_without_infobatch_is_not_read_with_the_report_of_an_earlier_one(tmp_path):
    rows = [train_row(i, loss_all_data=1.0) for i in (10, 20)]
    write_session(tmp_path / 'run', rows, custom_hooks=[dict(type='InfoBatchHook')])
    report = tmp_path / 'run' / 'infobatch.json'
    report.write_text(json.dumps(infobatch_passes((15, 60, False), (5, 20, False))))
    assert run_logs.read_run(tmp_path / 'run').samples == 80
    rows = [train_row(i) for i in range(10, 61, 10)]
    write_session(tmp_path / 'run', rows, stamp='20260102_000000')
    run = run_logs.read_run(tmp_path / 'run')
    assert (run.iterations, run.samples, run.infobatch) == (60, 60 * 4, None)
    assert run.notes == [report_file.OLD_REPORT]
    report.unlink()
    assert run_logs.read_run(tmp_path / 'run').notes == []


def test_a_run_that_goes_on_without_infobatch_is_not_read_with_its_report(tmp_path):
    """From a checkpoint of an earlier mm_infobatch, mmengine goes on logging its last loss over all
    data."""
    rows = [train_row(i, loss_all_data=1.0) for i in (10, 20)]
    write_session(tmp_path, rows, custom_hooks=[dict(type='InfoBatchHook')])
    report = infobatch_passes((15, 60, False), (5, 20, False))
    (tmp_path / 'infobatch.json').write_text(json.dumps(report))
    rows = [train_row(i, loss=3.0, loss_all_data=1.0) for i in (20, 30)]
    write_session(tmp_path, rows, stamp='20260102_000000')
    run = run_logs.read_run(tmp_path)
    assert run.loss()[1].tolist() == [1, 3, 3]
    assert (run.iterations, run.infobatch, run.planned, run.unfinished) == (30, None, None, None)
    assert run.notes == [report_file.OLD_REPORT]


def test_epochs_before_infobatch_count_the_samples_of_the_dataset(tmp_path):
    """98 samples in batches of 4, of which the last one has 2."""
    settings = dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=3))
    write_session(tmp_path, [train_row(i, epoch=i // 25 + 1) for i in (10, 20, 30)], **settings)
    rows = [train_row(i, epoch=2, loss_all_data=1.0) for i in (30, 40)]
    settings['custom_hooks'] = [dict(type='InfoBatchHook')]
    write_session(tmp_path, rows, stamp='20260102_000000', **settings)
    report = infobatch_passes((15, 60, False))
    report['settings']['num_samples'] = 98
    report['passes'][0].update(begin_iter=25, **{'pass': 1})
    (tmp_path / 'infobatch.json').write_text(json.dumps(report))
    run = run_logs.read_run(tmp_path)
    assert run.samples == 98 + 60
    assert run.samples_at(np.array([25, 40])).tolist() == [98, 98 + 60]


def test_metrics_logged_by_epoch_are_placed_at_the_end_of_the_epoch(tmp_path):
    rows = [
        train_row(10, epoch=1),
        metric_row(1, **{'accuracy/top1': 50.0}),
        train_row(22, epoch=2),
        metric_row(2, **{'accuracy/top1': 60.0}),
        {'my_hook/norm': 1.5, 'step': 24},  # what a hook of the user's logs by iterations
    ]
    log = 'Epoch(train)   [1][10/12]  lr: 1\nEpoch(train)   [2][10/12]  lr: 1\n'
    write_session(
        tmp_path,
        rows,
        log=log,
        train_cfg=dict(max_epochs=2),
        default_hooks=dict(logger=dict(interval=10)),
    )
    run = run_logs.read_run(tmp_path)
    name, steps, values = run.metric()
    assert (name, steps.tolist(), values.tolist()) == ('accuracy/top1', [12, 24], [50.0, 60.0])
    assert (run.iterations, run.samples, run.notes) == (24, 96, [])


@pytest.mark.parametrize(
    'val_interval, rows, placed',
    [
        (25, [10, 20, None, 30, 40, 50, None, 60, None], [25, 50, 60]),
        (4, [10, 20], []),
        (4, [None, None, 10, None, None, 20, None, 30, 60], [4, 8, 12, 16, 20]),
        (100, [10, None, 20, 30, 60, None], [10, 60]),  # another interval was in force
        (20, [10, 20, None, 30, 40, None], [20, 40]),  # killed
        (12, [None, 50, 60, None], [48, 60]),  # resumed
    ],
)
def test_metrics_that_a_run_by_iteration_has_logged_by_epoch_are_placed_by_the_interval(
    tmp_path, val_interval, rows, placed
):
    """LoggerHook, whose default is by epoch, logs them all at step 0: there is one epoch."""
    write_session(
        tmp_path,
        [metric_row(0, mIoU=1.0) if row is None else train_row(row) for row in rows],
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=60, val_interval=val_interval),
        default_hooks=dict(logger=dict(interval=10)),
    )
    assert run_logs.read_run(tmp_path).metric()[1].tolist() == placed


def test_a_validation_beside_the_training_takes_the_place_of_no_other(tmp_path):
    settings = dict(
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=60, val_interval=20),
        default_hooks=dict(logger=dict(interval=10)),
    )
    rows = [train_row(20), metric_row(0, mIoU=1.0), train_row(60), metric_row(0, mIoU=3.0)]
    write_session(tmp_path, rows, **settings)
    write_session(tmp_path, [metric_row(0, mIoU=2.0)], '20260101_000001', **settings)
    assert run_logs.read_run(tmp_path).metric()[2].tolist() == [1.0, 3.0]


def test_a_checkpoint_proves_iterations_that_were_not_logged(tmp_path):
    write_session(tmp_path, [train_row(50)], train_cfg=dict(max_iters=57))
    assert run_logs.read_run(tmp_path).notes == ['the logs end at iteration 50 of 57']
    (tmp_path / 'last_checkpoint').write_text('somewhere/iter_57.pth')
    run = run_logs.read_run(tmp_path)
    assert (run.iterations, run.samples, run.notes) == (57, 57 * 4, [])


def test_a_line_cut_off_by_a_kill_is_left_out(baseline):
    path = baseline / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.write_text(path.read_text() + '{"loss": 1.0, "it')
    assert run_logs.read_run(baseline).iterations == 60


def test_time_that_is_only_sampled_is_called_an_estimate(tmp_path):
    write_session(
        tmp_path,
        [train_row(50), train_row(100)],
        train_cfg=dict(max_iters=100),
        default_hooks=dict(logger=dict(interval=50)),
    )
    run = run_logs.read_run(tmp_path)
    assert run.seconds == 50.0
    assert run.notes == [
        'time estimated: the log has the mean of the last 10 of every 50 iterations'
    ]


def test_a_log_with_hierarchy_reads_the_same(tmp_path):
    rows = [
        {'train/loss': 1.0, 'train/time': 0.5, 'iter': 60, 'step': 60},
        {'val/mIoU': 40.0, 'val/time': 1.0, 'step': 60},
    ]
    write_session(tmp_path, rows)
    run = run_logs.read_run(tmp_path)
    assert (run.seconds, run.metric()[0], run.metric()[2].tolist()) == (30.0, 'mIoU', [40.0])


# ------------------------------------------------------------- table and figure


def test_the_table_has_a_row_for_each_run_with_numbers_from_the_logs(baseline, pruned, capsys):
    cli.main(['summarize', str(baseline), str(pruned)])
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert cells[0] == list(summarize.HEADER)
    assert cells[2] == ['baseline', '60', '240', '30.0 s', 'mIoU', '31.26', '31.26 (at 60)', '-']
    assert cells[3] == ['pruned', '65', '260', '33.2 s', 'mIoU', '30.00', '30.00 (at 65)', '13.3 %']
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1


def test_the_table_takes_a_metric_and_labels(baseline, capsys):
    cli.main(['summarize', str(baseline), '--metric', 'aAcc', '--labels', 'all data'])
    assert '| all data | 60 ' in capsys.readouterr().out


def test_runs_of_the_same_name_are_told_apart_by_their_paths(tmp_path, capsys):
    for each in ('first', 'second'):
        write_session(tmp_path / each / 'run', [train_row(60)])
    cli.main(['summarize', *(str(tmp_path / each / 'run') for each in ('first', 'second'))])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split('|')[1].strip() for row in rows] == ['first/run', 'second/run']


def test_a_run_whose_infobatch_json_is_lost_is_not_shown_as_one_without_infobatch(pruned, capsys):
    (pruned / 'infobatch.json').unlink()
    scalars = next(pruned.glob('*/vis_data/scalars.json'))
    text = scalars.read_text().replace('"time": 0.5', '"loss_all_data": 1, "time": 0.5')
    scalars.write_text(text)
    with next(pruned.glob('*/vis_data/config.py')).open('a') as config:
        config.write("\ncustom_hooks = [dict(type='InfoBatchHook')]\n")
    cli.main(['summarize', str(pruned)])
    (note,) = capsys.readouterr().out.split('\n\n')[1:]
    assert note.startswith('pruned: trained with InfoBatch, but there is no infobatch.json: ')
    run = run_logs.read_run(pruned)
    assert run.planned is None and run.unfinished is None


@pytest.mark.parametrize(
    'name, best',
    [
        ('mIoU', 1),
        ('accuracy/top1', 1),
        ('val_loss', 0),
        ('rmse', 0),
        ('abs_rel', 0),
        ('regression/l1_distance', 0),
    ],
)
def test_the_best_value_is_the_lowest_of_a_loss_or_an_error(name, best):
    assert summarize.best_of(name, np.array([1.0, 3.0, np.nan, 2.0])) == best


@pytest.mark.parametrize(
    'seconds, text',
    [(41.96, '42.0 s'), (185.2, '3 min 05 s'), (3599.7, '1 h 00 min'), (7621, '2 h 07 min')],
)
def test_durations_are_written_for_people(seconds, text):
    assert summarize.format_duration(seconds) == text


@pytest.mark.parametrize('subcommand', ['summarize', 'plot'])
@pytest.mark.parametrize(
    'case, message',
    [
        ('missing', 'is not a directory: give the work_dir of a run'),
        ('empty', 'has no training logs: no <timestamp>/vis_data/scalars.json'),
        ('metric', "metric 'mAP' is not in the logs of 'baseline', which have: aAcc, mIoU. Give"),
        ('labels', '--labels has 2 names for 1 work directories'),
        ('version', 'has version 2, but only version 1 can be read'),
        ('broken', 'is not what InfoBatchHook writes'),
        ('binary', "baseline' has no training logs"),
    ],
)
def test_a_bad_input_is_one_clear_error(baseline, tmp_path, capsys, subcommand, case, message):
    arguments = [str(baseline)]
    if case == 'missing':
        arguments = [str(tmp_path / 'nowhere')]
    elif case == 'empty':
        (tmp_path / 'empty').mkdir()
        arguments = [str(tmp_path / 'empty')]
    elif case == 'metric':
        arguments += ['--metric', 'mAP']
    elif case == 'labels':
        arguments += ['--labels', 'a', 'b']
    elif case == 'binary':
        for path in baseline.glob('*/vis_data/scalars.json'):
            path.write_bytes(b'\x85\xff')
    else:
        content = '{"version": 2}' if case == 'version' else '[1, '
        (baseline / 'infobatch.json').write_text(content)
    if subcommand == 'plot':
        arguments += ['--out', str(tmp_path / 'curves.png')]
    with pytest.raises(SystemExit) as error:
        cli.main([subcommand, *arguments])
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'mm-infobatch {subcommand}: error: ') and message in line
    assert not (tmp_path / 'curves.png').exists()


@pytest.mark.parametrize('x', list(plot.AXES))
def test_the_figure_is_written_for_each_x_axis(baseline, pruned, tmp_path, x):
    out = tmp_path / 'new' / 'curves.png'
    cli.main(['plot', str(baseline), str(pruned), '--out', str(out), '--x', x])
    with Image.open(out) as image:
        assert image.size[0] == 1280


def test_the_figure_is_written_where_the_message_says(baseline, tmp_path, capsys):
    cli.main(['plot', str(baseline), '--out', str(tmp_path / 'curves')])
    assert capsys.readouterr().out == f'wrote {tmp_path / "curves.png"}\n'
    assert (tmp_path / 'curves.png').is_file()
    with pytest.raises(SystemExit, match='2'):
        cli.main(['plot', str(baseline), '--out', str(tmp_path)])
    assert 'is a directory: give the name of a file' in capsys.readouterr().err


def test_the_figure_shows_losses_metrics_and_pruned_shares(baseline, pruned):
    runs = [run_logs.read_run(path) for path in (baseline, pruned)]
    figure = plot.draw(runs, ['_a', '$b_{$'])
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert labels == ['training loss', 'mIoU', 'pruned in pass']
    names = figure.axes[0].get_legend().get_texts()
    assert [name.get_text() for name in names] == ['_a', '$b_{$']
    figure.savefig(io.BytesIO())  # where matplotlib would read a formula
    steps = figure.axes[2].patches[0].get_data()
    assert steps.edges.tolist() == [0, 25, 40, 65]
    assert steps.values.tolist() == pytest.approx([0, 0.4, 0])
    assert len(plot.draw(runs[:1], ['a']).axes) == 2, 'nothing was pruned: no third panel'
    eight = plot.draw(runs[:1] * 8, list('abcdefgh')).axes[0].get_legend().get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in eight}) == 8


def test_a_loss_that_is_not_a_number_leaves_a_gap_and_nothing_else(tmp_path):
    rows = [train_row(i, loss=float('nan') if i == 30 else 1.0) for i in range(10, 61, 10)]
    write_session(tmp_path / 'run', rows)
    cli.main(['plot', str(tmp_path / 'run'), '--out', str(tmp_path / 'c.png')])
    assert (tmp_path / 'c.png').exists()
    values = np.full(100, 2.0)
    values[40] = np.nan
    assert plot.smooth(values).tolist() == [2.0] * 100


def test_an_x_axis_that_the_logs_cannot_give_is_refused(tmp_path, capsys):
    write_session(tmp_path / 'run', [dict(loss=1.0, iter=60, step=60)])
    with pytest.raises(SystemExit, match='2'):
        cli.main(['plot', str(tmp_path / 'run'), '--x', 'time', '--out', 'unused.png'])
    error = capsys.readouterr().err
    assert 'time unknown: the logs have none' in error and 'Use --x iter' in error


# ------------------------------------------------------- arguments of train, test


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text("""
default_scope = 'mmseg'
model = dict(type='M', backbone=dict(norm_cfg=dict(type='SyncBN')), heads=[
    dict(norm_cfg=dict(type='BN')), dict(norm_cfg=dict(type='mmseg.SyncBN'))])
train_dataloader = dict(batch_size=2, num_workers=2)
test_dataloader = dict(num_workers=0, persistent_workers=True, dataset=dict(pipeline=[1, 2]))
val_dataloader = dict(batch_size=1)
val_evaluator = test_evaluator = dict(type='E')
optim_wrapper = dict(type='OptimWrapper')
train_cfg = val_cfg = test_cfg = dict()
""")
    return str(path)


def train_config(*arguments):
    args = cli.parse_args(['train', *arguments])
    return train_tool.apply_args(common.load_config(args), args)


def test_the_work_dir_is_the_argument_else_the_configs_else_named_after_it(config, tmp_path):
    assert train_config(config).work_dir == './work_dirs/small'
    assert train_config(config, '--cfg-options', 'work_dir=a').work_dir == 'a'
    assert train_config(config, '--cfg-options', 'work_dir=a', '--work-dir', 'b').work_dir == 'b'


def test_resume_is_off_or_automatic_or_from_a_checkpoint(config, tmp_path):
    cfg = train_config(config)
    assert cfg.get('resume') is None
    cfg = train_config(config, '--resume')
    assert (cfg.resume, cfg.load_from) == (True, None)
    checkpoint = tmp_path / 'iter_1.pth'
    checkpoint.touch()
    cfg = train_config(config, '--resume', str(checkpoint))
    assert (cfg.resume, cfg.load_from) == (True, str(checkpoint))
    with pytest.raises(common.UsageError, match="checkpoint 'no.pth' does not exist"):
        train_config(config, '--resume', 'no.pth')


def test_no_validate_takes_validation_out(config):
    cfg = train_config(config, '--no-validate')
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


def test_auto_scale_lr_needs_the_batch_size_that_the_rate_is_for(config):
    option = 'auto_scale_lr.base_batch_size=16'
    assert train_config(config, '--auto-scale-lr', '--cfg-options', option).auto_scale_lr.enable
    with pytest.raises(common.UsageError, match='Add auto_scale_lr = dict'):
        train_config(config, '--auto-scale-lr')


def test_amp_needs_an_accelerator_and_the_plain_optimizer_wrapper(config, monkeypatch):
    monkeypatch.setattr(train_tool, 'get_device', lambda: 'cuda')
    cfg = train_config(config, '--amp')
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')
    new_style = Path(config).with_name('new_style.py')  # its types are classes
    new_style.write_text(
        'from mmengine.optim import OptimWrapper\noptim_wrapper = dict(type=OptimWrapper)\n'
        'model, train_dataloader, train_cfg = dict(), dict(), dict()'
    )
    assert train_config(str(new_style), '--amp').optim_wrapper.type == 'AmpOptimWrapper'
    with pytest.raises(common.UsageError, match="but the config has 'Other'"):
        train_config(config, '--amp', '--cfg-options', 'optim_wrapper.type=Other')
    monkeypatch.setattr(train_tool, 'get_device', lambda: 'cpu')
    with pytest.raises(common.UsageError, match='needs an accelerator'):
        train_config(config, '--amp')


def test_mmpretrains_dataloaders_are_completed_and_mmsegs_left_alone(config):
    cfg = train_config(config)
    assert cfg.train_dataloader == dict(batch_size=2, num_workers=2)
    assert cfg.test_dataloader.persistent_workers is False, 'there are no workers to keep'
    cfg = train_config(config, '--cfg-options', 'default_scope=mmpretrain')
    assert cfg.train_dataloader.collate_fn == dict(type='default_collate')
    assert cfg.train_dataloader.persistent_workers is True


def test_the_out_of_test_is_a_directory_with_mmseg(config, tmp_path):
    (tmp_path / 'c.pth').touch()
    args = cli.parse_args(['test', config, str(tmp_path / 'c.pth'), '--out', 'maps'])
    cfg = test_tool.apply_args(common.load_config(args), args)
    assert cfg.test_evaluator.output_dir == 'maps'
    assert cfg.load_from == str(tmp_path / 'c.pth')


def test_a_test_resumes_nothing_also_by_the_config_of_a_run_that_was_resumed(config, tmp_path):
    """Without its optimizer, as it is published, a checkpoint cannot be resumed from."""
    (tmp_path / 'c.pth').touch()
    args = cli.parse_args(['test', config, str(tmp_path / 'c.pth'), '--cfg-options', 'resume=True'])
    assert test_tool.apply_args(common.load_config(args), args).resume is False


def test_tta_is_the_configs_or_with_mmpretrain_a_flip(config, tmp_path):
    (tmp_path / 'c.pth').touch()
    args = cli.parse_args(['test', config, str(tmp_path / 'c.pth'), '--tta'])
    with pytest.raises(common.UsageError, match='the config has no tta_model and no tta_pipeline'):
        test_tool.apply_args(common.load_config(args), args)
    args.cfg_options = dict(default_scope='mmpretrain')
    cfg = test_tool.apply_args(common.load_config(args), args)
    assert cfg.model.type == 'mmpretrain.AverageClsScoreTTA' and cfg.model.module.type == 'M'
    assert cfg.test_dataloader.dataset.pipeline[0] == 1
    assert cfg.test_dataloader.dataset.pipeline[1]['transforms'][1] == [2]


def test_a_directory_is_a_checkpoint_where_a_strategy_saves_directories(config, tmp_path):
    arguments = ['--resume', str(tmp_path)]
    with pytest.raises(common.UsageError, match='is a directory: give the path of a .pth file'):
        train_config(config, *arguments)
    cfg = train_config(config, *arguments, '--cfg-options', 'strategy.type=DeepSpeedStrategy')
    assert cfg.load_from == str(tmp_path) and cfg.resume
    assert resume.choose_checkpoint(cfg) is None and cfg.load_from == str(tmp_path)


def test_a_users_error_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(['train', 'no.py'])
    assert error.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mm-infobatch train: error: config 'no.py' does not exist")


# --------------------------------------------------------------------- launching


@pytest.fixture
def on_cpu(monkeypatch):
    started = []
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(launch, '_init_gloo', started.append)
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR'):
        monkeypatch.setenv(name, '0')
    return started


def test_without_a_launcher_or_with_an_accelerator_nothing_changes(config, on_cpu, monkeypatch):
    cfg = train_config(config)
    before = cfg.to_dict()
    launch.prepare_launch(cfg, training=True)
    assert cfg.to_dict() == before
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    cfg.launcher = before['launcher'] = 'pytorch'
    launch.prepare_launch(cfg, training=True)
    assert cfg.to_dict() == before
    assert on_cpu == []


def test_on_the_cpu_the_model_is_wrapped_without_device_ids(config, on_cpu):
    cfg = train_config(
        config,
        '--launcher',
        'pytorch',
        '--cfg-options',
        'model.backbone.norm_cfg.type=BN',
        'model.heads.1.norm_cfg.type=BN',
        'find_unused_parameters=True',
    )
    launch.prepare_launch(cfg, training=True)
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=True,
        device_ids=None,
    )
    assert len(on_cpu) == 1


def test_sync_bn_on_the_cpu_is_refused_in_training_and_replaced_in_a_test(config, on_cpu):
    cfg = train_config(config, '--launcher', 'pytorch')
    with pytest.raises(common.UsageError) as error:
        launch.prepare_launch(cfg, training=True)
    line = '--cfg-options model.backbone.norm_cfg.type=BN model.heads.1.norm_cfg.type=BN'
    assert line in str(error.value)
    assert on_cpu == []
    launch.prepare_launch(cfg, training=False)
    assert cfg.model.backbone.norm_cfg.type == cfg.model.heads[1].norm_cfg.type == 'BN'


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize(
    'launcher, names',
    [
        ('pytorch', 'RANK, WORLD_SIZE, MASTER_ADDR'),
        ('slurm', 'SLURM_PROCID, SLURM_NTASKS, SLURM_NODELIST'),
        (
            'mpi',
            'OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_RANK, MASTER_ADDR',
        ),
    ],
)
def test_a_launcher_without_its_environment_is_a_users_error(
    launcher, names, device, config, monkeypatch
):
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    for name in names.split(', '):
        monkeypatch.delenv(name, raising=False)
    cfg = train_config(config, '--launcher', launcher)
    message = f'--launcher {launcher}: the environment does not have {names}. Start the processes'
    with pytest.raises(common.UsageError, match=message):
        launch.prepare_launch(cfg, training=False)


@pytest.mark.parametrize(
    'scontrol, said', [(None, 'No such file'), ('exit 1', 'exit status 1'), ('', 'out of range')]
)
def test_a_slurm_job_whose_first_host_is_not_told_is_a_users_error(
    scontrol, said, tmp_path, config, monkeypatch
):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    monkeypatch.setenv('PATH', str(tmp_path))
    for name in ('SLURM_PROCID', 'SLURM_LOCALID', 'RANK', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '0')
    for name in ('SLURM_NTASKS', 'WORLD_SIZE'):
        monkeypatch.setenv(name, '1')
    monkeypatch.setenv('SLURM_NODELIST', 'node[1-2]')
    if scontrol is not None:
        (tmp_path / 'scontrol').write_text(f'#!/bin/sh\n{scontrol}\n')
        (tmp_path / 'scontrol').chmod(0o755)
    cfg = train_config(config, '--launcher', 'slurm')
    with pytest.raises(common.UsageError, match=said) as error:
        launch.prepare_launch(cfg, training=False)
    assert 'scontrol show hostname node[1-2] does not print the first host' in str(error.value)
    assert str(error.value).endswith('Set MASTER_ADDR in the environment to its name')


@pytest.mark.parametrize(
    'script, arguments, expected',
    [
        (
            'dist_train.sh',
            ['c.py', '4', '--cfg-options', 'a="[1, 2]"'],
            '-m mm_infobatch train c.py --gpus 4 --cfg-options a="[1, 2]"',
        ),
        (
            'dist_test.sh',
            ['c.py', 'c.pth', '3', '--out', 'x'],
            '-m mm_infobatch test c.py c.pth --gpus 3 --out x',
        ),
        (
            'slurm_train.sh',
            ['part', 'job', 'c.py', '--amp'],
            '-p part --job-name=job --gres=gpu:2 --ntasks=8 --ntasks-per-node=2 --cpus-per-task=5 '
            '--kill-on-bad-exit=1 --exclusive --mem=0 '
            'python -u -m mm_infobatch train c.py --launcher=slurm --amp',
        ),
    ],
)
def test_the_scripts_start_the_command_from_any_directory(tmp_path, script, arguments, expected):
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\necho "$PYTHONPATH"\necho "$@"\n')
        (tmp_path / name).chmod(0o755)
    env = dict(
        os.environ,
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        PYTHON='python',
        GPUS='8',
        GPUS_PER_NODE='2',
        SRUN_ARGS='--exclusive --mem=0',
    )
    command = ['bash', str(ROOT / 'tools' / script)]
    done = subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    path, line = done.stdout.splitlines()
    assert Path(path.split(':')[0]).resolve() == ROOT
    assert line == expected
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('usage: ')


@pytest.mark.runs
def test_two_processes_train_on_the_cpu_and_one_goes_on(tmp_path):
    make_segmentation_data.write_set(
        tmp_path / 'data' / 'shapes', {'training': 40, 'validation': 4}, (64, 64), seed=0
    )
    options = [
        '--work-dir',
        'run',
        '--cfg-options',
        'default_hooks.logger.interval=1',
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        'train_cfg.val_interval=2',
    ]
    config = str(ROOT / 'configs/demo/upernet_r18-slim_1xb8-1.2k_shapes-64x64.py')
    env = dict(
        os.environ,
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='-1',
        PYTHONPATH=str(ROOT),
    )

    def start(*command):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    start('bash', str(ROOT / 'tools/dist_train.sh'), config, '2', *options, 'train_cfg.max_iters=4')
    run = run_logs.read_run(tmp_path / 'run')
    assert (run.iterations, run.samples, run.notes) == (4, 4 * 8 * 2, [])
    assert run.metric()[1].tolist() == [2, 4]

    start(
        sys.executable,
        str(ROOT / 'tools/train.py'),
        config,
        '--resume',
        '--no-validate',
        *options,
        'train_cfg.max_iters=6',
    )
    run = run_logs.read_run(tmp_path / 'run')
    assert (run.iterations, run.samples, run.notes) == (6, 4 * 8 * 2 + 2 * 8, [])
