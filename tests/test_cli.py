"""The command ``mm-infobatch``, and the wheel that brings it."""

import email
import gc
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import mmengine
import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.config import Config
from test_flag import write_stripes

import mm_infobatch
from mm_infobatch import cli
from mm_infobatch.cli import common, launch

ROOT = Path(__file__).resolve().parents[1]
SUBCOMMANDS = ['train', 'test', 'convert', 'configs', 'summarize', 'plot', 'scores', 'inspect']
DEMO = 'demo/upernet_r18-slim_1xb8-1.2k_shapes-64x64'


def command(*arguments, cwd, path=ROOT, script=None, returncode=0):
    """Run ``python -m mm_infobatch``, or the console script, in a directory.

    Args:
        path (Path): What is on PYTHONPATH: where the package is.
        script (Path): The console script, or another.
        returncode (int): How it has to end.

    Returns:
        subprocess.CompletedProcess: What it wrote.
    """
    start = [sys.executable, '-W', 'ignore', *([script] if script else ['-m', 'mm_infobatch'])]
    done = subprocess.run(
        [*map(str, start), *map(str, arguments)],
        cwd=cwd,
        env=dict(os.environ, PYTHONPATH=str(path), OMP_NUM_THREADS='1', MPLBACKEND='agg'),
        text=True,
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == returncode, done.stdout[-2000:] + done.stderr[-3000:]
    return done


# --------------------------------------------------------------------------- help and errors


def test_the_help_lists_each_subcommand_with_a_line(tmp_path):
    text = command('--help', cwd=tmp_path).stdout
    assert re.findall(r'^    (\w+)', text, re.MULTILINE) == SUBCOMMANDS


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match='0'):
        cli.main(['--version'])
    assert capsys.readouterr().out == f'mm-infobatch {mm_infobatch.__version__}\n'


@pytest.mark.parametrize('subcommand', SUBCOMMANDS)
def test_the_help_of_a_subcommand_says_what_it_does(subcommand, capsys):
    with pytest.raises(SystemExit) as info:
        cli.main([subcommand, '--help'])
    text = capsys.readouterr().out
    assert info.value.code == 0 and text.startswith(f'usage: mm-infobatch {subcommand} ')
    assert '``' not in text, 'the docstring is shown as it is'
    options = re.findall(r'^  (-.*(?:\n {10,}.*)?)', text, re.MULTILINE)
    assert '-h, --help' in options[0]
    for option in options:
        assert re.search(r'\w {2,}\w|\n', option), f'{option} is not explained'


def test_the_arguments_are_openmmlabs():
    args = cli.parse_args(
        'train c.py --work-dir w --resume --amp --no-validate --auto-scale-lr --launcher slurm '
        '--cfg-options a.b=1 --local_rank 3'.split()
    )
    assert (args.config, args.work_dir, args.resume, args.launcher) == (
        'c.py',
        'w',
        'auto',
        'slurm',
    )
    assert args.amp and args.no_validate and args.auto_scale_lr
    assert args.cfg_options == {'a.b': 1} and args.local_rank == 3
    args = cli.parse_args(
        'test c.py c.pth --work-dir w --out o.pkl --out-item metrics --tta --local-rank 1'.split()
    )
    assert (args.checkpoint, args.out, args.out_item) == ('c.pth', 'o.pkl', 'metrics')
    assert args.tta and args.launcher == 'none'


BAD = [
    ([], 'the following arguments are required: SUBCOMMAND'),
    (['trian', 'ok.py'], "invalid choice: 'trian'"),
    (['train'], 'the following arguments are required: config'),
    (['train', 'no.py'], "config 'no.py' does not exist"),
    (['train', 'killed'], "config 'killed' is a directory: give the path of a config file"),
    (['train', 'ok.py', '--resume', 'killed'], "checkpoint 'killed' is a directory: give the path"),
    (['train', 'ok.py', '--resume', 'weights.pth'], 'weights.pth has no meta and no message_hub'),
    (['train', 'ok.py', '--launcher', 'slurm'], 'does not have SLURM_PROCID, SLURM_NTASKS, SLURM'),
    (['train', 'ok.py', '--launcher', 'mpi'], 'does not have OMPI_COMM_WORLD_RANK, OMPI_COMM_WORL'),
    (
        ['train', 'without_optim_wrapper.py', '--amp'],
        'config: it has no optim_wrapper, but train_dataloader',
    ),
    (
        ['test', 'without_test_evaluator.py', 'list.pth', '--gpus', '2'],
        'config: it has no test_evaluator, but',
    ),
    (['train', 'ok.py', '--epochs', '3'], 'unrecognized arguments: --epochs 3'),
    (['train', 'ok.py', '--infobatch-options', 'delta=1'], 'has no effect without --infobatch'),
    (['train', 'ok.py', '--gpus', '0'], '--gpus 0: has to be 1 or more'),
    (['train', 'ok.py', '--gpus', '2', '--launcher', 'slurm'], 'Remove one'),
    (['train', 'no.py', '--gpus', '2'], "config 'no.py' does not exist"),
    (['train', 'ok.py', '--gpus', '2', '--resume', 'no.pth'], "checkpoint 'no.pth' does not exist"),
    (['train', 'json::a/b'], "'json' was installed without its configs"),
    (['train', 'no_such_package::a/b'], "there is no package 'no_such_package'"),
    (['train', '::a/b'], "there is no package ''"),
    (['train', 'mm_infobatch::lenet/lenet'], 'similar ones: lenet/lenet5_1xb128'),
    (['test', 'ok.py', 'no.pth'], "checkpoint 'no.pth' does not exist"),
    (['test', 'ok.py', 'ok.py'], 'checkpoint ok.py is not a PyTorch checkpoint: give another one'),
    (['test', 'ok.py', 'half.pth'], 'checkpoint half.pth is incomplete: give another one'),
    (['convert', 'ok.py'], 'the following arguments are required: -o/--out'),
    (['convert', 'ok.py', '-o', 'x.txt'], 'give a name that ends with .py'),
    (['convert', 'ok.py', '-o', './ok.py'], 'is the config itself, which would be lost'),
    (['convert', 'ok.py', '-o', 'file/x.py'], "--out 'file/x.py': cannot be written"),
    (['convert', 'broken.py', '-o', 'x.py'], "config 'broken.py' cannot be read: SyntaxError"),
    (['convert', 'name.py', '-o', 'x.py'], "NameError: name 'nothing' is not defined"),
    (['convert', 'base.py', '-o', 'x.py'], 'cannot be read: FileNotFoundError: '),
    (['convert', 'import.py', '-o', 'x.py'], "No module named 'not_there'. Python looks for"),
    (['convert', 'raises.py', '-o', 'x.py'], 'ValueError: of their own'),
    (['convert', 'ok.py', '-o', 'x.py', '--cfg-options', 'a'], "'a' is not a pair"),
    (['convert', 'ok.py', '-o', 'x.py', '--infobatch-options', 'a'], "'a' is not a pair"),
    (
        ['convert', 'ok.py', '-o', 'x.py', '--infobatch-options', 'a=1'],
        "there is no option 'a'; the",
    ),
    (['convert', 'ok.py', '-o', 'x.py', '--infobatch-options', 'prune_ratio=2'], 'prune_ratio=2'),
    (['configs', 'nothing-like-it'], "there is no config with 'nothing-like-it'"),
    (['summarize'], 'the following arguments are required: WORK_DIR'),
    (['summarize', 'no'], "'no' is not a directory"),
    (['summarize', 'killed'], "move its directory '1' out of the work directory"),
    (['plot', 'no', '--out', 'a.png'], "'no' is not a directory"),
    (['plot', 'killed'], 'the following arguments are required: --out'),
    (['inspect'], 'the following arguments are required: WORK_DIR'),
    (['scores'], 'the following arguments are required: METHOD'),
    (['scores', 'forgetting', 'no.pth', 'no.pth', '--out', 'x.npy'], "'no.pth' does not exist"),
    (['scores', 'forgetting', 'half.pth', 'half.pth', '--out', 'x.npy'], 'half.pth is incomplete'),
    (['scores', 'el2n', 'ok.py', 'killed', '--out', 'x.npy'], "checkpoint 'killed' is a directory"),
    (['scores', 'forgetting', 'list.pth', 'list.pth', '--out', 'x.npy'], 'contains a list, where'),
    (['scores', 'forgetting', 'code.pth', 'code.pth', '--out', 'x.npy'], 'checkpoint code.pth '),
    (['scores', 'forgetting', 'old.pth', 'old.pth', '--out', 'x.npy'], 'old.pth is damaged, or'),
    (['scores', 'forgetting', 'cut.pth', 'cut.pth', '--out', 'x.npy'], 'cut.pth is damaged, or'),
    (['scores', 'el2n', 'ok.py', 'old.pth', '--out', 'directory.npy'], 'directory.npy is a direct'),
    (['scores', 'el2n', 'no.py', 'old.pth', '--out', 'x.npy'], "config 'no.py' does not exist"),
    (['scores', 'el2n', 'ok.py', 'old.pth', '--out', 'file/x.npy'], '--out'),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A directory with a config that works, and much that does not."""
    folder = tmp_path_factory.mktemp('folder')
    cfg = runs.classification_config('data', str(folder / 'run'))
    cfg.update(test_dataloader={}, test_cfg={}, test_evaluator={})
    cfg.dump(folder / 'ok.py')
    for part in ('optim_wrapper', 'test_evaluator'):
        Config({**cfg.to_dict(), part: None}).dump(folder / f'without_{part}.py')
    (folder / 'broken.py').write_text('model = dict(')
    (folder / 'name.py').write_text('a = nothing\n')
    (folder / 'base.py').write_text("_base_ = './no_such_base.py'\n")
    for name, module in (('import', 'not_there'), ('raises', 'their_module')):
        (folder / f'{name}.py').write_text(
            f"custom_imports = dict(imports=['{module}'], allow_failed_imports=False)\n"
        )
    (folder / 'their_module.py').write_text("raise ValueError('of their\\nown')\n")
    (folder / 'half.pth').write_bytes(b'PK\x03\x04')
    (folder / 'old.pth').write_bytes(b'\x80')
    torch.save([1], folder / 'list.pth')
    torch.save(dict(state_dict={}), folder / 'weights.pth')
    torch.save({'a': torch.ones(99)}, folder / 'cut.pth', _use_new_zipfile_serialization=False)
    (folder / 'cut.pth').write_bytes((folder / 'cut.pth').read_bytes()[:-100])
    torch.save({'a': Path('a')}, folder / 'code.pth')
    (folder / 'directory.npy').mkdir()
    (folder / 'file').write_text('')
    session = folder / 'killed' / '1' / 'vis_data'
    session.mkdir(parents=True)
    (session / 'scalars.json').write_text('{"iter": 1, "loss": 1.0}\n')
    (session / 'config.py').write_text('model = dict(')
    return folder


# MMEngine leaves its copy of the config open, which Python tells when it collects the error.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('arguments, message', BAD, ids=[' '.join(row[0]) for row in BAD])
def test_what_cannot_work_is_one_line_and_exit_code_2(
    arguments, message, folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    before = sorted(folder.rglob('*'))
    with pytest.raises(SystemExit) as info:
        cli.main(arguments)
    said = capsys.readouterr()
    *usage, line = said.err.splitlines()
    assert info.value.code == 2 and said.out == ''
    assert re.match(r'mm-infobatch( \w+)*: error: ', line) and message in line
    assert 'mmengine/' not in line, 'a place in the code of others'
    assert not usage or usage[0].startswith('usage: mm-infobatch'), said.err
    made = {path.relative_to(folder).parts[0] for path in folder.rglob('*') if path not in before}
    assert made <= {'__pycache__'}
    del info
    gc.collect()


@pytest.mark.parametrize(
    'tool, subcommand', [('train', 'train'), ('test', 'test'), ('convert_config', 'convert')]
)
def test_a_tool_of_openmmlabs_name_is_the_subcommand(tool, subcommand, monkeypatch, capsys):
    arguments = {'train': [], 'test': ['c.pth'], 'convert': ['-o', 'x.py']}[subcommand]
    monkeypatch.setattr(sys, 'argv', [f'tools/{tool}.py', 'no.py', *arguments])
    with pytest.raises(SystemExit, match='2'):
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
    error = f"mm-infobatch {subcommand}: error: config 'no.py' does not exist"
    assert capsys.readouterr().err.startswith(error)


def test_an_error_in_a_users_module_is_told_with_its_place(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(common.UsageError) as info:
        common.read_config(str(folder / 'raises.py'))
    assert f'({folder / "their_module.py"}, line 1)' in str(info.value)


# ------------------------------------------------------------------------------ configs


def test_configs_prints_a_path_a_line_of_those_with_a_word_in_their_name(capsys):
    cli.main(['configs'])
    paths = capsys.readouterr().out.splitlines()
    assert paths and all(Config.fromfile(path) for path in paths[:2])
    below = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
    assert sorted(Path(path).resolve() for path in paths) == below
    cli.main(['configs', 'camvid'])
    assert capsys.readouterr().out.splitlines() == [path for path in paths if 'camvid' in path]


@pytest.mark.parametrize(
    'name',
    [
        f'mm_infobatch::{DEMO}',
        f'mm_infobatch::{DEMO}.py',
        'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512',
        'mmpretrain::resnet/resnet18_8xb16_cifar10',
    ],
)
def test_a_config_is_found_by_its_package_and_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = cli.parse_args(['train', name])
    cfg = common.load_config(args)
    stem = name.split('/')[-1].replace('.py', '')
    assert cfg.work_dir == f'./work_dirs/{stem}' and cfg.model and cfg.train_dataloader


def test_the_model_index_lists_every_config_once():
    index = mmengine.load(ROOT / 'model-index.yml')
    models, collections = [], []
    for path in index['Import']:
        content = mmengine.load(ROOT / path)
        models += content['Models']
        collections += [each['Name'] for each in content['Collections']]
    assert [model['Name'] for model in models] == [Path(model['Config']).stem for model in models]
    assert all(model['In Collection'] in collections for model in models)
    assert all(('infobatch' in m['Name']) == ('InfoBatch' in m['In Collection']) for m in models)
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / 'configs').glob('[!_]*/*.py'))
    listed = sorted(model['Config'] for model in models)
    assert listed == [str(path) for path in paths if 'demo' not in path.parts]


# ------------------------------------------------------------------------------ processes


@pytest.fixture
def torchrun(monkeypatch):
    """What torchrun is started with, and by whom."""
    from torch.distributed import run

    started = []
    monkeypatch.setattr(run, 'main', started.append)
    for name in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT', 'RANK'):
        monkeypatch.delenv(name, raising=False)
    return started


def test_gpus_starts_the_same_command_through_torchrun_at_a_free_port(folder, torchrun):
    arguments = ['train', str(folder / 'ok.py'), '--gpus', '3', '--cfg-options', 'a=1']
    cli.main(arguments)
    (started,) = torchrun
    assert started[:3] == ['--standalone', '--local-addr=127.0.0.1', '--nproc-per-node=3']
    assert started[3:5] == ['--module', 'mm_infobatch']
    assert started[5:] == [*arguments, '--launcher', 'pytorch']


def test_on_several_machines_the_environment_says_where_processes_meet(
    folder, torchrun, monkeypatch
):
    for name, value in dict(NNODES=2, NODE_RANK=1, MASTER_ADDR='10.0.0.1', PORT=1234).items():
        monkeypatch.setenv(name, str(value))
    cli.main(['train', str(folder / 'ok.py'), '--gpus', '8'])
    (started,) = torchrun
    assert started[:4] == [
        '--nnodes=2', '--node-rank=1', '--master-addr=10.0.0.1', '--master-port=1234',
    ]  # fmt: skip


def test_a_process_that_torchrun_has_started_starts_no_others(monkeypatch):
    args = cli.parse_args(['train', 'c.py', '--gpus', '2', '--launcher', 'pytorch'])
    monkeypatch.setenv('RANK', '0')
    assert not launch.starts_processes(args)
    monkeypatch.delenv('RANK')
    with pytest.raises(common.UsageError, match='--gpus 2 --launcher pytorch'):
        launch.starts_processes(args)


def test_more_gpus_than_the_machine_has_are_refused(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(launch.torch.cuda, 'device_count', lambda: 2)
    assert launch.starts_processes(cli.parse_args(['train', 'c.py', '--gpus', '2']))
    with pytest.raises(common.UsageError, match='--gpus 3: this machine has 2 GPUs'):
        launch.starts_processes(cli.parse_args(['train', 'c.py', '--gpus', '3']))


@pytest.mark.parametrize('exitcode, expected', [(2, 2), (1, 1), (-9, 1)])
def test_the_exit_code_is_that_of_the_process_that_failed(
    folder, monkeypatch, capsys, exitcode, expected
):
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    failure = types.SimpleNamespace(exitcode=exitcode)

    class Failed(ChildFailedError):
        def __init__(self):
            Exception.__init__(self, 'rank 1 failed')

        def get_first_failure(self):
            return 1, failure

        __str__ = Exception.__str__

    def main(arguments):
        raise Failed

    monkeypatch.setattr(run, 'main', main)
    with pytest.raises(SystemExit) as info:
        cli.main(['train', str(folder / 'ok.py'), '--gpus', '2'])
    assert info.value.code == expected
    assert capsys.readouterr().err == ('' if exitcode == 2 else 'rank 1 failed\n')


# -------------------------------------------------------------------------------- the wheel


def pip_wheel(source, out):
    """Build the wheel of a source tree or an sdist, with what the environment has."""
    out.mkdir()
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-index',
         '--disable-pip-version-check', '-q', '-w', str(out), str(source)],
        check=True, timeout=600, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    (wheel,) = out.iterdir()
    return wheel


@pytest.fixture(scope='session')
def wheels(tmp_path_factory):
    """The wheel of the repository, the sdist, and the wheel of the sdist."""
    folder = tmp_path_factory.mktemp('wheels')
    source = folder / 'source'
    no_cache = shutil.ignore_patterns('__pycache__')
    for name in ('mm_infobatch', 'configs', 'tests', 'tools'):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=no_cache)
    for name in ('pyproject.toml', 'README.md', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, '-c', 'from setuptools import build_meta; build_meta.build_sdist("..")'],
        cwd=source, check=True, timeout=600, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (sdist,) = folder.glob('*.tar.gz')
    return pip_wheel(source, folder / 'a'), sdist, pip_wheel(sdist, folder / 'b')


@pytest.fixture(scope='session')
def installed(wheels, tmp_path_factory):
    """A directory with nothing but what the wheel brings."""
    target = tmp_path_factory.mktemp('installed')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', '-q', '--target',
         str(target), '--disable-pip-version-check', str(wheels[0])],
        check=True, timeout=600, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return target


def content_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_the_command_and_the_configs_and_nothing_else(wheels):
    content = content_of(wheels[0])
    expected = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for path in (ROOT / 'mm_infobatch').rglob('*.py')
        if '.mim' not in path.parts
    }
    expected['mm_infobatch/py.typed'] = b''
    for name in ('page.html.j2', 'page.css', 'page.js'):
        path = f'mm_infobatch/page/{name}'
        expected[path] = (ROOT / path).read_bytes()
    for path in [*(ROOT / 'configs').rglob('*.py'), *(ROOT / 'configs').rglob('*.yaml')]:
        expected[f'mm_infobatch/.mim/{path.relative_to(ROOT)}'] = path.read_bytes()
    expected['mm_infobatch/.mim/model-index.yml'] = (ROOT / 'model-index.yml').read_bytes()
    files = {name: content[name] for name in content if '.dist-info/' not in name}
    assert sorted(files) == sorted(expected) and files == expected
    assert 'mm_infobatch/cli/train.py' in files


def test_the_wheel_of_the_sdist_is_the_same(wheels):
    first, second = (
        {name: text for name, text in content_of(wheel).items() if not name.endswith('RECORD')}
        for wheel in (wheels[0], wheels[2])
    )
    assert first == second
    with tarfile.open(wheels[1]) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]


def test_the_metadata_has_only_links_that_work_on_a_package_index(wheels):
    content = content_of(wheels[0])
    (name,) = (name for name in content if name.endswith('.dist-info/METADATA'))
    metadata = email.message_from_bytes(content[name])
    assert metadata['Version'] == mm_infobatch.__version__ and metadata['Author']
    assert metadata['Description-Content-Type'] == 'text/markdown'
    text = metadata.get_payload()
    links = re.findall(r'\]\(([^)]*)\)', text)
    urls = [line.split(', ')[1] for line in metadata.get_all('Project-URL')]
    assert links and urls
    assert [link for link in [*links, *urls] if not link.startswith('https://')] == []
    scripts = content[name.replace('METADATA', 'entry_points.txt')].decode()
    assert scripts.split() == ['[console_scripts]', 'mm-infobatch', '=', 'mm_infobatch.cli:main']


# A user's own module, beside a config of theirs.
MODULE = '''
import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class Stripes(BaseDataset):
    """Images and labels in an .npz file."""
    METAINFO = dict(classes=('a', 'b', 'c'))

    def load_data_list(self):
        content = np.load(self.ann_file)
        return [
            dict(img=image, gt_label=int(label))
            for image, label in zip(content['images'], content['labels'])
        ]
'''
CONFIG = """
custom_imports = dict(imports=['stripes'], allow_failed_imports=False)
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=3, mean=[100.] * 3, std=[80.] * 3)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, out_indices=(3, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', in_channels=32, num_classes=3,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0)))
train_dataloader = dict(
    batch_size=4, num_workers=0,
    dataset=dict(type='Stripes', ann_file='train.npz', pipeline=[dict(type='PackInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    dataset=dict(type='Stripes', ann_file='val.npz', pipeline=[dict(type='PackInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, ))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'))
randomness = dict(seed=1)
"""


# ``python -m mm_infobatch`` several times over, which imports the toolboxes once.
SEVERAL = """
import json, sys
from mm_infobatch import cli
for arguments in json.loads(sys.argv[1]):
    cli.main(arguments)
"""


@pytest.mark.runs
def test_a_user_with_the_wheel_alone_does_all_of_it_with_a_dataset_of_their_own(
    installed, tmp_path
):
    (tmp_path / 'stripes.py').write_text(MODULE)
    (tmp_path / 'mine.py').write_text(CONFIG)
    write_stripes(tmp_path / 'train.npz', 18, 0)
    write_stripes(tmp_path / 'val.npz', 6, 1)
    (script,) = (installed / 'bin').iterdir()

    def run(*arguments, **kwargs):
        return command(*arguments, cwd=tmp_path, path=installed, **kwargs).stdout

    options = ['--infobatch-options', 'delta=1.0']
    run('convert', 'mine.py', '-o', 'converted.py', *options)
    assert "type='InfoBatchSampler'" in (tmp_path / 'converted.py').read_text()

    # the console script, which does not put the current directory on Python's path by itself
    run('train', 'mine.py', '--infobatch', *options, '--work-dir', 'run', script=script)
    report = runs.report_of(tmp_path / 'run')
    assert [one['kept'] for one in report['passes']] == [18, report['passes'][1]['kept']]
    assert report['passes'][1]['pruned'] > 0 and report['totals']['finished']

    checkpoints = ['run/epoch_1.pth', 'run/epoch_2.pth']
    commands = [
        ['test', 'mine.py', checkpoints[1], '--out', 'metrics.json', '--out-item', 'metrics'],
        ['summarize', 'run', '--labels', 'InfoBatch'],
        ['plot', 'run', '--out', 'curves.png'],
        ['scores', 'forgetting', *checkpoints, '--out', 'forgetting.npy'],
        ['scores', 'el2n', 'mine.py', *checkpoints, '--out', 'el2n.npy'],
        ['convert', f'mm_infobatch::{DEMO}', '-o', 'demo.py'],
    ]
    (tmp_path / 'several.py').write_text(SEVERAL)
    printed = run(json.dumps(commands), script=tmp_path / 'several.py')
    assert 'accuracy/top1' in mmengine.load(tmp_path / 'metrics.json')
    assert re.search(r'\| InfoBatch \| +\d+ .*accuracy/top1.* % \|', printed)
    assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')
    for name in ('forgetting', 'el2n'):
        assert np.load(tmp_path / f'{name}.npy').shape == (18,)
    assert "type='InfoBatchSampler'" in (tmp_path / 'demo.py').read_text()


def test_the_command_imports_no_more_than_the_package_and_its_configs(tmp_path):
    code = (
        'import sys, mm_infobatch, mmengine.evaluator; before = set(sys.modules)\n'
        'from mm_infobatch import cli; cli.parse_args(["plot", "a", "--out", "b"])\n'
        'print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        text=True,
        capture_output=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {'mm_infobatch', 'argparse', 'difflib', 'html', 'mmengine'}
