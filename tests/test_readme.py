"""The README's two blocks of config, pasted as they are: over the toolboxes' own base configs and
over a user's dataset, imports and hooks."""

import importlib
import re
from pathlib import Path

import pytest
import toolbox_runs as runs
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import sweep_configs
from mm_infobatch import CannotConvert, convert

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
NAMES = {'mmseg': './my_upernet.py', 'mmpretrain': './my_resnet.py'}
pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

# A user's package, with a dataset for each toolbox and a hook.
PACKAGE = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS as PRETRAIN
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS as SEG

calls = []


@SEG.register_module()
class MyTiles(BaseSegDataset):
    METAINFO = dict(classes=('background', 'square', 'stripe', 'disc'), palette=[[0, 0, 0]] * 4)


@PRETRAIN.register_module()
class MyPhotos(CustomDataset):
    pass


@HOOKS.register_module()
class MyHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        calls.append(runner.iter)
"""
COMMON = """
custom_imports = dict(imports={imports!r}, allow_failed_imports=False)
custom_hooks = [dict(type='MyHook')]
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None
work_dir = experiment_name = {work_dir!r}
visualizer = dict(name={work_dir!r})
randomness = dict(seed=3)
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
"""
MINE = {
    'mmseg': """
_base_ = [
    '{configs}/_base_/models/{model}.py',
    '{configs}/_base_/default_runtime.py',
    '{configs}/_base_/schedules/schedule_20k.py',
]
norm_cfg = dict(type='BN', requires_grad=True)
small = dict(channels=8, num_classes=4, norm_cfg=norm_cfg)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(depth=18, stem_channels=8, base_channels=4, norm_cfg=norm_cfg),
    decode_head=dict(small, {in_channels}),
    auxiliary_head=dict(small, in_channels=16),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='MyTiles',
        data_root={data!r},
        img_suffix='.png',
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    ),
)
train_cfg = dict(max_iters=48, val_interval=24)
""",
    'mmpretrain': """
_base_ = [
    '{configs}/_base_/models/{model}.py',
    '{configs}/_base_/default_runtime.py',
    '{configs}/_base_/schedules/imagenet_bs256.py',
]
data_preprocessor = dict(num_classes=3, mean=[100.0] * 3, std=[80.0] * 3)
model = dict(
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
    head=dict(num_classes=3, in_channels=32, topk=(1,)),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MyPhotos',
        data_root={data!r},
        data_prefix='train',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    ),
)
train_cfg = dict(max_epochs=4)
""",
}


def configs_of(toolbox):
    return Path(importlib.import_module(toolbox).__file__).parent / '.mim' / 'configs'


def block_of(toolbox):
    (block,) = [block for block in BLOCKS if NAMES[toolbox] in block]
    return block


def over(toolbox, base, folder):
    """The config that a block makes of another one."""
    path = folder / f'{toolbox}.py'
    path.write_text(block_of(toolbox).replace(NAMES[toolbox], str(base)))
    return Config.fromfile(str(path))


@pytest.mark.default_cases(
    'mmseg-upernet_r50-fill0-a list',
    'mmseg-pspnet_r50-d8-fill1-a name',
    'mmpretrain-resnet18-fill2-a list',
)
@pytest.mark.parametrize('imports', [['my_package'], 'my_package'], ids=['a list', 'a name'])
@pytest.mark.parametrize(
    'toolbox, model, fill',
    [
        ('mmseg', 'upernet_r50', dict(in_channels='in_channels=[4, 8, 16, 32]')),
        ('mmseg', 'pspnet_r50-d8', dict(in_channels='in_channels=32')),
        ('mmpretrain', 'resnet18', {}),
    ],
)
def test_a_block_of_the_readme_trains_as_it_is_pasted(
    toolbox, model, fill, imports, tmp_path, monkeypatch
):
    write = dict(mmseg=runs.write_segmentation_data, mmpretrain=runs.write_classification_data)
    data = write[toolbox](tmp_path / 'data', num_images=24)
    (tmp_path / 'my_package.py').write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(importlib.sys.modules, 'my_package', raising=False)
    for registry in ('mmseg', 'mmpretrain', 'mmengine'):
        registry = importlib.import_module(f'{registry}.registry')
        for name, kind in (('DATASETS', 'MyTiles'), ('DATASETS', 'MyPhotos'), ('HOOKS', 'MyHook')):
            getattr(registry, name).module_dict.pop(kind, None)
    work_dir = str(tmp_path / 'run')
    mine = (MINE[toolbox] + COMMON).format(
        configs=configs_of(toolbox),
        model=model,
        data=data,
        work_dir=work_dir,
        imports=imports,
        **fill,
    )
    (tmp_path / NAMES[toolbox]).write_text(mine)
    (tmp_path / 'my_infobatch_config.py').write_text(block_of(toolbox))
    cfg = Config.fromfile(str(tmp_path / 'my_infobatch_config.py'))
    assert cfg.custom_imports.imports == ['my_package', 'mm_infobatch']
    torch.set_num_threads(1)
    Runner.from_cfg(cfg).train()
    calls = importlib.import_module('my_package').calls
    report = runs.report_of(work_dir)
    assert len(report['passes']) >= 3
    assert report['passes'][0]['pruned'] == 0 < sum(each['pruned'] for each in report['passes'])
    assert len(calls) == sum(each['iterations'] for each in report['passes'])
    assert cfg.train_dataloader.dataset.type in ('MyTiles', 'MyPhotos')
    # the config in the work directory needs neither the README nor the base
    (dumped,) = Path(work_dir).glob('*.py')
    assert Config.fromfile(str(dumped)).to_dict()['model'] == cfg.to_dict()['model']


def test_the_block_wraps_each_loss_that_a_head_names_and_no_head(tmp_path):
    heads = dict(
        decode_head=dict(type='VPDDepthHead', max_depth=10),  # whose default is no cross entropy
        auxiliary_head=[dict(type='FCNHead', loss_decode=[dict(type='DiceLoss')])],
    )
    base = tmp_path / 'base.py'
    base.write_text(f'model = {heads!r}\ntrain_cfg = dict(max_iters=10)\n')
    model = over('mmseg', base, tmp_path).model
    assert model.decode_head == heads['decode_head']
    dice = [dict(type='InfoBatchLoss', loss=dict(type='DiceLoss'))]
    assert model.auxiliary_head == [dict(type='FCNHead', loss_decode=dice)]


@pytest.mark.runs
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('toolbox, least', [('mmseg', 0.9), ('mmpretrain', 0.95)])
def test_a_block_makes_the_config_of_the_flag_of_a_shipped_one(toolbox, least, tmp_path):
    """One of every 12; or it fails, as where a head does not say its loss."""
    same = total = 0
    for path in sweep_configs.shipped_configs(toolbox)[::12]:
        try:
            expected = convert(Config.fromfile(str(path))).to_dict()
        except (CannotConvert, ModuleNotFoundError, ImportError):
            continue
        total += 1
        try:
            found = over(toolbox, path, tmp_path).to_dict()
        except (AttributeError, TypeError):  # no head.loss
            continue
        expected['train_dataloader']['sampler'].pop('shuffle', None)  # True, the default
        if 'step_length' not in expected['custom_hooks'][-1]:  # no SGD, as the comment says
            assert found['custom_hooks'][-1].pop('step_length') == 'capped'
        for cfg in (expected, found):
            cfg['custom_imports'].pop('allow_failed_imports', None)
        same += found == expected
    assert total > 20 and same >= least * total


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('toolbox', NAMES)
def test_a_block_keeps_every_schedule_that_a_toolbox_ships(toolbox, tmp_path):
    """Also those of mmpretrain with by_epoch, which mmengine does not take beside a type."""
    models = dict(mmseg='upernet_r50', mmpretrain='resnet18')
    seen = set()
    for schedule in sorted((configs_of(toolbox) / '_base_' / 'schedules').glob('*.py')):
        before = Config.fromfile(str(schedule))
        if before.get('train_cfg') is None:
            continue
        base = tmp_path / f'base_{schedule.name}'
        bases = [str(configs_of(toolbox) / f'_base_/models/{models[toolbox]}.py'), str(schedule)]
        base.write_text(
            f'_base_ = {bases}\ntrain_dataloader = dict(sampler=dict(type="DefaultSampler"))\n'
        )
        after = over(toolbox, base, tmp_path).train_cfg.to_dict()
        before = before.train_cfg.to_dict()
        seen.add('by_epoch' in before)
        for key in ('type', 'by_epoch'):
            before.pop(key, None)
        loop = 'InfoBatchIterLoop' if toolbox == 'mmseg' else 'InfoBatchEpochLoop'
        assert after == dict(before, type=loop)
    assert True in seen or toolbox == 'mmseg'
