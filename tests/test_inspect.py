"""``mm-infobatch inspect``: what it reads, what it says where something is missing, its errors."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from html.parser import HTMLParser
from pathlib import Path

import inspect_runs
import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.hooks import EarlyStoppingHook

from mm_infobatch import cli
from mm_infobatch.cli import run_logs, run_numbers
from mm_infobatch.cli.common import UsageError

ROOT = Path(__file__).resolve().parents[1]
DATASET = dict(type='MadeUpDataset', length=60, num_classes=3)
LIBRARIES = ('plotly', 'jinja2', 'pyarrow')


@pytest.fixture
def libraries():
    """Skip a test that writes a page where the extra ``inspect`` is not installed."""
    for name in LIBRARIES:
        pytest.importorskip(name, reason='the extra inspect is not installed')


class Page(HTMLParser):
    """A page, parsed: its figures, its links, its pictures, and its text without scripts."""

    def __init__(self, path):
        super().__init__()
        self.figures, self.links, self.tags, self.text = {}, [], [], ''
        self._in = None
        self.feed(Path(path).read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.text += ' ' if tag in ('td', 'th', 'tr') else ''
        self._in = attributes.get('id', tag) if tag in ('script', 'style') else None
        self.links += [attributes[key] for key in ('src', 'href') if key in attributes]

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in is None:
            self.text += data
        elif self._in.startswith('figure'):
            self.figures[self._in] = json.loads(data)

    def count(self, tag, **attributes):
        return sum(
            1
            for name, theirs in self.tags
            if name == tag and all(theirs.get(key) == value for key, value in attributes.items())
        )


def page_of(*arguments, out):
    cli.main(['inspect', *map(str, arguments), '--out', str(out)])
    return Page(out)


# ------------------------------------------------------------------------- the page


def test_a_page_has_all_parts_and_loads_nothing(libraries, tmp_path, capsys):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    page = page_of(run, '--images', 5, out=tmp_path / 'page' / 'p.html')
    assert set(page.figures) == {'figure-curves', 'figure-scores-1', 'figure-map-1'}
    outside = [link for link in page.links if not link.startswith(('#', 'data:'))]
    assert outside == ['p_run_samples.csv', 'p_run_samples.parquet']
    for title in ('In numbers', 'Hardest by mean loss', 'Most ambiguous', 'Never skipped'):
        assert title in page.text
    assert page.count('li', **{'data-top': None, 'class': 'card'}) >= 5 * 4
    assert 'no image: FileNotFoundError' in page.text and 'n00000002_' in page.text
    assert 'missing:' not in page.text, 'nothing is missing but the images'
    said = capsys.readouterr().out.splitlines()
    assert [line.split(' (')[0] for line in said] == [
        f'wrote {tmp_path}/page/{name}' for name in ('p.html', *outside)
    ]
    assert sum(link.startswith('data:text/csv') for link in page.links) == 1


def test_the_numbers_are_those_of_the_run(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    page = page_of(run, out=tmp_path / 'p.html')
    numbers = ' '.join(page.text.split())
    for text in (
        'state finished',
        'iterations 60 of a schedule of 60',
        'samples trained 300 of 360',
        'saving in samples 16.7%',
        'training time 30.0 s',
        'time saved (estimated) 6.0 s',
        'accuracy/top1, best 56.00 (at 60)',
        'policy SoftPruning(prune_ratio=0.5)',
    ):
        assert text in numbers


def test_the_curves_are_drawn_over_iterations_samples_and_time(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    figure = page_of(run, out=tmp_path / 'p.html').figures['figure-curves']
    (menu,) = figure['layout']['updatemenus']
    assert [button['label'] for button in menu['buttons']] == ['iterations', 'samples', 'time']
    ends = [button['args'][0]['x'][0][-1] for button in menu['buttons']]
    assert ends == [60, 300, pytest.approx(30 / 3600, rel=1e-3)]
    titles = [title['text'] for title in figure['layout']['annotations']]
    assert titles[:4] == ['training loss', 'accuracy/top1', 'learning rate', 'share pruned']
    assert len(menu['buttons'][0]['args'][0]['x']) == len(figure['data'])


def test_the_map_counts_every_sample(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    (heat,) = page_of(run, out=tmp_path / 'p.html').figures['figure-map-1']['data']
    _, tracker, _ = inspect_runs.losses_of(60)
    assert np.sum(heat['customdata']) == int((tracker.trained > 1).sum())


def test_runs_are_shown_side_by_side_with_the_settings_that_differ(libraries, tmp_path):
    first = inspect_runs.write_run(tmp_path / 'all', DATASET, 60, infobatch=False)
    second = inspect_runs.write_run(tmp_path / 'ours', DATASET, 60, passes=4)
    page = page_of(first, second, '--labels', 'all data', 'InfoBatch', out=tmp_path / 'p.html')
    assert set(page.figures) == {'figure-curves', 'figure-scores-1', 'figure-map-1'}
    text = ' '.join(page.text.split())
    assert 'Samples of InfoBatch' in text and 'Samples of all data' not in text
    assert 'all data: images and scores of samples are missing, as epoch_6.pth has no state' in text
    assert (
        'against all data - samples -43.3%, iterations -33.3%, time -33.3%, accuracy/top1 -2.00'
        in (text)
    )
    differing = text[text.index('Settings that differ') : text.index('All settings')]
    assert 'train_cfg.max_epochs 6 4' in differing and 'batch_size' not in differing
    assert (tmp_path / 'p_2_InfoBatch_samples.csv').is_file()


def test_runs_of_the_same_name_have_files_of_their_own(libraries, tmp_path):
    runs = [inspect_runs.write_run(tmp_path / name / 'run', DATASET, 60) for name in 'ab']
    page_of(*runs, '--labels', 'run', 'run', out=tmp_path / 'p.html')
    assert len(list(tmp_path.glob('p_*_run_samples.parquet'))) == 2


def test_runs_of_the_same_name_are_told_apart_by_their_paths(libraries, tmp_path):
    folders = [tmp_path / name for name in ('a/run', 'b/run', 'b/other')]
    runs = [inspect_runs.write_run(folder, DATASET, 60) for folder in folders]
    page = page_of(*runs, '--images', 1, out=tmp_path / 'p.html')
    traces = page.figures['figure-curves']['data']
    shown = [trace['name'] for trace in traces if trace.get('showlegend')]
    assert shown == ['a/run', 'b/run', 'other']
    assert 'against a/run' in page.text and 'Samples of b/run' in page.text


def test_names_are_text_and_never_markup(libraries, tmp_path):
    hostile = '</script><img src=x onerror="window.hacked = 1"><b>bold</b>'
    dataset = dict(DATASET, names=[hostile, '<b>second</b>', '{{ 7 * 6 }}'])
    run = inspect_runs.write_run(tmp_path / 'run', dataset, 60)
    page = page_of(run, '--labels', hostile, out=tmp_path / 'p.html')
    assert hostile in page.text and '{{ 7 * 6 }}' in page.text
    assert page.count('b') == page.count('li'), 'the label of each card'
    assert not any(tag == 'img' for tag, _ in page.tags)
    assert all('onerror' not in attributes for _, attributes in page.tags)
    names = {trace['name'] for trace in page.figures['figure-curves']['data']}
    assert names == {hostile.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}
    assert len(list(tmp_path.glob('p_script*_samples.csv'))) == 1


def test_names_that_are_not_utf_8_are_shown_with_their_bytes(libraries, tmp_path):
    names = [os.fsdecode(b'caf\xe9'), 'b', 'c']
    run = inspect_runs.write_run(tmp_path / 'run', dict(DATASET, names=names), 60)
    assert 'caf\\xe9' in page_of(run, out=tmp_path / 'p.html').text
    assert 'caf\\xe9' in (tmp_path / 'p_run_samples.csv').read_text()


# ------------------------------------------------------------- where something is missing


def test_a_run_that_was_not_tracked_says_so_and_shows_the_rest(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60, track=False)
    page = page_of(run, out=tmp_path / 'p.html')
    assert set(page.figures) == {'figure-curves'}
    assert 'Mean, spread and how often samples were skipped are missing' in page.text
    assert 'The distribution of the scores over the passes is missing' in page.text
    assert 'Hardest by latest loss' in page.text and 'Most ambiguous' not in page.text


# The number of the pass, and how many of its ten samples it has trained.
@pytest.mark.parametrize('epoch, consumed, late', [(5, 10, 0), (6, 4, 0), (6, 10, 1), (7, 4, 1)])
def test_a_run_that_was_tracked_from_some_pass_on_says_so(
    libraries, tmp_path, epoch, consumed, late
):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    content = torch.load(run / 'epoch_6.pth', weights_only=True)
    state = dict(epoch=epoch, consumed=consumed, order=torch.arange(10))
    content['infobatch']['sampler'].update(state)
    torch.save(content, run / 'epoch_6.pth')
    text = page_of(run, out=tmp_path / 'p.html').text
    assert ('are those of the latest 6 passes: before, the run was not tracked' in text) == late


def test_without_a_checkpoint_the_scores_over_the_passes_are_shown(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    (run / 'epoch_6.pth').unlink()
    page = page_of(run, out=tmp_path / 'p.html')
    assert set(page.figures) == {'figure-curves', 'figure-scores-1'}
    assert 'are missing, as there is no checkpoint' in page.text
    assert not list(tmp_path.glob('*.csv'))


@pytest.mark.parametrize(
    'dataset, reason',
    [
        (dict(DATASET, length=61), '61 samples, and the checkpoint 60. Give the config'),
        (dict(type='NoSuchSet'), 'cannot be built (KeyError'),
        (dict(DATASET, nothing=1), '--cfg-options train_dataloader.dataset.data_root'),
    ],
)
def test_a_dataset_that_does_not_fit_is_named_and_the_scores_are_shown(
    libraries, tmp_path, dataset, reason
):
    run = inspect_runs.write_run(tmp_path / 'run', dataset, 60)
    page = page_of(run, out=tmp_path / 'p.html')
    assert reason in page.text and 'figure-map-1' in page.figures
    assert 'filepath' not in (tmp_path / 'p_run_samples.csv').read_text()


def test_of_a_dataset_that_num_batch_per_epoch_cuts_off_the_first_samples_are_shown(
    libraries, tmp_path
):
    run = inspect_runs.write_run(tmp_path / 'run', dict(DATASET, length=61), 60)
    options = ['--cfg-options', 'train_dataloader.num_batch_per_epoch=10']
    page = page_of(run, *options, out=tmp_path / 'p.html')
    assert 'Images, paths and classes are missing' not in page.text
    header, *rows = (tmp_path / 'p_run_samples.csv').read_text().splitlines()
    assert 'filepath' in header and len(rows) == 60
    assert all(f'_{index}.JPEG' in row for index, row in enumerate(rows))


def test_without_images_there_are_neither_lists_nor_filters(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    page = page_of(run, '--images', 0, out=tmp_path / 'p.html')
    assert page.count('select') == page.count('li') == 0 and 'Hardest' not in page.text
    assert 'class 1' in page.text and 'figure-map-1' in page.figures


def test_without_a_config_the_one_that_is_given_is_read(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60, config=False)
    assert 'has no config. Give the config' in page_of(run, out=tmp_path / 'p.html').text
    other = inspect_runs.write_run(tmp_path / 'other', dict(DATASET, length=7), 60)
    config = other / '20260101_000000' / 'vis_data' / 'config.py'
    options = ['--config', config, '--cfg-options', 'train_dataloader.dataset.length=60']
    assert 'missing:' not in page_of(run, *options, out=tmp_path / 'p.html').text


def test_the_settings_are_those_of_the_training_whatever_config_the_images_come_from(
    libraries, tmp_path
):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    other = inspect_runs.write_run(tmp_path / 'other', DATASET, 60, passes=3)
    config = other / '20260101_000000' / 'vis_data' / 'config.py'
    options = ['--config', config, '--cfg-options', 'train_dataloader.batch_size=9']
    text = page_of(run, *options, out=tmp_path / 'p.html').text
    settings = ' '.join(text[text.index('All settings') :].split())
    assert 'train_cfg.max_epochs 6' in settings and 'train_dataloader.batch_size 6' in settings


def test_a_run_that_still_trains_has_an_expected_end(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60, finished=False)
    scalars = run / '20260101_000000' / 'vis_data' / 'scalars.json'
    os.utime(scalars, (1_000_000, 1_000_000))
    text = ' '.join(page_of(run, out=tmp_path / 'p.html').text.split())
    # 6 passes are left; 4.5 of them prune a fifth; 0.1 s a sample
    left = (6 - 0.2 * 4.5) * 60 * 0.1
    assert f'not finished: {left:.1f} s of training left' in text
    assert 'schedule done 50.0%' in text and re.search(r'expected end 1970-01-1\d \d\d:\d\d', text)


def written_report(work_dir, change):
    """Change ``infobatch.json`` of a made-up run."""
    path = work_dir / 'infobatch.json'
    report = json.loads(path.read_text())
    change(report)
    path.write_text(json.dumps(report))
    run = run_logs.read_run(work_dir)
    return run_numbers.numbers(run, work_dir, None), run_numbers.remaining_seconds(run)


def test_what_drop_last_leaves_out_is_no_part_of_the_schedule(tmp_path):
    def change(report):  # 36 of 60 samples make whole batches
        for one in report['passes']:
            one.update(trained=36, full=36, pruned=0, pruned_share=0.0)
        report['totals'].update(samples_trained=6 * 36, samples_full=6 * 36, saving=0.0)

    work_dir = inspect_runs.write_run(tmp_path / 'run', DATASET, 60, finished=False)
    numbers, left = written_report(work_dir, change)
    assert numbers['schedule done'] == '50.0%'
    assert left == pytest.approx(60 * 0.5, rel=1e-2), 'as long as the half that is done'


def test_what_drop_last_leaves_out_is_not_left_to_train_in_the_first_pass_either(tmp_path):
    def change(report):  # 10 batches of 4 of 43 samples
        report['passes'][0].update(iterations=5, trained=20, full=20)
        report['settings'].update(num_samples=43, batch_size=4)
        report['totals'].update(iterations=5, samples_trained=20, samples_full=20, saving=0.0)

    work_dir = inspect_runs.write_run(tmp_path / 'run', DATASET, 60, passes=1, finished=False)
    assert written_report(work_dir, change)[0]['schedule done'] == '25.0%'


def test_a_run_that_a_hook_stopped_says_so(tmp_path):
    data = runs.write_classification_data(tmp_path / 'data')
    cfg = runs.classification_config(data, tmp_path / 'run', max_epochs=4, val_interval=2)
    stopping = EarlyStoppingHook('accuracy/top1', stopping_threshold=-1.0)
    runs.train(runs.switch_on(cfg), stopping)
    totals = runs.report_of(tmp_path / 'run')['totals']
    assert totals['stopped'] and not totals['finished'] and totals['passes'] == 2
    run = run_logs.read_run(tmp_path / 'run')
    numbers = run_numbers.numbers(run, tmp_path / 'run', None)
    assert run.notes == [numbers['state']] == ['stopped by a hook before the end of its schedule']
    assert numbers['schedule done'] == '50.0%'


def test_a_budget_of_iterations_is_done_by_iterations(tmp_path):
    def change(report):  # each pass takes 10 iterations and would take 20 on all data
        report['settings'].update(budget='iterations', pass_length=20)

    work_dir = inspect_runs.write_run(tmp_path / 'run', DATASET, 60, finished=False)
    assert written_report(work_dir, change)[0]['schedule done'] == '50.0%'


def test_the_times_of_a_pass_that_still_runs_do_not_count_as_those_of_the_passes_before(tmp_path):
    work_dir = inspect_runs.write_run(tmp_path / 'run', DATASET, 60, finished=False)
    before = run_logs.read_run(work_dir)
    scalars = work_dir / '20260101_000000' / 'vis_data' / 'scalars.json'
    rows = [dict(loss=1.0, time=0.5, iter=step, step=step) for step in range(61, 69)]
    with scalars.open('a') as file:
        file.writelines(json.dumps(row) + '\n' for row in rows)
    run = run_logs.read_run(work_dir)
    assert run.iterations == before.iterations == 60 and run.seconds == before.seconds
    left = run_numbers.remaining_seconds(before)
    assert run_numbers.remaining_seconds(run) == pytest.approx(left - 8 * 0.5)
    rows[-1]['time'] = 1000.0
    scalars.write_text(scalars.read_text() + json.dumps(dict(rows[-1], iter=69)) + '\n')
    run = run_logs.read_run(work_dir)
    assert 0 < run_numbers.remaining_seconds(run) < 1, 'never finished before it says so'


def test_a_metric_that_was_nan_is_not_the_best(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    scalars = run / '20260101_000000' / 'vis_data' / 'scalars.json'
    scalars.write_text(scalars.read_text().replace('"accuracy/top1": 52.0', '"accuracy/top1": NaN'))
    assert 'best 56.00 (at 60)' in page_of(run, out=tmp_path / 'p.html').text


@pytest.mark.parametrize('finished, left', [(True, 0.0), (False, 30.0)])
def test_a_run_without_infobatch_ends_at_its_planned_iterations(tmp_path, finished, left):
    work_dir = inspect_runs.write_run(
        tmp_path / 'run', DATASET, 60, infobatch=False, finished=finished
    )
    run = run_logs.read_run(work_dir)
    assert run_numbers.remaining_seconds(run) == pytest.approx(left)


def test_the_samples_that_are_left_follow_the_schedule():
    def left(done):
        return run_numbers.remaining_samples(done, 10, delta=0.8, num_samples=100, pruned=0.5)

    assert left(0) == 1000 - 0.5 * 700, 'seven passes after the first prune'
    assert left(4) == 600 - 0.5 * 400 and left(9) == 100 and left(10) == 0


def test_the_config_is_that_of_the_training_and_not_of_a_test_after_it(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    tested = run / '20260102_000000' / 'vis_data'
    tested.mkdir(parents=True)
    (tested / 'config.py').write_text('test_dataloader = dict(batch_size=1)\n')
    page = page_of(run, out=tmp_path / 'p.html')
    assert 'missing:' not in page.text and 'train_cfg.max_epochs' in page.text


# -------------------------------------------------------------------- the checkpoint


def test_a_checkpoint_behind_the_work_directory_is_the_one_that_is_read(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    content = torch.load(run / 'epoch_6.pth', weights_only=True)
    content['infobatch']['sampler']['scores'][7] = 1234.0
    torch.save(content, run / 'epoch_5.pth')
    for arguments in ([run, run / 'epoch_5.pth'], [run, '--checkpoint', run / 'epoch_5.pth']):
        page = page_of(*arguments, out=tmp_path / 'p.html')
        assert 'score 1.23e+03' in page.text and 'from epoch_5.pth' in page.text
    assert 'score 1.23e+03' not in page_of(run, out=tmp_path / 'p.html').text


def test_a_work_directory_that_was_moved_has_its_checkpoint(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    shutil.move(run, tmp_path / 'moved')
    assert 'from epoch_6.pth' in page_of(tmp_path / 'moved', out=tmp_path / 'p.html').text


def test_a_copy_of_a_work_directory_has_its_own_checkpoint(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    shutil.copytree(run, tmp_path / 'copy')
    content = torch.load(run / 'epoch_6.pth', weights_only=True)
    content['infobatch']['sampler']['scores'][7] = 1234.0
    torch.save(content, run / 'epoch_6.pth')
    assert 'score 1.23e+03' not in page_of(tmp_path / 'copy', out=tmp_path / 'p.html').text


@pytest.mark.parametrize('done, earlier', [(60, False), (61, True)])
def test_a_checkpoint_of_an_earlier_run_in_the_work_directory_is_told(
    libraries, tmp_path, done, earlier
):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    content = torch.load(run / 'epoch_6.pth', weights_only=True)
    torch.save(dict(content, meta=dict(iter=done)), run / 'epoch_6.pth')
    text = page_of(run, out=tmp_path / 'p.html').text
    assert ('epoch_6.pth is of iteration 61, but the logs end at 60' in text) == earlier


def test_an_incomplete_checkpoint_is_passed_over(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    shutil.copy(run / 'epoch_6.pth', run / 'epoch_5.pth')
    (run / 'epoch_6.pth').write_bytes(b'PK\x03\x04')
    assert 'from epoch_5.pth' in page_of(run, out=tmp_path / 'p.html').text


def test_a_checkpoint_in_the_format_before_torch_1_6_is_read(libraries, tmp_path):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    content = torch.load(run / 'epoch_6.pth', weights_only=True)
    torch.save(content, run / 'epoch_6.pth', _use_new_zipfile_serialization=False)
    assert 'from epoch_6.pth' in page_of(run, out=tmp_path / 'p.html').text


def test_nothing_in_a_checkpoint_is_executed(libraries, tmp_path):
    if not hasattr(torch.serialization, 'safe_globals'):
        pytest.skip('this torch cannot allow single classes')
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'hacked'),)

    torch.save(dict(infobatch=Evil()), run / 'epoch_6.pth')
    args = cli.parse_args(['inspect', str(run)])
    with pytest.raises(UsageError, match='epoch_6.pth.* cannot be read'):
        args.main(args)
    assert not (tmp_path / 'hacked').exists()


@pytest.mark.parametrize(
    'changes, reason',
    [
        (dict(scores=None), "AttributeError: 'NoneType'"),
        (dict(scores=torch.zeros(6, 10)), 'ValueError: .* not of one length'),
        (dict(tracked=dict(passes=3, trained=torch.zeros(5))), 'ValueError: .* not of one length'),
        (dict(tracked=dict(passes=3)), "KeyError: 'trained'"),
    ],
)
def test_a_checkpoint_with_a_wrong_state_is_named_with_the_reason(
    libraries, tmp_path, changes, reason
):
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    content = torch.load(run / 'epoch_6.pth', weights_only=True)
    content['infobatch']['sampler'].update(changes)
    torch.save(content, run / 'epoch_6.pth')
    args = cli.parse_args(['inspect', str(run)])
    with pytest.raises(UsageError, match=rf'epoch_6.pth. cannot be read \({reason}.*give another'):
        args.main(args)


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize('name', ['plotly', 'jinja2', 'pyarrow'])
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    tmp_path, monkeypatch, capsys, name
):
    for each in LIBRARIES:
        monkeypatch.setitem(sys.modules, each, types.ModuleType(each))
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match='2'):
        cli.main(['inspect', str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('mm-infobatch inspect: error: a library that inspect needs is missing (')
    assert name in line and line.endswith("): pip install plotly jinja2 'pyarrow<26'")


def test_the_line_that_installs_the_libraries_says_what_the_extra_says():
    extra = re.search(r'^inspect = \[(.*)\]$', (ROOT / 'pyproject.toml').read_text(), re.MULTILINE)
    assert extra.group(1) == '"plotly>=5.20", "jinja2>=3", "pyarrow>=14,<26"'


def test_fiftyone_is_asked_for_only_where_it_is_wanted(libraries, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'fiftyone', None)
    with pytest.raises(SystemExit, match='2'):
        cli.main(['inspect', str(tmp_path), '--fiftyone'])
    assert capsys.readouterr().err.endswith('): pip install fiftyone\n')


ERRORS = [
    (['no'], "'no' is not a directory"),
    (['run', 'no.pth'], "checkpoint 'no.pth' does not exist"),
    (['run/epoch_6.pth'], 'there is no work directory'),
    (['run', 'half.pth'], 'checkpoint half.pth is incomplete'),
    (['run', 'text.pth'], 'checkpoint text.pth is not a PyTorch checkpoint'),
    (['run', 'run/epoch_6.pth', 'run/epoch_6.pth'], "2 checkpoints are given for 'run'"),
    (['run', 'plain', 'other.pth'], "'other.pth' lies in none of the work directories"),
    (['run', '--images', '-1'], '--images -1: has to be 0 or more'),
    (['run', '--label-maps', '-1'], '--label-maps -1: has to be 0 or more'),
    (['run', '--out', 'plain'], "--out 'plain' is a directory"),
    (['run', '--out', 'half.pth/p.html'], 'is not a directory'),
    (['run', '--out', 'n' * 300], 'File name too long'),
    (['run', '--config', 'no.py'], "config 'no.py' does not exist"),
    (['run', '--metric', 'mIoU'], "metric 'mIoU' is not in the logs"),
    (['run', '--labels', 'a', 'b'], '--labels has 2 names for 1 work directories'),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('errors')
    inspect_runs.write_run(folder / 'run', DATASET, 60)
    inspect_runs.write_run(folder / 'plain', DATASET, 60, infobatch=False)
    shutil.copy(folder / 'run' / 'epoch_6.pth', folder / 'other.pth')
    (folder / 'half.pth').write_bytes(b'PK\x03\x04')
    (folder / 'text.pth').write_text('no checkpoint')
    return folder


@pytest.mark.parametrize('arguments, message', ERRORS, ids=[' '.join(row[0]) for row in ERRORS])
def test_what_cannot_work_is_one_line(libraries, folder, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob('*'))
    with pytest.raises(SystemExit, match='2'):
        cli.main(['inspect', *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(folder.rglob('*')) == before


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='there is no /dev/full')
def test_a_full_disk_is_one_line_with_the_reason(libraries, folder, tmp_path):
    (tmp_path / 'p.html').symlink_to('/dev/full')
    args = cli.parse_args(['inspect', str(folder / 'run'), '--out', str(tmp_path / 'p.html')])
    with pytest.raises(UsageError, match='No space left on device.*: give another --out'):
        args.main(args)


def test_a_long_name_of_a_run_is_cut_in_the_names_of_files(libraries, folder, tmp_path):
    page_of(folder / 'run', '--labels', 'é' * 300, out=tmp_path / 'p.html')
    assert (tmp_path / f'p_{"é" * 50}_samples.csv').is_file()


# ---------------------------------------------------------------------------- FiftyOne


def fake_fiftyone(made):
    class FakeDataset:
        def __init__(self, name, persistent):
            assert persistent
            self.samples = made[name] = []

        def add_samples(self, samples):
            self.samples.extend(samples)

    module = types.ModuleType('fiftyone')
    module.__spec__ = importlib.util.spec_from_loader('fiftyone', None)
    module.Dataset, module.Sample = FakeDataset, lambda **fields: fields
    module.Classification = lambda label: ('class', label)
    module.Segmentation = lambda mask_path: ('mask', mask_path)
    module.dataset_exists = made.__contains__
    return module


def test_fiftyone_gets_a_sample_for_each_path_with_our_columns(libraries, tmp_path, monkeypatch):
    made = {}
    monkeypatch.setitem(sys.modules, 'fiftyone', fake_fiftyone(made))
    run = inspect_runs.write_run(tmp_path / 'run', DATASET, 60)
    page_of(run, '--fiftyone', out=tmp_path / 'p.html')
    (samples,) = made.values()
    scores, tracker, _ = inspect_runs.losses_of(60)
    assert list(made) == ['infobatch run'] and len(samples) == 60
    assert samples[4]['filepath'] == 'data/train/n00000001/n00000001_4.JPEG'
    assert samples[4]['ground_truth'] == ('class', 'class 1')
    assert samples[4]['infobatch_score'] == pytest.approx(float(scores[4]))
    assert samples[4]['infobatch_times_skipped'] == int(tracker.skipped()[4])
    args = cli.parse_args(['inspect', str(run), '--fiftyone'])
    with pytest.raises(UsageError, match="has a dataset 'infobatch run' already"):
        args.main(args)


# ------------------------------------------------------------------------- large datasets

MEASURED = """
import sys
import inspect_runs
from mm_infobatch import cli
cli.main(['inspect', sys.argv[1], '--out', sys.argv[2]])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)  # not ru_maxrss: a child starts at its parent's
"""


@pytest.mark.runs
def test_a_page_of_as_many_samples_as_imagenet_fits_into_a_gibibyte(libraries, tmp_path):
    length = 1_280_000
    dataset = dict(DATASET, length=length, num_classes=1000)
    run = inspect_runs.write_run(tmp_path / 'run', dataset, length)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', MEASURED, str(run), str(tmp_path / 'p.html')],
        env=dict(os.environ, PYTHONPATH=f'{ROOT}:{ROOT / "tests"}', OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE, check=True, timeout=900, text=True,
    )  # fmt: skip
    assert int(done.stdout.splitlines()[-1]) < 2**30
    assert (tmp_path / 'p.html').stat().st_size < 20e6
    from pyarrow import parquet

    table = parquet.ParquetFile(tmp_path / 'p_run_samples.parquet')
    assert table.metadata.num_rows == length
