"""Experiments: what their files say, runs that are made, interrupted and resumed, and reports."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import runs
import torch
from launch import free_port
from mmengine.config import Config
from PIL import Image

import _dry_run
import _experiments
import _figures
import _losses
import _results
import _welch
import render_docs
import report
import run_experiment
from mm_infobatch.cli import train
from mm_infobatch.policies import SoftPruning

ROOT = Path(__file__).resolve().parent.parent
RESULTS = (ROOT / 'docs' / 'results.md').read_text()
RECORDS = ROOT / 'records'
NAMES = _experiments.available()

# -------------------------------------------------- the repository's own files


@pytest.mark.parametrize('name', NAMES)
def test_every_arm_of_the_repository_is_a_config_that_train_would_take(name):
    for arm in _experiments.load_experiment(name).arms:
        if arm.owner != name:
            continue
        run = _experiments.settings(arm, arm.seeds[-1], RECORDS)
        cfg = _dry_run.make_config(run)
        assert cfg.randomness.seed == arm.seeds[-1]
        kind = cfg.train_dataloader.sampler.type
        assert (kind == 'InfoBatchSampler') == (arm.infobatch is not None)
        policy = (arm.infobatch or {}).get('policy')
        if policy:
            assert set(policy) <= set(cfg.train_dataloader.sampler.policy)
        length = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs
        schedulers = cfg.param_scheduler
        ends = [
            each.get('end')
            for each in (schedulers if isinstance(schedulers, list) else [schedulers])
            if each.get('end')
        ]
        assert not ends or max(ends) == length


def test_the_page_of_results_has_a_place_for_every_experiment():
    places = [
        match.group(3).partition(', ')[0]
        for match in render_docs.PLACE.finditer(RESULTS)
        if match.group(2) == 'experiment'
    ]
    assert sorted(places) == NAMES


@pytest.mark.parametrize('document', ['results.md', 'policies.md', 'faults.md', 'any_config.md'])
def test_every_table_of_the_documents_is_what_the_records_say(document):
    text = (ROOT / 'docs' / document).read_text()
    assert render_docs.render(text, ROOT) == text


def test_every_figure_is_drawn_from_the_records_as_they_are():
    figures = ROOT / 'docs' / 'figures'
    assert report.figures(NAMES, _experiments.EXPERIMENTS, RECORDS, figures, check=True) == []


def test_what_was_run_is_in_the_report_and_the_rest_says_not_run():
    for part in (
        'records/fashion_mnist/infobatch_seed*',
        'records/fashion_mnist_lr0.2/all_seed*',
        'records/camvid/control_seed',
        'records/cifar10_slim/infobatch_seed',
    ):
        assert f'`{part}' in RESULTS
    table = _results.text('table6', ROOT)
    rows = table.splitlines()[2:12]
    assert all('not run' in row and '0 of 3' in row for row in rows)
    assert 'python tools/run_experiment.py table6' in table


# ----------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    'freedom, quantile',
    [(1, 12.706205), (2, 4.302653), (4, 2.776445), (10, 2.228139), (30, 2.042272), (1e6, 1.959966)],
)
def test_the_quantiles_of_student_are_those_of_the_tables(freedom, quantile):
    assert _welch.t_quantile(0.975, freedom) == pytest.approx(quantile, abs=1e-5)
    assert _welch.t_cdf(quantile, freedom) == pytest.approx(0.975, abs=1e-7)


def test_welchs_interval_is_that_of_a_worked_example():
    # Variances 2.5 and 10, n = 5: s^2 = 2.5, df = 6.25 / (0.25 / 4 + 4 / 4) = 5.882.
    found, half = _welch.difference([1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
    assert found == -3
    assert half == pytest.approx(_welch.t_quantile(0.975, 6.25 / 1.0625) * math.sqrt(2.5))
    assert half == pytest.approx(3.888, abs=0.002)
    assert _welch.difference([1.0], [2.0, 3.0]) == (-1.5, None)
    assert _welch.difference([2.0, 2.0], [1.0, 1.0]) == (1.0, 0.0)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    # At n = 4 and 3 and such unlike variances Welch's approximation covers 93 % and not 95 %;
    # 2,000 draws have a standard deviation of 0.6 %, so a chance of 1e-3 to leave these limits.
    # The control is too narrow an interval, of normal quantiles.
    rng = np.random.default_rng(0)
    covered = normal = 0
    for _ in range(2000):
        one, two = rng.normal(1, 1, 4), rng.normal(0, 3, 3)
        found, half = _welch.difference(list(one), list(two))
        covered += abs(found - 1) <= half
        width = 1.96 * math.sqrt(one.var(ddof=1) / 4 + two.var(ddof=1) / 3)
        normal += abs(found - 1) <= width
    assert 0.911 < covered / 2000 < 0.969
    assert normal / 2000 < 0.9


# ------------------------------------------------------------ experiment files

SMALL = """
title = 'A small one'
config = {config!r}
seeds = [0, 1]
arms = {arms}
"""


def experiment_of(tmp_path, arms, name='small', **more):
    config = str(ROOT / 'configs/lenet/lenet5_1xb128_fashion-mnist.py')
    text = SMALL.format(config=config, arms=arms)
    text += ''.join(f'{key} = {value!r}\n' for key, value in more.items())
    (tmp_path / f'{name}.py').write_text(text)
    return _experiments.load_experiment(name, tmp_path)


@pytest.mark.parametrize(
    'arms, more, message',
    [
        ([dict(name='all', colour=1)], {}, "arm 'all': colour is none of label, config"),
        ([dict(name='All')], {}, "arm 'All': a name has small letters"),
        ([dict(name='all'), dict(name='all')], {}, "two arms are called 'all'"),
        ([dict(name='all', control_of='x')], {}, "control_of: 'x' is none of the arms above it"),
        ([dict(name='all', samples=0.5)], {}, 'samples and like belong together'),
        ([dict(name='all', config='nowhere.py')], {}, "config 'nowhere.py' does not exist"),
        ([dict(name='all', seeds=3)], {}, 'seeds=3 has the wrong type'),
        ([dict(label='all')], {}, 'an arm is a dict with a name or same_as'),
        ([dict(same_as='small2/all')], {}, "experiment 'small2'"),
        (
            [dict(name='all')],
            dict(figures=[dict(kind='curves', arms=['b'])]),
            "'b' is none of the arms",
        ),
        ([dict(name='all')], dict(seed=3), 'seed is none of title'),
    ],
)
def test_an_experiment_that_cannot_be_is_refused_with_the_reason(tmp_path, arms, more, message):
    with pytest.raises(ValueError) as error:
        experiment_of(tmp_path, arms, **more)
    assert message in str(error.value)


def test_an_unknown_experiment_and_an_unknown_run_are_refused(tmp_path):
    with pytest.raises(ValueError, match='does not exist; there are: ade20k, camvid'):
        _experiments.load_experiment('no_such')
    experiment = experiment_of(tmp_path, [dict(name='all')])
    with pytest.raises(ValueError, match='--runs infobatch: is none of all, all_seed0, all_seed1'):
        run_experiment.jobs_of(experiment, ['infobatch'])
    assert [job.seed for job in run_experiment.jobs_of(experiment, ['all_seed1'])] == [1]


def test_a_shorter_schedule_shortens_all_that_speaks_of_time():
    cfg = Config(
        dict(
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=1000),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=100, by_epoch=False),
                dict(type='PolyLR', begin=100, end=1000, by_epoch=False),
                dict(type='MultiStepLR', milestones=[300, 900], by_epoch=False),
            ],
        )
    )
    cfg.merge_from_dict(_experiments.shortened(cfg, 700))
    first, second, third = cfg.param_scheduler
    assert cfg.train_cfg.max_iters == 700
    assert (first.begin, first.end, second.begin, second.end) == (0, 70, 70, 700)
    assert third.milestones == [210, 630]


ARMS = [
    dict(name='all'),
    dict(name='infobatch', infobatch={}, expected_saving=0.3),
    dict(name='control', control_of='infobatch'),
    dict(
        name='random',
        saving_of='infobatch',
        infobatch=dict(delta=1, policy=dict(type='RandomPruning', prune_ratio=0.3)),
    ),
    dict(name='half', like='infobatch', samples=0.5, infobatch={}),
]


def record_of(records, arm, seed, iterations, saving):
    path = arm.record(seed, records)
    path.mkdir(parents=True)
    (path / 'environment.json').write_text('{}')
    (path / 'infobatch.json').write_text(
        json.dumps(
            dict(
                totals=dict(
                    finished=True, iterations=iterations, schedule_iterations=4680, saving=saving
                )
            )
        )
    )


def test_arms_that_go_by_another_one_are_planned_first_and_then_follow_its_record(tmp_path):
    experiment = experiment_of(tmp_path, ARMS)
    _, infobatch, control, random, half = experiment.arms
    records = tmp_path / 'records'

    def options(arm, seed=0):
        return _experiments.settings(arm, seed, records)['options']

    assert options(control)['train_cfg.max_epochs'] == 7  # 10 epochs x 0.7
    job = run_experiment.Job(control, 0)
    places = run_experiment.Places(tmp_path / 'work', records)
    assert run_experiment.status(job, places) == 'waits for small/infobatch_seed0'
    record_of(records, infobatch, 0, 2340, 0.5)
    assert run_experiment.status(job, places) == 'missing'
    assert options(control)['train_cfg.max_epochs'] == 5
    assert options(control)['param_scheduler.total_steps'] == 5
    assert options(control, seed=1)['train_cfg.max_epochs'] == 7, 'of the other seed: still planned'
    policy = _experiments.settings(random, 0, records)['infobatch']['policy']
    assert policy['prune_ratio'] == pytest.approx(0.5 * 10 / 9, abs=1e-4)
    assert 'train_cfg.max_epochs' not in options(half), 'half of the samples: as it is'


def test_a_batch_is_divided_among_processes_or_refused(tmp_path):
    arm = experiment_of(tmp_path, [dict(name='all')], batch=16, gpus=4).arms[0]
    assert _experiments.settings(arm, 0, tmp_path, 8)['options']['train_dataloader.batch_size'] == 2
    with pytest.raises(ValueError, match='a batch of 16 cannot be divided among 3 processes'):
        _experiments.settings(arm, 0, tmp_path, 3)


def test_a_record_of_other_settings_is_not_taken_for_the_run(tmp_path):
    arm = experiment_of(tmp_path, [dict(name='all')]).arms[0]
    places = run_experiment.Places(tmp_path / 'work', tmp_path / 'records')
    record = arm.record(0, places.records)
    record.mkdir(parents=True)
    (record / 'environment.json').write_text('{}')
    run = _experiments.settings(arm, 0, places.records)
    (record / 'run.json').write_text(json.dumps(dict(run, starts=[])))
    assert run_experiment.status(run_experiment.Job(arm, 0), places) == 'done'
    run['options']['train_cfg.max_epochs'] = 3
    (record / 'run.json').write_text(json.dumps(dict(run, starts=[])))
    assert run_experiment.status(run_experiment.Job(arm, 0), places).startswith('differs: options')


# ------------------------------------------------------------------ whole runs

BREAKS = """
from pathlib import Path
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class BreakOnce(Hook):
    def __init__(self, flag):
        self.flag = Path(flag)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 13 and not self.flag.exists():
            self.flag.touch()
            raise RuntimeError('pulled the plug')
"""
TINY = """
title = 'Tiny'
config = {config!r}
seeds = [0]
arms = [
    dict(name='all', label='all data', paper='33.0'),
    dict(name='infobatch', label='InfoBatch', infobatch={{}}, keep_checkpoints=True),
    dict(name='control', label='control', control_of='infobatch'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control']),
    dict(kind='time', arms=['all', 'infobatch', 'control']),
    dict(kind='pruned', arm='infobatch'),
    dict(kind='losses', arm='infobatch'),
    dict(kind='sweep', arms=['infobatch', 'control'], xlabel='r', at=0.5),
]
"""


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """An experiment whose first run broke, so that the command was given twice."""
    root = tmp_path_factory.mktemp('tiny')
    data = runs.write_classification_data(root / 'data')
    cfg = runs.classification_config(data, root / 'run', max_epochs=8, val_interval=1)
    runs.checkpoints_every(cfg, 1, by_epoch=True)
    cfg.custom_imports = dict(imports=['breaks'], allow_failed_imports=False)
    cfg.custom_hooks = [dict(type='BreakOnce', flag=str(root / 'broke'))]
    cfg.dump(str(root / 'config.py'))
    (root / 'breaks.py').write_text(BREAKS)
    (root / 'tiny.py').write_text(TINY.format(config=str(root / 'config.py')))
    command = [
        'tiny',
        '--experiments',
        str(root),
        '--records',
        str(root / 'records'),
        '--work-dirs',
        str(root / 'work'),
        '--poll',
        '0.1',
    ]
    outputs = []
    environment = dict(os.environ, PYTHONPATH=f'{root}{os.pathsep}{ROOT}', OMP_NUM_THREADS='1')
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / 'run_experiment.py'), *command],
            capture_output=True,
            text=True,
            env=environment,
        )
        outputs.append((found.returncode, found.stdout + found.stderr))
    return root, outputs


@pytest.mark.slow
def test_what_broke_is_reported_and_the_same_command_resumes_it(tiny):
    root, ((first, broken), (second, whole)) = tiny
    assert first == 1 and 'tiny/all_seed0: ended with status 1' in broken, broken
    assert 'pulled the plug' in broken and 'tiny/infobatch_seed0: done in' in broken
    assert 'tiny/control_seed0: done in' in broken, 'it does not wait for the broken run'
    assert second == 0 and '3 of 3 runs have a record' in whole, whole
    assert 'all_seed0: resumed' in whole and 'infobatch_seed0: started' not in whole
    note = json.loads((root / 'records' / 'tiny' / 'all_seed0' / 'run.json').read_text())
    assert [(one['resumed'], one['status']) for one in note['starts']] == [(False, 1), (True, 0)]
    arm = _experiments.load_experiment('tiny', root).arm('all')
    run = _experiments.recorded(arm, root / 'records')[0]
    assert run.iterations == 8 * 4 and run.notes == []
    assert [row['iter'] for row in run.train] == list(range(1, 33))


@pytest.mark.slow
def test_a_run_of_two_processes_is_trained_by_dist_train(tiny, tmp_path, monkeypatch):
    root = tiny[0]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    found = subprocess.run(
        [
            sys.executable,
            str(ROOT / 'tools' / 'run_experiment.py'),
            'tiny',
            '--experiments',
            str(root),
            '--records',
            str(tmp_path / 'records'),
            '--work-dirs',
            str(tmp_path / 'work'),
            '--runs',
            'infobatch',
            '--gpus',
            '2',
            '--port',
            str(free_port()),
            '--poll',
            '0.1',
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ, PYTHONPATH=f'{root}{os.pathsep}{ROOT}', OMP_NUM_THREADS='1'),
    )
    output = tmp_path / 'work' / 'tiny' / 'infobatch_seed0' / 'output.txt'
    assert found.returncode == 0, found.stdout + found.stderr + output.read_text()[-4000:]
    arm = _experiments.load_experiment('tiny', root).arm('infobatch')
    (one,) = _experiments.recorded(arm, root / 'records').values()
    (two,) = _experiments.recorded(arm, tmp_path / 'records').values()
    assert two.infobatch['totals']['finished'] and two.infobatch['totals']['saving'] > 0
    assert two.infobatch['settings']['num_samples'] == one.infobatch['settings']['num_samples']
    assert two.iterations < 0.7 * one.iterations, 'each process takes a half of the samples'
    note = json.loads((tmp_path / 'records/tiny/infobatch_seed0/run.json').read_text())
    assert note['gpus'] == 2 and note['starts'][0]['devices'] == 0


@pytest.mark.slow
def test_a_record_is_small_and_says_what_was_run_on_what(tiny):
    root = tiny[0]
    record = root / 'records' / 'tiny' / 'infobatch_seed0'
    files = {path.name for path in record.rglob('*') if path.is_file()}
    assert {
        'scalars.json',
        'config.py',
        'infobatch.json',
        'environment.json',
        'run.json',
        'losses.json',
    } <= files
    assert not [name for name in files if name.endswith('.pth')]
    assert sum(path.stat().st_size for path in record.rglob('*') if path.is_file()) < 200_000
    note = json.loads((record / 'run.json').read_text())
    assert note['seed'] == 0 and note['options']['randomness.seed'] == 0
    assert len(note['starts'][0]['revision']) in (7, 40) and note['starts'][0]['seconds'] > 0
    assert not list((root / 'records' / 'tiny').glob('*.part'))


@pytest.mark.slow
def test_the_control_trains_as_many_epochs_as_the_pruned_run_took_iterations(tiny):
    root = tiny[0]
    records = root / 'records'
    experiment = _experiments.load_experiment('tiny', root)
    pruned = _experiments.recorded(experiment.arm('infobatch'), records)[0]
    control = _experiments.recorded(experiment.arm('control'), records)[0]
    assert pruned.iterations < 32
    assert control.iterations == 4 * max(1, round(8 * pruned.iterations / 32)) < 32
    assert control.infobatch is None


@pytest.mark.slow
def test_the_table_has_the_numbers_of_the_records(tiny):
    root = tiny[0]
    text = _results.text('tiny, figures', root, root)
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('|')
    ]
    table = {row[0]: dict(zip(rows[0], row)) for row in rows}
    full, pruned = table['all data'], table['InfoBatch']
    run = _experiments.recorded(
        _experiments.load_experiment('tiny', root).arm('infobatch'), root / 'records'
    )[0]
    assert full['n'] == '1 of 1' and full['iterations'] == '32' and full['paper'] == '33.0'
    assert float(pruned['accuracy/top1']) == round(run.metric()[2][-1], 2)
    assert (
        pruned['difference [95 %]']
        == f'{float(pruned["accuracy/top1"]) - float(full["accuracy/top1"]):+.2f} (too few runs)'
    )
    assert pruned['saving'] == f'{100 * run.infobatch["totals"]["saving"]:.1f} %'
    assert pruned['log'] == '`records/tiny/infobatch_seed0`'
    assert 'cores' in pruned['hardware'] or 'x ' in pruned['hardware']
    assert 'InfoBatch - control: ' in text and 'figures/tiny_losses.png' in text


@pytest.mark.slow
def test_figures_are_the_same_bytes_and_out_of_date_when_a_record_changes(tiny, tmp_path):
    root = tiny[0]
    records = tmp_path / 'records'
    shutil.copytree(root / 'records', records)
    first, second = tmp_path / 'a', tmp_path / 'b'

    def stale(out, check):
        return report.figures(['tiny'], root, records, out, check)

    assert len(stale(first, False)) == len(stale(second, False)) == 5
    assert stale(first, True) == []
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        with Image.open(path) as image:
            assert image.size[0] > 900 and image.convert('L').getextrema() != (255, 255)
    changed = next(records.glob('tiny/control_seed0/*/vis_data/scalars.json'))
    changed.write_text(changed.read_text().replace('"loss": ', '"loss": 1', 1))
    assert stale(first, True) == ['tiny_curves.png', 'tiny_time.png', 'tiny_sweep.png']
    (records / 'tiny' / 'control_seed0' / 'run.json').unlink()
    experiment = _experiments.load_experiment('tiny', root)
    assert _figures.timed(experiment.arm('control'), records) == [], 'made nobody knows how'


@pytest.mark.slow
def test_a_dry_run_prints_commands_and_builds_but_trains_nothing(
    tiny, tmp_path, capsys, monkeypatch
):
    root = tiny[0]
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        run_experiment.main(
            [
                'tiny',
                '--experiments',
                str(root),
                '--dry-run',
                '--records',
                str(tmp_path / 'records'),
                '--work-dirs',
                str(tmp_path / 'work'),
                '--runs',
                'all',
                'infobatch',
            ]
        )
    text = capsys.readouterr().out
    assert ended.value.code == 0, text
    assert 'tiny/all_seed0: missing' in text and 'all can be built' in text
    assert 'tools/train.py' in text and 'randomness.seed=0' in text
    assert not (tmp_path / 'work').exists() and not (tmp_path / 'records').exists()


def test_a_stopped_experiment_stops_its_runs_and_says_how_to_go_on(tmp_path):
    experiment_of(tmp_path, [dict(name='all')])
    fake = tmp_path / 'python'
    fake.write_text(
        f'#!/bin/bash\necho $$ > {tmp_path}/pid.part\n'
        f'mv {tmp_path}/pid.part {tmp_path}/pid\nexec sleep 600\n'
    )
    fake.chmod(0o755)
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / 'tools' / 'run_experiment.py'),
            'small',
            '--experiments',
            str(tmp_path),
            '--records',
            str(tmp_path / 'records'),
            '--work-dirs',
            str(tmp_path / 'work'),
            '--python',
            str(fake),
            '--poll',
            '0.1',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.time() + 120
    while not (tmp_path / 'pid').exists() and time.time() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143 and 'stopped; the same command goes on' in output, output
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)
    note = json.loads((tmp_path / 'work' / 'small' / 'all_seed0' / 'run.json').read_text())
    assert note['starts'][0]['status'] == -signal.SIGTERM


@pytest.mark.slow
def test_three_steps_of_a_pruned_segmentor_on_drawn_files_reach_a_pass_that_prunes():
    arm = _experiments.load_experiment('ade20k').arm('80k_infobatch')
    built = _dry_run.build_config(_experiments.settings(arm, 0, RECORDS))
    assert '80,000 iterations, SoftPruning' in built.note
    steps = _dry_run.three_steps(built, 'ade20k')
    losses = steps.text.partition('loss ')[2].partition(';')[0].split(', ')
    assert len(losses) == 3 and all(math.isfinite(float(each)) for each in losses)
    assert 'the second pass prunes ' in steps.text and 'prunes 0' not in steps.text
    if not torch.cuda.is_available():
        assert steps.seconds is None, 'small steps say nothing of the time of full ones'


@pytest.mark.slow
def test_full_steps_are_timed_and_tell_the_hours_of_a_run():
    arm = _experiments.load_experiment('camvid').arm('infobatch')
    built = _dry_run.build_config(_experiments.settings(arm, 0, RECORDS))
    steps = _dry_run.three_steps(built, 'ade20k', full_size=True)
    assert steps.text.startswith('3 steps of 8 crops of 128x160: ') and steps.seconds > 0
    # 5,000 iterations less the saving of 28.5 % that the file expects, at 36 s: 35.75 hours
    line = run_experiment.hours(arm, built.cfg, 36.0)
    assert line.startswith('36.00 s a step here: 3,575 iterations take about 35.8 h')
    built.cfg.train_cfg.budget = 'iterations'
    assert '5,000 iterations take about 50.0 h' in run_experiment.hours(arm, built.cfg, 36.0)


def test_a_dry_run_leaves_mixed_precision_out_only_where_it_cannot_be_had(monkeypatch):
    arm = _experiments.load_experiment('camvid_r50').arm('infobatch')
    run = _experiments.settings(arm, 0, RECORDS)
    assert '--amp' in _experiments.arguments(run, 'work')
    monkeypatch.setattr(_dry_run, 'get_device', lambda: 'cpu')
    assert _dry_run.make_config(run).optim_wrapper.type == 'OptimWrapper'
    for module in (_dry_run, train):
        monkeypatch.setattr(module, 'get_device', lambda: 'cuda')
    assert _dry_run.make_config(run).optim_wrapper.type == 'AmpOptimWrapper'


# --------------------------------------------------------------------- figures


def test_the_distribution_counts_every_sample_before_and_every_weight_after():
    scores = -torch.rand(2000, generator=torch.Generator().manual_seed(0)).log()
    scores[:100] = float('nan')
    found = _losses.distribution(scores, SoftPruning(0.5))
    below = int((scores < scores[100:].double().mean()).sum())
    assert sum(found['before']) == 1900
    assert sum(found['after']) == sum(found['rescaled']) == 1900 - below // 2
    assert sum(found['weighted']) == pytest.approx(1900, abs=0.5)
    assert found['mean'] == pytest.approx(float(scores[100:].double().mean()))
    edges = np.array(found['edges'])
    above = edges[:-1] >= found['threshold']
    before, after, rescaled = (np.array(found[key]) for key in ('before', 'after', 'rescaled'))
    assert (before[above] == after[above]).all()
    assert rescaled[above].sum() > after[above].sum(), 'rescaling moves losses to the right'


def test_curves_of_unlike_length_are_averaged_at_the_same_share():
    long, short = (np.arange(11.0), np.arange(11.0)), (np.arange(6.0), 2 * np.arange(6.0))
    x, y, spread = _figures.mean_curve([long, short], 3)
    assert x.tolist() == [0, 3.75, 7.5] and y.tolist() == [0, 5, 10] and spread.tolist() == [0] * 3
    x, y, spread = _figures.mean_curve([long])
    assert x.tolist() == y.tolist() == list(range(11)) and not spread.any()
