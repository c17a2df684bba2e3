"""Experiments: what their files say, runs that are made, interrupted and resumed, and reports."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import toolbox_runs as runs
import torch
from mmengine.config import Config
from PIL import Image
from warm_start import Ranks, free_port, run_script

import experiment
from experiment_engine import (
    documents,
    dry_run,
    figures,
    losses,
    records,
    results,
    runner,
    settings,
    settings_table,
    tables,
)
from experiment_engine.drawing import mean_curve
from experiment_engine.jobs import Job, Places, command_of, jobs_of, scores_command, status
from experiment_engine.spec import EXPERIMENTS, available, load_experiment
from mm_infobatch import cli
from mm_infobatch.cli import train
from mm_infobatch.policies import SoftPruning

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / 'tools' / 'analysis_tools' / 'experiment.py'
RECORDS = ROOT / 'records'
NAMES = available()

# -------------------------------------------------- the repository's own files


@pytest.mark.default_cases('camvid', 'fashion_mnist', 'table1_cifar10', 'table5')
@pytest.mark.parametrize('name', NAMES)
def test_every_arm_of_the_repository_is_a_config_that_train_would_take(name):
    for arm in load_experiment(name).arms.values():
        if arm.owner != name:
            continue
        run = settings.settings(arm, arm.seeds[-1], RECORDS)
        cfg = dry_run.make_config(run)
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


def test_the_documents_show_each_experiment_that_has_run_and_list_the_others():
    shown, listed = set(), {}
    for document in documents.DOCUMENTS:
        for match in documents.PLACE.finditer(document.read_text()):
            if match.group(2) == 'experiment':
                shown.add(match.group(3).partition(', ')[0])
            elif match.group(2) == 'shares':
                shown.update(match.group(3).split(', '))
            elif match.group(2) == 'experiments':
                listed[match.group(3)] = match.group(0)
    run = {name for name in NAMES if tables.has_run(load_experiment(name), RECORDS)}
    assert shown == run and run != set(NAMES)
    for name in NAMES:
        assert f'| [{name}]({name}.py) |' in listed['run' if name in run else 'planned']
    assert '| 0 of ' not in listed['run']
    assert sum(map(len, (each.splitlines() for each in listed.values()))) == len(NAMES) + 2 * 4


@pytest.mark.parametrize('document', documents.DOCUMENTS, ids=lambda path: path.name)
def test_every_table_of_the_documents_is_what_the_records_say(document):
    text = document.read_text()
    assert documents.render(text) == text


def test_every_figure_is_drawn_from_the_records_as_they_are():
    out = ROOT / 'docs' / 'figures'
    assert figures.update(NAMES, EXPERIMENTS, RECORDS, out, check=True) == []


def test_an_arm_without_a_record_has_no_row_and_an_experiment_without_one_no_table():
    table = tables.text('cifar10_slim')
    assert len(load_experiment('cifar10_slim').arms) == 3
    rows = [line for line in table.splitlines() if line.startswith('| ')]
    assert len(rows) == 2 + 2 and 'as many iterations' not in table
    with pytest.raises(ValueError, match='table6: it has no record yet'):
        tables.text('table6')


@pytest.mark.parametrize('name', NAMES)
def test_the_records_are_of_the_settings_that_the_files_say(name):
    for job in jobs_of(load_experiment(name)):
        recorded = job.seed in records.recorded(job.arm, RECORDS)
        state = status(job, Places(Path('nowhere'), RECORDS))
        assert (state == 'done') == recorded and 'differs' not in state, job.name


def test_every_record_belongs_to_an_arm_and_says_how_it_was_made():
    known = {
        records.path_of(arm, seed, RECORDS)
        for name in NAMES
        for arm in load_experiment(name).arms.values()
        for seed in arm.seeds
    }
    found = set(RECORDS.glob('*/*_seed*.json'))
    assert len(found) > 80 and found <= known
    assert not [
        path for path in RECORDS.rglob('*') if path.is_file() and path.parent.parent != RECORDS
    ]
    for path in found:
        content = json.loads(path.read_text())
        assert content['cfg']['randomness']['seed'] == int(path.stem.rpartition('seed')[2])
        assert content['environment']['packages']['torch'] and content['iterations'] > 0
        if content['starts'] is not None:
            assert content['settings']['experiment'] == path.parent.name
            assert all(len(one['revision']) == 40 for one in content['starts'])
            assert content['starts'][-1]['status'] == 0


# ----------------------------------------------------------------- statistics


def test_welchs_interval_is_that_of_a_worked_example():
    # Variances 2.5 and 10, n = 5: s^2 = 2.5, df = 6.25 / (0.25 / 4 + 4 / 4) = 5.882.
    found, half = results.difference([1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
    assert found == -3 and half == pytest.approx(3.888, abs=0.002)
    # Two groups of the same two values: the standard error is 1 each, t(0.975, 2) = 4.303.
    assert results.interval([50.0, 52.0], [50.0, 52.0]) == '+0.00 [-6.08, +6.08]'
    assert results.difference([1.0], [2.0, 3.0]) == (-1.5, None)
    assert results.difference([2.0, 2.0], [1.0, 1.0]) == (1.0, 0.0)


def test_welchs_interval_is_that_of_scipys_own_test():
    one, two = [89.1, 89.6, 89.4, 88.9], [90.2, 88.0, 89.9]
    found, half = results.difference(one, two)
    p_value = scipy.stats.ttest_ind(np.add(one, half - found), two, equal_var=False).pvalue
    assert p_value == pytest.approx(0.05)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    # At n = 4 and 3 and such unlike variances Welch's approximation covers 93 % and not 95 %;
    # 2,000 draws have a standard deviation of 0.6 %, so a chance of 1e-3 to leave these limits.
    # The control is too narrow an interval, of normal quantiles.
    rng = np.random.default_rng(0)
    covered = normal = 0
    for _ in range(2000):
        one, two = rng.normal(1, 1, 4), rng.normal(0, 3, 3)
        found, half = results.difference(list(one), list(two))
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
    return load_experiment(name, tmp_path)


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
        ([dict(name='all', scores=dict(method='el2n'))], {}, 'scores: of is missing'),
        (
            [dict(name='all'), dict(name='b', scores=dict(method='el2n', of='all', epochs=[1]))],
            {},
            'all has to keep its checkpoints',
        ),
        ([dict(label='all')], {}, 'an arm is a dict with a name or same_as'),
        ([dict(same_as='small2/all')], {}, "experiment 'small2'"),
        (
            [dict(name='all')],
            dict(figures=[dict(kind='curves', arms=['b'])]),
            "'b' is none of the arms",
        ),
        ([dict(name='all')], dict(figures=[dict(kind='pie', arm='all')]), 'give it a kind (curves'),
        ([dict(name='all')], dict(figures=[dict(kind='curves')]), 'and arms or arm'),
        ([dict(name='all')], dict(seed=3), 'seed is none of title'),
    ],
)
def test_an_experiment_that_cannot_be_is_refused_with_the_reason(tmp_path, arms, more, message):
    with pytest.raises(ValueError) as error:
        experiment_of(tmp_path, arms, **more)
    assert message in str(error.value)


def test_an_unknown_experiment_and_an_unknown_run_are_refused(tmp_path):
    with pytest.raises(ValueError, match='does not exist; there are: ade20k, camvid'):
        load_experiment('no_such')
    experiment = experiment_of(tmp_path, [dict(name='all')])
    with pytest.raises(ValueError, match='--runs infobatch: is none of all, all_seed0, all_seed1'):
        jobs_of(experiment, ['infobatch'])
    assert [job.seed for job in jobs_of(experiment, ['all_seed1'])] == [1]


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
    cfg.merge_from_dict(settings.shortened(cfg, 700))
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


def write_record(folder, arm, seed, settings=None, **totals):
    """A record with as much in it as settings and states of runs look at."""
    totals = dict(
        dict(finished=True, iterations=4680, schedule_iterations=4680, saving=0.0), **totals
    )
    content = dict(
        settings=settings,
        starts=settings and [dict(status=0)],
        iterations=totals['iterations'],
        samples=None,
        seconds=None,
        notes=[],
        train={},
        metrics={},
        infobatch=dict(passes={}, totals=totals),
    )
    path = records.path_of(arm, seed, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(records.dumps(content))


def test_arms_that_go_by_another_one_are_planned_first_and_then_follow_its_record(tmp_path):
    _, infobatch, control, random, half = experiment_of(tmp_path, ARMS).arms.values()
    places = Places(tmp_path / 'work', tmp_path / 'records')

    def options(arm, seed=0):
        return places.settings(Job(arm, seed))['options']

    assert options(control)['train_cfg.max_epochs'] == 7  # 10 epochs x 0.7
    job = Job(control, 0)
    assert status(job, places) == 'waits for small/infobatch_seed0, which has no record'
    write_record(places.records, infobatch, 0, iterations=2340, saving=0.5)
    assert status(job, places) == 'missing'
    assert options(control)['train_cfg.max_epochs'] == 5
    assert options(control)['param_scheduler.total_steps'] == 5
    assert options(control, seed=1)['train_cfg.max_epochs'] == 7, 'of the other seed: still planned'
    policy = places.settings(Job(random, 0))['infobatch']['policy']
    assert policy['prune_ratio'] == pytest.approx(0.5 * 10 / 9, abs=1e-4)
    assert 'train_cfg.max_epochs' not in options(half), 'half of the samples: as it is'


SCORED = [
    dict(name='all'),
    dict(
        name='selection',
        infobatch=dict(policy=dict(type='SoftPruning', prune_ratio=0)),
        keep_checkpoints=True,
        schedule=0.4,
    ),
    dict(
        name='el2n',
        infobatch=dict(delta=1, policy=dict(type='FromFile', keep=0.5)),
        scores=dict(method='el2n', of='selection', epochs=[1, 2]),
    ),
    dict(
        name='craig',
        infobatch=dict(delta=1, policy=dict(type='FromFile')),
        scores=dict(
            method='craig', of='selection', epochs=[2], seeds=[1], options=['--keep', '0.5']
        ),
    ),
]


def test_an_arm_of_scores_waits_for_the_runs_that_they_are_of_and_then_makes_them(tmp_path):
    _, selection, el2n, craig = experiment_of(tmp_path, SCORED).arms.values()
    places = Places(tmp_path / 'work', tmp_path / 'records', cfg_options=['a.b=1'])
    no_record = 'waits for small/selection_seed{}, which has no record'
    assert status(Job(el2n, 0), places) == no_record.format(0)
    assert status(Job(craig, 0), places) == no_record.format(1)
    write_record(places.records, selection, 0)
    work = tmp_path / 'work' / 'small'
    for epoch in (1, 2):  # the record alone is what a clone of the repository has
        again = 'waits for small/selection_seed0, which has to train again for its checkpoints'
        assert status(Job(el2n, 0), places) == again
        (work / 'selection_seed0').mkdir(parents=True, exist_ok=True)
        (work / 'selection_seed0' / f'epoch_{epoch}.pth').touch()
    assert status(Job(el2n, 0), places) == 'missing'
    note = work / 'selection_seed0' / 'run.json'
    settings = places.settings(Job(selection, 0))
    note.write_text(json.dumps(dict(settings, starts=[dict(status=None)])))
    assert status(Job(el2n, 0), places) == again, 'it still trains'
    note.write_text(json.dumps(dict(settings, starts=[dict(status=0)])))
    assert status(Job(el2n, 0), places) == 'missing'
    assert status(Job(selection, 0), places) == 'done'
    assert 'not all of its checkpoints' in status(Job(selection, 0), places, again=True)
    assert status(Job(craig, 0), places) == no_record.format(1)
    made = scores_command(Job(craig, 0), places, 'python')
    assert made[:5] == ['python', '-m', 'mm_infobatch', 'scores', 'craig']
    assert made[6:9] == [
        f'{work}/selection_seed1/epoch_2.pth',
        '--out',
        f'{work}/craig_seed0/scores.npz',
    ]
    assert made[9:] == [
        '--work-dir', f'{work}/extraction', '--keep', '0.5', '--cfg-options', 'a.b=1',
    ]  # fmt: skip
    assert [Path(each).name for each in scores_command(Job(el2n, 1), places)[6:8]] == [
        'epoch_1.pth',
        'epoch_2.pth',
    ]
    bash, _, line = command_of(Job(el2n, 0), places, False, 'python')
    assert bash == 'bash' and line.startswith(f'{{ test -e {work}/el2n_seed0/scores.npz || python')
    assert f'policy.path={work}/el2n_seed0/scores.npz' in line.partition('; } && ')[2]
    run = places.settings(Job(el2n, 0))
    assert run['scores']['seeds'] == [0] and 'path' not in run['infobatch']['policy']
    write_record(places.records, el2n, 0, run)
    assert status(Job(el2n, 0), places) == 'done'
    run['scores']['epochs'] = [2]
    write_record(places.records, el2n, 0, run)
    assert status(Job(el2n, 0), places).startswith('differs: scores')


def test_extra_time_is_choosing_and_scores_and_the_runs_that_they_are_of(tmp_path):
    arms = experiment_of(tmp_path, SCORED).arms

    def extra(name):
        found = records.recorded(arms[name], tmp_path)
        return tables.extra_time(arms[name], found, tmp_path)

    for name, seed, choosing in (('selection', 0, 0.25), ('el2n', 0, 0.5), ('craig', 0, 0)):
        write_record(tmp_path, arms[name], seed, seconds_choosing=choosing)
    assert extra('selection') == '0.250 s'
    assert extra('el2n') == '?', 'its record has no scores'
    for name in ('el2n', 'selection', 'craig'):
        path = records.path_of(arms[name], 0, tmp_path)
        content = json.loads(path.read_text())
        content.update(seconds=100.0, scores=dict(seconds=dict(extraction=30.0, method=5.0)))
        path.write_text(json.dumps(content))
        os.utime(path, ns=(0, 10**9))
    assert extra('el2n') == '2 min 16 s'  # 0.5 + 100 of the selection + 35
    assert extra('craig') == '?', 'the selection of seed 1 has no record'


@pytest.mark.runs
def test_scores_are_made_before_the_arm_that_is_trained_on_them(tmp_path):
    data = runs.write_classification_data(tmp_path / 'data', num_images=24)
    cfg = runs.classification_config(data, tmp_path / 'run', max_epochs=5, val_interval=1)
    runs.checkpoints_every(cfg, 1, by_epoch=True).dump(str(tmp_path / 'config.py'))
    arms = [dict(one, config=str(tmp_path / 'config.py')) for one in SCORED]
    arms[3] = dict(arms[3], scores=dict(arms[3]['scores'], seeds=[0]))
    small = experiment_of(tmp_path, arms, seeds=[0])
    places = Places(tmp_path / 'work', tmp_path / 'records')
    wanted = jobs_of(small, ['selection', 'el2n', 'craig'])
    start = runner.start

    def start_cheaply(command, *args):
        return (start if command[0] == 'bash' else InProcess)(command, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, 'start', start_cheaply)
        patch.setattr(runner, 'say', lambda line: None)
        patch.setattr(signal, 'signal', lambda *_: None)
        patch.chdir(ROOT)
        assert runner.run_all(wanted[:1], places) == 0
        record = places.record(wanted[0])
        kept = record.read_text()
        shutil.rmtree(places.work_dirs)  # as in a clone of the repository
        assert runner.run_all(wanted, places) == 0
    assert record.read_text() == kept
    for name in ('el2n', 'craig'):
        (record,) = records.recorded(small.arms[name], places.records).values()
        assert record.content['scores']['method'] == name
        assert record.run.infobatch['totals']['saving'] == 0.5
        assert str(tmp_path) not in json.dumps(record.content['scores'])
        assert (places.work_dirs / 'small' / f'{name}_seed0' / 'scores.npz').is_file()
    found = records.recorded(small.arms['el2n'], places.records)
    assert tables.extra_time(small.arms['el2n'], found, places.records) != '?'
    text = tables.text('small, cost', tmp_path, tmp_path)
    head = text.splitlines()[0]
    assert '| extra time' in head and 'paper' not in head  # of which no arm has a figure


def test_an_arm_follows_no_record_of_a_run_that_did_not_finish(tmp_path):
    _, infobatch, control, *_ = experiment_of(tmp_path, ARMS).arms.values()
    places = Places(tmp_path / 'work', tmp_path / 'records')
    write_record(places.records, infobatch, 0, iterations=2340, saving=0.5, finished=False)
    assert status(Job(control, 0), places) == 'waits for small/infobatch_seed0, which has no record'


def test_a_batch_is_divided_among_processes_or_refused(tmp_path):
    arm = experiment_of(tmp_path, [dict(name='all')], batch=16, gpus=4).arms['all']
    assert settings.settings(arm, 0, tmp_path, 8)['options']['train_dataloader.batch_size'] == 2
    with pytest.raises(ValueError, match='a batch of 16 cannot be divided among 3 processes'):
        settings.settings(arm, 0, tmp_path, 3)


def test_a_record_of_other_settings_is_not_taken_for_the_run(tmp_path):
    arm = experiment_of(tmp_path, [dict(name='all')]).arms['all']
    places, job = Places(tmp_path / 'work', tmp_path / 'records'), Job(arm, 0)
    run = places.settings(job)
    write_record(places.records, arm, 0, run)
    assert status(job, places) == 'done'
    run['options']['train_cfg.max_epochs'] = 3
    write_record(places.records, arm, 0, run)
    assert status(job, places).startswith('differs: options')
    write_record(places.records, arm, 0)
    assert status(job, places) == 'done', 'nobody knows how it was made'


def test_a_tuple_among_the_options_is_no_other_setting_when_it_is_read_back(tmp_path):
    options = {'train_dataloader.dataset.part': (0, 5)}
    arm = experiment_of(tmp_path, [dict(name='all', options=options)]).arms['all']
    places, job = Places(tmp_path / 'work', tmp_path / 'records'), Job(arm, 0)
    write_record(places.records, arm, 0, places.settings(job))
    assert status(job, places) == 'done'


def test_runs_of_which_the_ends_were_kept_are_lines_of_one_file(tmp_path):
    arm = experiment_of(tmp_path, [dict(name='all')]).arms['all']
    for seed, saving in ((0, 0.1), (1, 0.2)):
        write_record(tmp_path, arm, seed, dict(arm='all', seed=seed), saving=saving)
    paths = [records.path_of(arm, seed, tmp_path) for seed in (0, 1)]
    lines = [json.dumps(json.loads(path.read_text())) for path in paths]
    (tmp_path / 'small' / 'runs.jsonl').write_text('\n'.join(lines))
    paths[0].unlink()
    found = records.recorded(arm, tmp_path)
    assert [found[seed].run.infobatch['totals']['saving'] for seed in (0, 1)] == [0.1, 0.2]


def test_samples_and_seconds_go_on_behind_the_last_line_of_the_log():
    train = dict(iter=[5, 10], loss=[2.0, None], samples=[20, 40], seconds=[1.0, 3.0])
    whole = dict(iterations=15, samples=60, seconds=3.5, notes=[], infobatch=None)
    run = records.run_of(dict(whole, train=train, metrics={}), 'run')
    at = np.array([0, 5, 10, 15])
    assert run.samples_at(at).tolist() == [0, 20, 40, 60]
    assert run.seconds_at(at).tolist() == [0, 1, 3, 3.5]
    assert run.train == [dict(iter=5, loss=2.0), dict(iter=10)] and run.metric_names() == []


@pytest.mark.parametrize('content', ['', '[]', '{"settings": null, "train": {}}'])
def test_a_record_that_is_none_is_an_error_that_names_it(tmp_path, content):
    arm = experiment_of(tmp_path, [dict(name='all')]).arms['all']
    write_record(tmp_path, arm, 0)
    records.path_of(arm, 0, tmp_path).write_text(content)
    with pytest.raises(ValueError, match='all_seed0.json is not what make_record writes'):
        records.recorded(arm, tmp_path)


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


class InProcess:
    """A run of ``tools/train.py`` in this process, which does not import the toolboxes again."""

    def __init__(self, command, environment, output):
        torch.set_num_threads(1)
        name = f'experiment_name={runs.new_name()}'
        with pytest.MonkeyPatch.context() as patch, output.open('a') as file:
            patch.setattr(sys, 'stdout', file)
            try:
                cli.main(['train', *command[2:], name])
                self.code = 0
            except Exception:
                file.write(traceback.format_exc())
                self.code = 1

    def poll(self):
        return self.code


def run_tiny(root, *arguments):
    """Give the command in this process; its exit status and what it prints."""
    places = ('--records', root / 'records', '--work-dirs', root / 'work')
    command = ['run', 'tiny', '--experiments', root, *places, *arguments]
    lines = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.syspath_prepend(str(root))
        patch.setattr(runner, 'start', InProcess)
        patch.setattr(runner, 'say', lines.append)
        patch.setattr(signal, 'signal', lambda *_: None)
        experiment.main([str(each) for each in command])
    return ended.value.code, '\n'.join(lines)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """An experiment whose first run broke, so that the command was given twice."""
    root = tmp_path_factory.mktemp('tiny')
    data = runs.write_classification_data(root / 'data', num_images=48)
    cfg = runs.classification_config(data, root / 'run', max_epochs=8, val_interval=1)
    runs.checkpoints_every(cfg, 1, by_epoch=True)
    cfg.custom_imports = dict(imports=['breaks'], allow_failed_imports=False)
    cfg.custom_hooks = [dict(type='BreakOnce', flag=str(root / 'broke'))]
    cfg.dump(str(root / 'config.py'))
    (root / 'breaks.py').write_text(BREAKS)
    (root / 'tiny.py').write_text(TINY.format(config=str(root / 'config.py')))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return root, [run_tiny(root), run_tiny(root)]


@pytest.fixture
def arms(tiny):
    """The arms of the tiny experiment, each with its record of seed 0."""
    root = tiny[0]
    found = load_experiment('tiny', root).arms
    return {name: records.recorded(arm, root / 'records')[0] for name, arm in found.items()}


def test_what_broke_is_reported_and_the_same_command_resumes_it(tiny, arms):
    (first, broken), (second, whole) = tiny[1]
    assert first == 1 and 'tiny/all_seed0: ended with status 1' in broken, broken
    assert 'pulled the plug' in broken and 'tiny/infobatch_seed0: done in' in broken
    assert 'tiny/control_seed0: done in' in broken, 'it does not wait for the broken run'
    assert '2 of 3 runs have a record; failed: tiny/all_seed0' in broken
    assert second == 0 and '3 of 3 runs have a record' in whole, whole
    assert 'all_seed0: resumed' in whole and 'infobatch_seed0: started' not in whole
    starts = arms['all'].content['starts']
    assert [(one['resumed'], one['status']) for one in starts] == [(False, 1), (True, 0)]
    run = arms['all'].run
    assert run.iterations == 8 * 12 and run.notes == []
    assert [row['iter'] for row in run.train] == list(range(1, 97))


def test_a_record_is_one_small_file_that_says_what_was_run_on_what(tiny, arms):
    folder = tiny[0] / 'records' / 'tiny'
    assert sorted(path.name for path in folder.iterdir()) == [
        'all_seed0.json',
        'control_seed0.json',
        'infobatch_seed0.json',
    ]
    assert max(path.stat().st_size for path in folder.iterdir()) < 50_000
    content = arms['infobatch'].content
    assert content['settings']['seed'] == 0
    assert content['settings']['options']['randomness.seed'] == 0
    (start,) = content['starts']
    assert len(start['revision']) in (7, 40) and start['seconds'] > 0
    assert content['cfg']['train_dataloader']['sampler']['type'] == 'InfoBatchSampler'
    assert content['environment']['cores'] and len(content['losses']) == 8
    assert str(tiny[0]) not in json.dumps({**content, 'cfg': None, 'settings': None})


@pytest.mark.parametrize('name', ['all', 'infobatch', 'control'])
def test_a_record_has_the_run_that_its_work_directory_has(tiny, arms, name):
    kept, logged = arms[name].run, records.read_run(tiny[0] / 'work' / 'tiny' / f'{name}_seed0')
    for each in ('iterations', 'samples', 'seconds', 'notes'):
        assert getattr(kept, each) == getattr(logged, each), each
    for left, right in zip(
        (*kept.loss(), *kept.metric()[1:]), (*logged.loss(), *logged.metric()[1:])
    ):
        assert len(right) and left.tolist() == pytest.approx(right.tolist(), rel=1e-8)
    assert kept.metric_names() == logged.metric_names()
    at = np.concatenate([kept.loss()[0], kept.metric()[1]])
    assert kept.samples_at(at).tolist() == pytest.approx(logged.samples_at(at).tolist(), rel=1e-8)
    assert kept.seconds_at(at).tolist() == pytest.approx(logged.seconds_at(at).tolist(), rel=1e-8)
    assert (kept.infobatch is None) == (name != 'infobatch')
    if kept.infobatch is not None:
        for key in ('settings', 'totals'):
            assert kept.infobatch[key] == logged.infobatch[key]
        for left, right in zip(kept.infobatch['passes'], logged.infobatch['passes']):
            assert 'histogram' in right and 'histogram' not in left
            present = {
                key: value
                for key, value in right.items()
                if value is not None and key != 'histogram'
            }
            assert left == pytest.approx(present, rel=1e-8) and left['iterations'] > 0


def test_the_control_trains_as_many_epochs_as_the_pruned_run_took_iterations(arms):
    pruned, control = arms['infobatch'].run, arms['control'].run
    assert pruned.iterations < 96
    assert control.iterations == 12 * max(1, round(8 * pruned.iterations / 96)) < 96
    assert control.infobatch is None


def test_the_table_has_the_numbers_of_the_records(tiny, arms):
    root = tiny[0]
    text = tables.text('tiny, figures', root, root)
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('|')
    ]
    table = {row[0]: dict(zip(rows[0], row)) for row in rows}
    full, pruned = table['all data'], table['InfoBatch']
    run = arms['infobatch'].run
    assert full['n'] == '1 of 1' and full['iterations'] == '96' and full['paper'] == '33.0'
    assert float(pruned['accuracy/top1']) == round(run.metric()[2][-1], 2)
    assert (
        pruned['difference [95 %]']
        == f'{float(pruned["accuracy/top1"]) - float(full["accuracy/top1"]):+.2f} (too few runs)'
    )
    assert pruned['saving'] == f'{100 * run.infobatch["totals"]["saving"]:.1f} %'
    assert pruned['log'] == '`records/tiny/infobatch_seed0.json`'
    assert (root / pruned['log'].strip('`')).is_file()
    assert 'cores' in pruned['hardware'] or 'x ' in pruned['hardware']
    assert '\n\nInfoBatch minus control: ' in text and 'figures/tiny_losses.png' in text
    worst = tables.text('tiny, worst', root, root).splitlines()
    assert worst[0].count('|') == 8 and ' | worst  | ' in worst[0] and 'hardware' not in worst[0]


def test_the_table_of_settings_has_the_arms_that_prune_and_their_bars(tiny, arms):
    root = tiny[0]
    (line,) = [
        line
        for line in settings_table.text('tiny', root, root).splitlines()
        if '| InfoBatch ' in line
    ]
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    pruned, full, control = (
        arms[name].run.metric()[2][-1] for name in ('infobatch', 'all', 'control')
    )
    assert cells[1] == f'{arms["all"].run.train[-1]["loss"]:.2f}'
    assert cells[4] == f'{pruned - full:+.2f} (too few runs)'
    assert cells[6] == f'{pruned - control:+.2f} (too few runs)' and cells[7] == '-'
    arm = load_experiment('tiny', root).arms['infobatch']

    def bar(values, saving):
        return settings_table.verdict(arm, saving, values, [90.0, 90.1, 90.2], root / 'records')

    assert bar([90.0, 90.1, 90.2], 0.25) == 'met'
    assert bar([89.8, 89.9, 90.0], 0.25) == '**missed**', 'the interval, not the mean'
    assert bar([90.0, 90.1, 90.2], 0.2) == bar([90.0], 0.3) == bar([90.0, 90.1], None) == '-'
    assert line in settings_table.text('tiny; infobatch', root, root)
    for names, folder in (('tiny', root / 'nowhere'), ('tiny; all', root)):
        with pytest.raises(ValueError, match='no record of an arm that prunes'):
            settings_table.text(names, folder, root)


def test_an_arm_is_compared_with_its_own_controls(monkeypatch):
    experiment = load_experiment('steps_fashion_mnist')
    ends = {'control': [90.0], 'control_longer': [90.2], 'control_importance': [91.0]}
    ends['control_25'] = [89.0]
    monkeypatch.setattr(settings_table, 'finals', lambda arm, records: ends.get(arm.name, []))

    def better(name):
        control = settings_table.better_control(experiment, experiment.arms[name], Path('records'))
        return None if control is None else control.name

    assert better('importance') == 'control_importance'
    assert better('paper') == better('capped') == 'control_longer', 'those of the first that has'
    assert better('random') == 'control_longer', 'no saving is expected of it'
    assert better('importance_shrink_25') == 'control_25', 'of the same expected saving'
    del ends['control_importance']
    assert better('importance') is None, 'none of its own has run'


def test_figures_are_the_same_bytes_and_out_of_date_when_a_record_changes(tiny, tmp_path):
    root, folder = tiny[0], tmp_path / 'records'
    shutil.copytree(root / 'records', folder)
    first, second = tmp_path / 'a', tmp_path / 'b'

    def stale(out, check):
        return figures.update(['tiny'], root, folder, out, check)

    assert len(stale(first, False)) == len(stale(second, False)) == 5
    assert stale(first, True) == []
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        with Image.open(path) as image:
            assert image.size[0] > 900 and image.convert('L').getextrema() != (255, 255)
    changed = folder / 'tiny' / 'control_seed0.json'
    content = json.loads(changed.read_text())
    content['train']['loss'][0] += 1
    changed.write_text(records.dumps(content))
    assert stale(first, True) == ['tiny_curves.png', 'tiny_time.png', 'tiny_sweep.png']
    changed.write_text(records.dumps(dict(content, starts=None)))
    arm = load_experiment('tiny', root).arms['control']
    assert not records.recorded(arm, folder)[0].timed, 'made nobody knows how'


def test_a_plan_prints_commands_and_builds_but_trains_nothing(tiny, tmp_path, capsys, monkeypatch):
    root = tiny[0]
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.chdir(ROOT)
    places = ['--records', str(tmp_path / 'records'), '--work-dirs', str(tmp_path / 'work')]
    with pytest.raises(SystemExit) as ended:
        experiment.main(
            ['plan', 'tiny', '--experiments', str(root), *places, '--runs', 'all', 'infobatch']
        )
    text = capsys.readouterr().out
    assert ended.value.code == 0, text
    assert 'tiny/all_seed0: missing' in text and 'all can be built' in text
    assert 'tools/train.py' in text and 'randomness.seed=0' in text
    assert not (tmp_path / 'work').exists() and not (tmp_path / 'records').exists()


@pytest.mark.runs
def test_a_run_of_two_processes_is_trained_by_dist_train(tiny, arms, tmp_path, monkeypatch):
    root = tiny[0]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    places = ['--records', str(tmp_path / 'records'), '--work-dirs', str(tmp_path / 'work')]
    command = ['run', 'tiny', '--experiments', str(root), *places, '--runs', 'infobatch']
    found = subprocess.run(
        [sys.executable, str(TOOL), *command, '--gpus', '2', '--port', str(free_port())],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ, PYTHONPATH=f'{root}{os.pathsep}{ROOT}', OMP_NUM_THREADS='1'),
    )
    output = tmp_path / 'work' / 'tiny' / 'infobatch_seed0' / 'output.txt'
    assert found.returncode == 0, found.stdout + found.stderr + output.read_text()[-4000:]
    arm = load_experiment('tiny', root).arms['infobatch']
    one, two = arms['infobatch'].run, records.recorded(arm, tmp_path / 'records')[0].run
    assert two.infobatch['totals']['finished'] and two.infobatch['totals']['saving'] > 0
    assert two.infobatch['settings']['num_samples'] == one.infobatch['settings']['num_samples']
    assert two.iterations < 0.7 * one.iterations, 'each process takes a half of the samples'
    content = records.recorded(arm, tmp_path / 'records')[0].content
    assert content['settings']['gpus'] == 2 and content['starts'][0]['devices'] == 0


def test_a_stopped_experiment_stops_its_runs_and_says_how_to_go_on(tmp_path):
    experiment_of(tmp_path, [dict(name='all')])
    fake = tmp_path / 'python'
    fake.write_text(
        f'#!/bin/bash\necho $$ > {tmp_path}/pid.part\n'
        f'mv {tmp_path}/pid.part {tmp_path}/pid\nexec sleep 600\n'
    )
    fake.chmod(0o755)
    places = ['--records', tmp_path / 'records', '--work-dirs', tmp_path / 'work']
    command = ['run', 'small', '--experiments', tmp_path, *places, '--python', fake]
    process = Ranks(run_script, (TOOL, list(map(str, command))), 1, tmp_path / 'said')
    assert process.wait_for(tmp_path / 'pid'), process.said()
    os.kill(process.processes[0].pid, signal.SIGTERM)
    assert process.wait() == [143], process.said()
    assert 'stopped; the same command resumes the runs' in process.said()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)
    note = json.loads((tmp_path / 'work' / 'small' / 'all_seed0' / 'run.json').read_text())
    assert note['starts'][0]['status'] == -signal.SIGTERM


class Failing:
    """A run that fails at the second look."""

    alive = most = 0
    given = []  # the slot of each, by its port, and its GPUs

    def __init__(self, command, environment, output):
        output.touch()
        self.looks = 0
        Failing.given.append((environment['PORT'], environment['CUDA_VISIBLE_DEVICES']))
        Failing.alive += 1
        Failing.most = max(Failing.most, Failing.alive)

    def poll(self):
        self.looks += 1
        Failing.alive -= self.looks == 2
        return 1 if self.looks > 1 else None


def test_runs_side_by_side_have_gpus_and_ports_of_their_own(tmp_path, monkeypatch):
    found = experiment_of(tmp_path, ARMS[:3], gpus=2)
    monkeypatch.setattr(runner, 'start', Failing)
    monkeypatch.setattr(runner, 'PAUSE', 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    lines = []
    monkeypatch.setattr(runner, 'say', lines.append)
    places = Places(tmp_path / 'work', tmp_path / 'records')
    assert runner.run_all(jobs_of(found), places, side_by_side=2, port=100) == 1
    assert Failing.most == 2 and len(Failing.given) == 4
    assert set(Failing.given) == {('100', '0,1'), ('101', '2,3')}
    assert 'small/control_seed1: waits for small/infobatch_seed1, which has no record' in lines
    assert lines[-1].startswith('0 of 6 runs have a record; failed: small/all_seed0')


def test_the_progress_of_a_run_is_the_last_line_of_its_log_that_has_the_time_left(tmp_path):
    running = runner.Running.__new__(runner.Running)
    running.job = Job(experiment_of(tmp_path, [dict(name='all')]).arms['all'], 0)
    running.output = tmp_path / 'output.txt'
    running.output.write_text('Loads checkpoint\n')
    assert running.progress() == 'small/all_seed0 starting'
    line = 'INFO - Epoch(train)  [7][{}/4]  lr: 5.0e-04  eta: {}  time: 1.6\n'
    with running.output.open('a') as file:
        file.write(line.format(1, '0:00:11') + line.format(2, '1 day, 2:00:09') + 'Saving\n')
    assert running.progress() == (
        'small/all_seed0 Epoch(train) [7][2/4] lr: 5.0e-04 eta: 1 day, 2:00:09'
    )


@pytest.mark.runs
def test_five_steps_of_a_pruned_segmentor_on_drawn_files_reach_a_pass_that_prunes(monkeypatch):
    monkeypatch.setattr(dry_run, 'SMALL_CROP', (64, 64))
    arm = load_experiment('ade20k').arms['80k_infobatch']
    built = dry_run.build_config(settings.settings(arm, 0, RECORDS))
    assert '80,000 iterations, SoftPruning' in built.note
    steps = dry_run.some_steps(built, 'ade20k')
    losses = steps.text.partition('loss ')[2].partition(';')[0].split(', ')
    assert len(losses) == dry_run.STEPS and all(math.isfinite(float(each)) for each in losses)
    assert 'the second pass prunes ' in steps.text and 'prunes 0' not in steps.text
    if not torch.cuda.is_available():
        assert steps.seconds is None, 'small steps say nothing of the time of full ones'


@pytest.mark.runs
def test_full_steps_are_timed_and_tell_the_hours_of_a_run():
    arm = load_experiment('camvid').arms['infobatch']
    built = dry_run.build_config(settings.settings(arm, 0, RECORDS))
    steps = dry_run.some_steps(built, 'ade20k', full_size=True)
    assert steps.text.startswith('5 steps of 8 crops of 128x160: ') and steps.seconds > 0
    # 5,000 iterations less the saving of 28.5 % that the file expects, at 36 s: 35.75 hours
    line = dry_run.hours(arm, built.cfg, 36.0)
    assert line.startswith('36.00 s a step here: 3,575 iterations take about 35.8 h')
    built.cfg.train_cfg.budget = 'iterations'
    assert '5,000 iterations take about 50.0 h' in dry_run.hours(arm, built.cfg, 36.0)


def test_a_plan_leaves_mixed_precision_out_only_where_it_cannot_be_had(monkeypatch):
    arm = load_experiment('camvid_r50').arms['infobatch']
    run = settings.settings(arm, 0, RECORDS)
    assert '--amp' in settings.arguments(run, 'work')
    monkeypatch.setattr(dry_run, 'get_device', lambda: 'cpu')
    assert dry_run.make_config(run).optim_wrapper.type == 'OptimWrapper'
    for module in (dry_run, train):
        monkeypatch.setattr(module, 'get_device', lambda: 'cuda')
    assert dry_run.make_config(run).optim_wrapper.type == 'AmpOptimWrapper'


# --------------------------------------------------------------------- figures


def test_the_distribution_counts_every_sample_before_and_every_weight_after():
    scores = -torch.rand(2000, generator=torch.Generator().manual_seed(0)).log()
    scores[:100] = float('nan')
    found = losses.distribution(scores, SoftPruning(0.5))
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
    x, y, spread = mean_curve([long, short], 3)
    assert x.tolist() == [0, 3.75, 7.5] and y.tolist() == [0, 5, 10] and spread.tolist() == [0] * 3
    x, y, spread = mean_curve([long])
    assert x.tolist() == y.tolist() == list(range(11)) and not spread.any()
