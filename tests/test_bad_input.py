"""Whatever a user gives that cannot work is one clear error; what can work at the edges, works."""

import json
import math
import re
import shutil
import sys
from pathlib import Path

import policies
import pytest
import toolbox_runs as runs
import torch
from inspect_runs import write_report
from small_runner import Numbered

import experiment
import make_segmentation_data
from mm_infobatch import PRUNING_POLICIES, InfoBatchLoss, InfoBatchSampler, cli
from mm_infobatch.cli import common, run_logs
from mm_infobatch.cli import train as train_tool
from mm_infobatch.passes.scores import ScoreTable
from mm_infobatch.policies import Plan

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


def refused(cfg, error, *parts):
    """The run ends with that error, which has these parts, before it has trained anything."""
    with pytest.raises(error) as info:
        runner, recorder = runs.build(cfg)
        runner.train()
    missing = [part for part in parts if part not in str(info.value)]
    assert not missing, f'{missing} not in {info.value}'
    assert 'recorder' not in locals() or not recorder.rows


# ----------------------------------------------------------------- settings of a config

LOADER, SAMPLER = 'train_dataloader', 'train_dataloader.sampler'
SETTINGS = [
    (f'{SAMPLER}.shuffle', 'False', TypeError, "shuffle has to be True or False, but is 'False'"),
    (f'{SAMPLER}.shuffle', None, TypeError, 'shuffle has to be True or False, but is None'),
    (f'{SAMPLER}.seed', 'abc', TypeError, "seed has to be an integer, but is 'abc'"),
    (f'{SAMPLER}.seed', 1.5, TypeError, 'seed has to be an integer, but is 1.5'),
    (f'{SAMPLER}.seed', True, TypeError, 'seed has to be an integer, but is True'),
    (f'{SAMPLER}.seed', 2**63, ValueError, 'seed=9223372036854775808 does not fit into 64 bits'),
    (f'{SAMPLER}.rank', '0', TypeError, "rank has to be an integer, but is '0'"),
    (f'{SAMPLER}.world_size', 1.0, TypeError, 'world_size has to be an integer, but is 1.0'),
    (f'{SAMPLER}.num_passes', 2.5, ValueError, 'num_passes=2.5 has to be an integer of at least 1'),
    (f'{SAMPLER}.policy', dict(prune_ratio=0.5), TypeError, "'prune_ratio': 0.5} has no type"),
    ('train_cfg.val_interval', 0, ValueError, 'train_cfg.val_interval=0 has to be an integer'),
    ('train_cfg.val_interval', '5', ValueError, "train_cfg.val_interval='5' has to be"),
    ('train_cfg.val_interval', 1.5, ValueError, 'train_cfg.val_interval=1.5 has to be'),
    ('train_cfg.val_begin', 'a', ValueError, "train_cfg.val_begin='a' has to be"),
    ('train_cfg.val_begin', -1, ValueError, 'val_begin=-1 has to be an integer of at least 0'),
    ('train_cfg.dynamic_intervals', 3, ValueError, 'train_cfg.dynamic_intervals=3 has to be'),
    ('train_cfg.dynamic_intervals', [(2, 0)], ValueError, '[(2, 0)] has to be a list of pairs'),
    ('train_cfg.dynamic_intervals', [(2,)], ValueError, '[(2,)] has to be a list of pairs'),
    (f'{LOADER}.batch_size', 0, ValueError, 'batch_size=0'),
    (f'{LOADER}.batch_size', None, ValueError, 'train_dataloader.batch_size=None'),
]


@pytest.mark.parametrize(
    'key, value, error, message', SETTINGS, ids=[f'{key}={value}' for key, value, *_ in SETTINGS]
)
def test_a_setting_that_cannot_work_is_named_before_training(cls, key, value, error, message):
    runs.put(cls, key, value)
    refused(cls, error, message)


@pytest.mark.parametrize('value', [True, '5', None, math.inf, math.nan, [5]])
def test_a_length_that_is_no_count_is_refused(seg, cls, value):
    for cfg, key in ((seg, 'max_iters'), (cls, 'max_epochs')):
        cfg.train_cfg[key], cfg.param_scheduler = value, None
        refused(cfg, ValueError, f'train_cfg.{key}={value!r} has to be an integer of at least 1')


def test_a_length_that_is_a_whole_float_works(seg):
    seg.train_cfg.max_iters = 6.0
    assert len(runs.train(seg).rows) == 6


@pytest.mark.parametrize('key, value', [('val_interval', 0), ('dynamic_intervals', [(2, 0)])])
def test_an_iteration_loop_refuses_what_would_fail_at_the_first_validation(seg, key, value):
    seg.train_cfg[key] = value
    refused(seg, ValueError, f'train_cfg.{key}={value!r}')


MISSPELT = [
    (f'{SAMPLER}.dlta', 0.5, ('InfoBatchSampler', "'dlta'")),
    (f'{SAMPLER}.policy.prune_ration', 0.5, ('SoftPruning does not take prune_ration, only',)),
    ('custom_hooks.0.interval', 3, ('InfoBatchHook', "'interval'")),
    ('model.head.loss.scor', False, ('InfoBatchLoss', "'scor'")),
    ('model.head.loss.loss.loss_weigth', 1.0, ('CrossEntropyLoss', "'loss_weigth'")),
    ('train_cfg.max_epoch', 3, ('InfoBatchEpochLoop', "'max_epoch'")),
    ('train_cfg.budget', 'passes', ('InfoBatchEpochLoop', "'budget'")),
]


@pytest.mark.parametrize('key, value, parts', MISSPELT, ids=[key for key, *_ in MISSPELT])
def test_a_misspelt_argument_is_named_with_the_class_that_does_not_take_it(cls, key, value, parts):
    runs.put(cls, key, value)
    refused(cls, TypeError, *parts)


MISNAMED = {
    SAMPLER: 'InfoBatchSamplr',
    f'{SAMPLER}.policy': 'SofPruning',
    'custom_hooks.0': 'InfobatchHook',
    'model.head.loss': 'InfoBatchLos',
    'train_cfg': 'InfoBatchEpochLop',
    f'{LOADER}.dataset': 'SeedDataset',
}


@pytest.mark.parametrize('key', MISNAMED)
def test_a_misspelt_type_is_named_with_the_registry_that_does_not_have_it(cls, key):
    runs.put(cls, f'{key}.type', MISNAMED[key])
    refused(cls, (KeyError, ValueError), MISNAMED[key], 'is not in the', 'registry')


def test_the_policy_is_built_without_a_warning_of_other_registries(cls):
    cls.train_dataloader.sampler.policy = dict(type='SoftPruning', prune_ratio=0.3)
    runs.train(cls)
    assert 'Failed to search registry' not in runs.log_of(cls.work_dir)


# -------------------------------------------------------------------- arguments in Python


@pytest.mark.parametrize(
    'arguments, error, message',
    [
        (([0], torch.ones(1), 1), TypeError, 'Plan.indices has to be a tensor, but is a list'),
        ((torch.arange(1), [1.0], 1), TypeError, 'Plan.weights has to be a tensor, but is a list'),
        ((torch.arange(1), torch.ones(1), '1'), TypeError, "num_samples has to be an integer.*'1'"),
        ((torch.arange(1), torch.ones(1), 1.0), TypeError, 'num_samples has to be an integer.*1.0'),
        ((torch.arange(1), torch.ones(1), 0), ValueError, 'dataset of 0 samples'),
        ((torch.arange(1), torch.ones(1), 1, 'x'), TypeError, "threshold has to be None or a.*'x'"),
    ],
)
def test_what_is_no_plan_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Plan(*arguments)


@pytest.mark.parametrize('make', [ScoreTable, Plan.full])
@pytest.mark.parametrize('length, error', [
    (0, ValueError), (-1, ValueError), (2.5, TypeError), ('3', TypeError), (True, TypeError),
    (None, TypeError)])  # yapf: disable
def test_a_table_or_plan_of_no_samples_is_refused(make, length, error):
    with pytest.raises(error, match='num_samples.*integer'):
        make(length)


def test_scores_that_are_no_numbers_are_refused():
    for values in (torch.tensor([True]), torch.tensor([1]), torch.tensor([1j])):
        with pytest.raises(TypeError, match=f'floating-point numbers, but are {values.dtype}'):
            ScoreTable(3).update(torch.tensor([0]), values)


POLICIES = {**policies.UNBIASED, **policies.BIASED}


@pytest.mark.parametrize('name', POLICIES)
@pytest.mark.parametrize(
    'scores',
    [None, [1.0, 2.0], torch.ones(3, 3), torch.arange(3), torch.ones(3).double()],
    ids=['None', 'list', 'matrix', 'int64', 'float64'],
)
def test_a_policy_refuses_what_are_no_scores(name, scores):
    with pytest.raises(TypeError, match='scores has to be a float32 tensor'):
        POLICIES[name]().plan(scores, torch.Generator())


@pytest.mark.parametrize('name', POLICIES)
def test_a_policy_does_not_fall_back_to_the_global_generator(name):
    with pytest.raises(TypeError, match='generator has to be a torch.Generator, but is None'):
        POLICIES[name]().plan(torch.tensor([0.0, 1.0]), None)


@pytest.mark.parametrize('epoch', ['a', 1.5, -1, None, True])
def test_an_epoch_that_is_none_is_refused(epoch):
    sampler = InfoBatchSampler(Numbered(5), seed=0)
    with pytest.raises(ValueError, match=f'epoch={epoch!r} has to be an integer of at least 0'):
        sampler.set_epoch(epoch)


@pytest.mark.parametrize('loss', [torch.nn.Linear(1, 1), torch.nn.CrossEntropyLoss()])
def test_a_module_that_is_no_loss_of_a_toolbox_is_refused(loss):
    with pytest.raises(TypeError, match=f'InfoBatchLoss cannot wrap .*{type(loss).__name__}'):
        InfoBatchLoss(loss)


@PRUNING_POLICIES.register_module(force=True)
class Returns:
    """A policy that returns what it is given."""

    def __init__(self, value):
        self.value = value

    def plan(self, scores, generator):
        return self.value


@pytest.mark.parametrize('value', [None, [0, 1]])
def test_a_policy_that_returns_no_plan_stops_the_run(cls, value):
    cls.train_dataloader.sampler.policy = dict(type='Returns', value=value)
    refused(cls, TypeError, 'Returns', f'gave {value!r}', 'mm_infobatch.policies.Plan')


# ------------------------------------------------------------------------ losses


def test_two_losses_of_different_batch_size_are_refused_by_the_one_that_differs(seg):
    """The auxiliary head sees each image twice."""

    def twice(runner):
        head = runner.model.auxiliary_head
        forward = head.loss

        def loss(inputs, samples, train_cfg):
            inputs = tuple(each.repeat(2, 1, 1, 1) for each in inputs)
            return forward(inputs, samples * 2, train_cfg)

        head.loss = loss

    runner, recorder = runs.build(seg)
    twice(runner)
    with pytest.raises(
        ValueError,
        match=r'InfoBatchLoss\(CrossEntropyLoss\) got a batch of shape \(4, 32, 32\), but this '
        'iteration trains 2 samples.*leave this loss unwrapped',
    ):
        runner.train()
    assert not recorder.rows


# ----------------------------------------------------------------- data sets at the edges


def test_a_dataset_without_samples_is_refused(tmp_path):
    data = runs.write_segmentation_data(tmp_path / 'data', num_images=1)
    for path in (tmp_path / 'data').glob('*/train/*'):
        path.unlink()
    cfg = runs.switch_on(runs.segmentation_config(data, tmp_path / 'run', 6))
    # Otherwise mmengine fails before anyone knows the length: "need at least one array".
    cfg.train_dataloader.dataset.serialize_data = False
    refused(cfg, ValueError, 'training dataset of 0 samples', 'data_root')


@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_a_dataset_of_one_sample_is_trained_in_every_pass(tmp_path, toolbox):
    if toolbox == 'mmseg':
        data = runs.write_segmentation_data(tmp_path / 'data', num_images=1)
        cfg = runs.segmentation_config(data, tmp_path / 'run', 5)
    else:
        data = runs.write_classification_data(tmp_path / 'data', num_images=1)
        cfg = runs.classification_config(data, tmp_path / 'run', 5)
        cfg.model.head.num_classes = 1
    ours = runs.train(runs.switch_on(cfg))
    assert ours.column('indices') == [[0]] * 5 and ours.column('weights') == [[1.0]] * 5


def test_samples_that_are_all_equal_are_all_trained(tmp_path):
    """The same image of the same class in each file, and a learning rate of 0."""
    data = runs.write_classification_data(tmp_path / 'data', num_images=1)
    path = tmp_path / 'data' / 'train' / 'class0' / '000.png'
    for index in range(1, 8):
        shutil.copy(path, path.with_name(f'{index:03}.png'))
    cfg = runs.switch_on(runs.classification_config(data, tmp_path / 'run', 4), delta=1)
    cfg.optim_wrapper.optimizer.lr, cfg.param_scheduler = 0.0, None
    ours = runs.train(cfg)
    scores = ours.runner.train_loop.sampler.scores.values
    assert len(set(scores.tolist())) == 1
    assert [plan.kept for _, plan in ours.passes] == [8] * 4
    assert ours.column('weights') == [[1.0] * 4] * 8


@PRUNING_POLICIES.register_module(force=True)
class KeepOne:
    """Keep one sample, which stands for all."""

    def plan(self, scores, generator):
        if scores.isnan().any():
            return Plan.full(len(scores))
        best = scores.argmax(keepdim=True)
        return Plan(best, torch.tensor([float(len(scores))]), len(scores))


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_a_pass_of_which_one_sample_is_left_trains_that_one(request, toolbox, num_workers):
    cfg = request.getfixturevalue('seg' if toolbox == 'mmseg' else 'cls')
    length = 6 if toolbox == 'mmseg' else 8
    if toolbox == 'mmseg':
        cfg.train_cfg.max_iters = 18
    cfg.train_dataloader.update(
        batch_size=1, num_workers=num_workers, persistent_workers=num_workers > 0
    )
    cfg.train_dataloader.sampler = dict(
        type='InfoBatchSampler', policy=dict(type='KeepOne'), delta=1
    )
    ours = runs.train(cfg)
    assert [plan.kept for _, plan in ours.passes] == [length, 1, 1]
    assert ours.by_pass('weights')[1:] == [[float(length)]] * 2
    report = runs.report_of(cfg.work_dir)
    assert report['totals']['finished']
    assert report['totals']['samples_trained'] == length + 2


def test_a_pass_of_which_less_than_a_batch_is_left_trains_all_with_drop_last(cls):
    cls.train_dataloader.drop_last = True
    cls.train_dataloader.sampler = dict(
        type='InfoBatchSampler', policy=dict(type='KeepOne'), delta=1
    )
    ours = runs.train(cls)
    assert [plan.kept for _, plan in ours.passes] == [8] * 3


# ----------------------------------------------------------------- the work directory


def below_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    return tmp_path / 'file' / 'work'


def test_a_work_directory_that_cannot_be_written_ends_the_run_at_the_start(cls, tmp_path):
    cls.work_dir = str(below_a_file(tmp_path))
    with pytest.raises(OSError, match='file') as info:
        runs.build(cls)
    assert cls.work_dir in str(info.value)


# --------------------------------------------------------------------------- the tools


@pytest.fixture
def config_file(cls, tmp_path):
    path = tmp_path / 'config.py'
    cls.pop('work_dir')
    cls.dump(path)
    return path


def command(monkeypatch, capsys, tool, *arguments):
    """Run a subcommand, by its name, or the ``main`` of a tool, which ends with an error.

    Returns:
        str: What it wrote to standard error.
    """
    arguments = [str(argument) for argument in arguments]
    with pytest.raises(SystemExit) as info:
        if isinstance(tool, str):
            name = f'mm-infobatch {tool}'
            cli.main([tool, *arguments])
        else:
            name = Path(tool.__file__).name
            monkeypatch.setattr(sys, 'argv', [name, *arguments])
            tool.main()
    error = capsys.readouterr().err
    if isinstance(info.value.code, str):
        error += info.value.code
    assert info.value.code not in (0, None)
    assert info.value.code == 2 or not isinstance(tool, str)
    assert f'{name}: error: ' in error and 'Traceback' not in error
    return error


def test_options_of_a_config_that_are_no_pairs_are_refused(monkeypatch, capsys, config_file):
    for pair in ('train_cfg.max_epochs', '=3'):
        error = command(monkeypatch, capsys, 'train', config_file, '--cfg-options', pair)
        assert f'--cfg-options: {pair!r} is not a pair; write key=value' in error
    error = command(monkeypatch, capsys, 'train', config_file, '--cfg-options', 'a=[1,2')
    assert '--cfg-options' in error and '[1,2' in error


def test_options_that_do_not_fit_the_config_are_refused(monkeypatch, capsys, config_file):
    error = command(
        monkeypatch, capsys, 'train', config_file, '--cfg-options', 'custom_hooks.7.type=X'
    )
    assert '--cfg-options' in error and 'custom_hooks.7.type' in error


@pytest.mark.parametrize('name, content', [('c.py', 'model = dict('), ('c.txt', 'model = 1')])
def test_a_config_that_cannot_be_read_is_refused(monkeypatch, capsys, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    error = command(monkeypatch, capsys, 'train', tmp_path / name)
    assert f'config {str(tmp_path / name)!r} cannot be read' in error


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--resume', 'nowhere.pth'], "checkpoint 'nowhere.pth' does not exist"),
        (['--launcher', 'ssh'], "invalid choice: 'ssh'"),
        (['--local-rank', 'one'], "invalid int value: 'one'"),
        (['--epochs', '3'], 'unrecognized arguments: --epochs 3'),
        (['--auto-scale-lr'], 'auto_scale_lr = dict(base_batch_size='),
        (['--amp'], '--amp: needs an accelerator'),
    ],
)
def test_arguments_of_train_that_cannot_work_are_refused(
    monkeypatch, capsys, config_file, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_tool, 'get_device', lambda: 'cpu')
    assert message in command(monkeypatch, capsys, 'train', config_file, *arguments)
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize(
    'tool, options, message',
    [
        ('train', ['optim_wrapper=None'], 'it has no optim_wrapper, but train_dataloader, train_c'),
        ('train', ['val_cfg=None'], 'belong together. Add what is missing, or write val_datal'),
        ('test', ['test_cfg=None', 'test_dataloader=None', 'test_evaluator=None'], 'test_dataload'),
        ('test', ['test_evaluator=None'], 'no test_evaluator, .* such as test_evaluator = dict'),
    ],
)
def test_a_config_without_a_part_of_the_runner_is_refused(
    monkeypatch, capsys, config_file, tmp_path, tool, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'weights.pth').write_bytes(b'')
    names = [f'{kind}_{part}' for kind in ('val', 'test') for part in ('cfg', 'dataloader')]
    names += ['val_evaluator', 'test_evaluator']
    lines = ''.join(f'{name} = dict()\n' for name in names)
    config_file.write_text(f'{config_file.read_text()}\n{lines}')
    arguments = [] if tool == 'train' else ['weights.pth', '--out', 'a.pkl']
    error = command(monkeypatch, capsys, tool, config_file, *arguments, '--cfg-options', *options)
    assert re.search(message, error)


@pytest.mark.parametrize(
    'scope, arguments', [('mmseg', ['--out', 'maps']), ('mmpretrain', ['--tta'])]
)
def test_what_a_test_writes_or_augments_has_to_be_in_the_config(
    monkeypatch, capsys, config_file, tmp_path, scope, arguments
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'weights.pth').write_bytes(b'')
    options = ['--cfg-options', f'default_scope={scope}', 'test_dataloader=None']
    error = command(monkeypatch, capsys, 'test', config_file, 'weights.pth', *arguments, *options)
    assert 'no test_dataloader' in error and 'test_dataloader = dict(...)' in error


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_default_scope_that_is_no_name_is_refused(monkeypatch, capsys, config_file, tool):
    arguments = ['weights.pth'] if tool == 'test' else []
    options = ['--cfg-options', 'default_scope=[mmseg]']
    error = command(monkeypatch, capsys, tool, config_file, *arguments, *options)
    assert "default_scope=['mmseg'] has to be the name of a toolbox" in error


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_work_dir_that_cannot_be_written_is_refused(
    monkeypatch, capsys, config_file, tmp_path, tool
):
    (tmp_path / 'weights.pth').write_bytes(b'')
    work_dir = below_a_file(tmp_path)
    checkpoint = [tmp_path / 'weights.pth'] if tool == 'test' else []
    error = command(monkeypatch, capsys, tool, config_file, *checkpoint, '--work-dir', work_dir)
    assert f'--work-dir {str(work_dir)!r} cannot be written' in error
    assert f'{str(work_dir.parent)!r} is not a directory. Give another path' in error


def test_a_work_dir_is_checked_and_not_made(config_file, tmp_path):
    args = cli.parse_args(['train', str(config_file), '--work-dir', str(tmp_path / 'a' / 'b')])
    common.load_config(args)
    assert not (tmp_path / 'a').exists()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere.pth'], "checkpoint 'nowhere.pth' does not exist"),
        (['weights.pth', '--out-item', 'all'], "invalid choice: 'all'"),
        (['weights.pth', '--out', 'result.txt'], "--out 'result.txt': with --out-item pred"),
        (
            ['weights.pth', '--out', 'a.csv', '--out-item', 'metrics'],
            "'a.csv': with --out-item metr",
        ),
        (['weights.pth', '--out', 'file/folder/a.pkl'], "--out 'file/folder' cannot be written"),
        (['weights.pth', '--tta'], None),
    ],
)
def test_arguments_of_test_that_cannot_work_are_refused(
    monkeypatch, capsys, config_file, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'weights.pth').write_bytes(b'')
    below_a_file(tmp_path)
    parts = [f'test_{part}.a=1' for part in ('dataloader', 'cfg', 'evaluator')]
    arguments = [*arguments, '--cfg-options', *parts]
    if message is None:
        arguments.append('default_scope=mmseg')
        message = '--tta: the config has no tta_model and no tta_pipeline'
    assert message in command(monkeypatch, capsys, 'test', config_file, *arguments)


def a_run(tmp_path):
    """The work directory of a run, as far as the tools read it."""
    work_dir = tmp_path / 'run'
    (work_dir / '1' / 'vis_data').mkdir(parents=True)
    (work_dir / '1' / 'vis_data' / 'scalars.json').write_text(
        ''.join(json.dumps(dict(iter=step, loss=1.0)) + '\n' for step in (1, 2))
    )
    return work_dir


@pytest.mark.parametrize(
    'content',
    [
        '',
        '[]',
        '3',
        '{"version": 1}',
        '{"version": 2}',
        '{"version": 1, "totals": {}, "passes": [1]}',
        '{"version": 1, "totals": {"iterations": 2, "finished": true, "samples_trained": 8, '
        '"saving": 0.1}, "passes": []}',
        '{"version": 1, "totals": {"iterations": 2, "finished": true, "samples_trained": null, '
        '"saving": 0.1}, "passes": [], "settings": {}}',
    ],
)
def test_a_foreign_report_is_refused_by_the_tools_that_read_runs(
    monkeypatch, capsys, tmp_path, content
):
    work_dir = a_run(tmp_path)
    (work_dir / 'infobatch.json').write_text(content)
    for tool, more in (('summarize', []), ('plot', ['--out', tmp_path / 'a.png'])):
        error = command(monkeypatch, capsys, tool, work_dir, *more)
        assert str(work_dir / 'infobatch.json') in error
        assert 'not what InfoBatchHook writes' in error or 'only version 1 can be read' in error


@pytest.mark.parametrize(
    'path, value, key',
    [
        (('settings', 'pass_length'), '10', "settings.pass_length='10' is not a number"),
        (('settings', 'batch_size'), 0, 'settings.batch_size=0 is not an integer from 1 on'),
        (('settings', 'delta'), None, 'settings.delta=None is not a number'),
        (('totals', 'saving'), float('nan'), 'totals.saving=nan is not a number'),
        (('totals', 'iterations'), [1], 'totals.iterations=[1] is not a number'),
        (('totals', 'seconds_choosing'), ..., 'totals has no seconds_choosing'),
        (('passes',), {}, 'passes is {}, not a list'),
        (('passes', 1), 7, 'passes[1] is 7, not a dict'),
        (('passes', 1, 'pruned_share'), ..., 'passes[1] has no pruned_share'),
        (('passes', 0, 'threshold'), 'high', "passes[0].threshold='high' is not a number"),
        (('passes', 0, 'histogram', 'counts'), [1], 'histogram has 3 edges for 1 counts'),
        (('passes', 0, 'histogram', 'unseen'), ..., 'passes[0].histogram has no unseen'),
    ],
)
@pytest.mark.parametrize('tool', ['summarize', 'plot', 'inspect'])
def test_a_damaged_report_is_refused_by_its_key(
    monkeypatch, capsys, tmp_path, tool, path, value, key
):
    work_dir = a_run(tmp_path)
    histogram = dict(edges=[0.0, 1.0, 2.0], counts=[3, 5], unseen=0)
    write_report(work_dir, 20, [histogram] * 2, passes=2, planned=2)
    report = json.loads((work_dir / 'infobatch.json').read_text())
    assert run_logs.read_run(work_dir).infobatch == report
    part = report
    for step in path[:-1]:
        part = part[step]
    if value is ...:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    (work_dir / 'infobatch.json').write_text(json.dumps(report))
    out = [] if tool == 'summarize' else ['--out', tmp_path / 'out']
    error = command(monkeypatch, capsys, tool, work_dir, *out)
    assert str(work_dir / 'infobatch.json') in error and key in error and 'resume the run' in error


def test_lines_of_a_log_that_are_no_rows_are_left_out(tmp_path):
    work_dir = a_run(tmp_path)
    with (work_dir / '1' / 'vis_data' / 'scalars.json').open('a') as file:
        file.write('3\n[1]\nnull\n{"mIoU": 5.0}\n{"iter": null, "step": 9}\n')
    run = run_logs.read_run(work_dir)
    assert run.iterations == 2 and not run.metrics


@pytest.mark.parametrize('hooks', [None, dict(logger=None)])
def test_a_run_without_the_default_logger_is_read(tmp_path, hooks):
    work_dir = a_run(tmp_path)
    (work_dir / '1' / 'vis_data' / 'config.py').write_text(f'default_hooks = {hooks}\n')
    assert run_logs.read_run(work_dir).iterations == 2


def test_a_figure_that_cannot_be_written_is_refused(monkeypatch, capsys, tmp_path):
    work_dir, out = a_run(tmp_path), below_a_file(tmp_path) / 'a.png'
    assert 'file' in command(monkeypatch, capsys, 'plot', work_dir, '--out', out)
    out = tmp_path / 'a.xyz'
    assert 'xyz' in command(monkeypatch, capsys, 'plot', work_dir, '--out', out)
    assert "invalid choice: 'days'" in command(
        monkeypatch, capsys, 'plot', work_dir, '--out', out, '--x', 'days'
    )


def test_a_record_never_replaces_what_is_no_record(monkeypatch, capsys, tmp_path):
    work_dir = a_run(tmp_path)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'precious.json').write_text('{}')
    before = sorted(tmp_path.rglob('*'))
    for out in (work_dir, tmp_path, tmp_path / 'other', tmp_path / 'other' / 'precious.json'):
        error = command(monkeypatch, capsys, experiment, 'record', work_dir, out)
        assert 'is there, but is no record' in error
    assert sorted(tmp_path.rglob('*')) == before
    assert (tmp_path / 'other' / 'precious.json').read_text() == '{}'
    for _ in range(2):  # its own it does replace
        experiment.main(['record', str(work_dir), str(tmp_path / 'record.json')])
    below = below_a_file(tmp_path)
    assert 'file' in command(monkeypatch, capsys, experiment, 'record', work_dir, below)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['show', 'camvid'], "'camvid' is no place; give one like experiment: camvid"),
        (['show', 'overhead: nowhere.json'], 'nowhere.json: there is no such file'),
        (['plan', 'nowhere'], "experiment 'nowhere': "),
        (['run', 'camvid', '--jobs', '0'], '--jobs is 0, but must be at least 1'),
        (['run', 'camvid', '--runs', 'none'], '--runs none: is none of all, all_seed0'),
        (['plan', 'camvid', '--gpus', '-1'], '--gpus is -1, but must be at least 1'),
    ],
)
def test_arguments_of_experiments_that_cannot_work_are_refused(
    monkeypatch, capsys, arguments, message
):
    assert message in command(monkeypatch, capsys, experiment, *arguments)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--train', 'many'], "invalid int value: 'many'"),
        (['--size', '64'], 'expected 2 arguments'),
        (['--seed', '-1'], '--seed is -1, but must be at least 0'),
    ],
)
def test_arguments_of_the_data_maker_that_cannot_work_are_refused(
    monkeypatch, capsys, tmp_path, arguments, message
):
    assert message in command(
        monkeypatch, capsys, make_segmentation_data, tmp_path / 'data', *arguments
    )


def test_data_that_cannot_be_written_is_refused(monkeypatch, capsys, tmp_path):
    out = below_a_file(tmp_path)
    assert 'file' in command(monkeypatch, capsys, make_segmentation_data, out)
