"""``tools/train.py CONFIG --infobatch`` on configs as users have them, each a process."""

import functools
import importlib
import json
import re
from pathlib import Path

import pytest
import toolbox_runs as runs
import warm_start
from launch import run_cold
from mmengine.config import Config

from mm_infobatch import cli

ROOT = Path(__file__).resolve().parent.parent
# Two runs may begin in the same second, of which mmengine makes their names.
SAME_SECOND = pytest.mark.filterwarnings('ignore:.*has been created, the method')

# A user's package: a dataset with samples of its own, and a head with a loss of its own.
PACKAGE = '''
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModule
from mmpretrain.registry import DATASETS, MODELS


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


@MODELS.register_module()
class Margin(torch.nn.Module):
    """A loss that follows OpenMMLab's convention."""

    def __init__(self, margin, reduction='mean'):
        super().__init__()
        self.margin, self.reduction = margin, reduction

    def forward(self, scores, labels, reduction_override=None):
        scores = scores - self.margin * F.one_hot(labels, scores.shape[1])
        values = F.cross_entropy(scores, labels, reduction='none')
        reduction = reduction_override or self.reduction
        return values if reduction == 'none' else getattr(values, reduction)()


@MODELS.register_module()
class TwoLossHead(BaseModule):
    """A head that has neither mmpretrain's base class nor its parameter names."""

    def __init__(self, in_channels, num_classes, objectives):
        super().__init__()
        self.fc = torch.nn.Linear(in_channels, num_classes)
        self.objectives = torch.nn.ModuleList(MODELS.build(cfg) for cfg in objectives)

    def loss(self, feats, data_samples, **kwargs):
        scores = self.fc(feats[-1])
        labels = torch.cat([sample.gt_label for sample in data_samples])
        return {
            f'loss_{i}': objective(scores, labels) for i, objective in enumerate(self.objectives)
        }
'''
CONFIG = """
custom_imports = dict(imports=['users_package'], allow_failed_imports=False)
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=3, mean=[100.] * 3, std=[80.] * 3)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, out_indices=(3, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='TwoLossHead', in_channels=32, num_classes=3,
        objectives=[
            dict(type='Margin', margin=0.2),
            dict(type='LabelSmoothLoss', label_smooth_val=0.1)]))
train_dataloader = dict(
    batch_size=4, num_workers=1,
    dataset=dict(type='ConcatDataset', datasets=[
        dict(type='Stripes', ann_file=name, pipeline=[dict(type='PackInputs')])
        for name in ('first.npz', 'second.npz')]),
    sampler=dict(type='DefaultSampler', shuffle=True))
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05), accumulative_counts=2)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
randomness = dict(seed=1)
"""


def run_tool(tool, *arguments, run=run_cold, **kwargs):
    """Run a tool as a user does, and return what it printed."""
    status, printed = run(tool, *arguments, **kwargs)
    assert status == 0, printed[-3000:]
    return printed


run_warm = functools.partial(run_tool, run=warm_start.run_tool)  # which has the toolboxes already


def logged(work_dir):
    """Each iteration's losses and learning rate, as logged."""
    return [
        {key: line[key] for key in line if 'loss' in key or key == 'lr'}
        for line in runs.scalars_of(work_dir)
        if 'loss' in line
    ]


def write_stripes(path, count, seed):
    import numpy as np

    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = np.zeros((count, 16, 16, 3))
    for image, label in zip(images, labels):
        image[label * 5 : label * 5 + 5] = 200
    noise = rng.normal(0, 1, images.shape) * (5 + 60 * (np.arange(count) % 2))[:, None, None, None]
    np.savez(path, images=np.clip(images + noise, 0, 255).astype(np.uint8), labels=labels)


def test_a_users_config_with_dataset_head_and_loss_of_their_own_trains(tmp_path):
    (tmp_path / 'users_package.py').write_text(PACKAGE)
    (tmp_path / 'mine.py').write_text(CONFIG)
    write_stripes(tmp_path / 'first.npz', 10, 0)
    write_stripes(tmp_path / 'second.npz', 9, 1)
    options = ['--infobatch', '--infobatch-options', 'delta=1', 'prune_ratio=0.5']
    printed = run_tool(
        ROOT / 'tools' / 'train.py',
        'mine.py',
        '--work-dir',
        'run',
        *options,
        cwd=tmp_path,
        packages=[tmp_path],
    )
    report = runs.report_of(tmp_path / 'run')
    assert report['settings']['num_samples'] == 19 and len(report['passes']) == 3
    assert report['passes'][0]['pruned'] == 0 < report['passes'][1]['pruned']
    assert 'InfoBatch trained' in printed
    dumped = Config.fromfile(str(tmp_path / 'run' / 'mine.py'), import_custom_modules=False)
    assert [loss.type for loss in dumped.model.head.objectives] == ['InfoBatchLoss'] * 2
    # ... and resumes, by the flag, where it was killed
    again = run_warm(
        ROOT / 'tools' / 'train.py',
        'mine.py',
        '--work-dir',
        'run',
        '--resume',
        *options,
        '--cfg-options',
        'train_cfg.max_epochs=4',
        cwd=tmp_path,
        packages=[tmp_path],
    )
    assert 'InfoBatch pass 3' in again and 'InfoBatch pass 2' not in again


def write_config(folder, by='epoch'):
    """A config as a file, with checkpoints, and what trains it."""
    if by == 'epoch':
        data = runs.write_classification_data(folder / 'data', num_images=12)
        cfg = runs.classification_config(data, str(folder / 'run'), max_epochs=2)
    else:
        data = runs.write_segmentation_data(folder / 'data', num_images=12)
        cfg = runs.segmentation_config(data, str(folder / 'run'), max_iters=18)
    interval = 1 if by == 'epoch' else 4
    runs.checkpoints_every(cfg, interval, by_epoch=by == 'epoch').pop('experiment_name')
    cfg.dump(folder / 'config.py')
    return ['train', str(folder / 'config.py')]


@SAME_SECOND
@pytest.mark.parametrize('named', [False, True])
def test_a_pruned_run_by_iterations_is_not_resumed_without_infobatch(tmp_path, capsys, named):
    train = write_config(tmp_path, 'iter')
    cli.main([*train, '--infobatch', '--infobatch-options', 'delta=1'])
    resume = ['--resume', str(tmp_path / 'run' / 'iter_12.pth')] if named else ['--resume']
    capsys.readouterr()
    with pytest.raises(SystemExit, match='2'):
        cli.main([*train, *resume])
    message = capsys.readouterr().err
    assert re.search(r'iter_\d+.pth is of a run with InfoBatch.*Add --infobatch', message)
    assert not (tmp_path / 'run' / 'iter_16.pth').exists()
    # Up to there it had pruned nothing.
    cli.main([*train, '--resume', str(tmp_path / 'run' / 'iter_4.pth')])
    assert (tmp_path / 'run' / 'iter_16.pth').is_file()


@SAME_SECOND
def test_a_run_by_epoch_is_resumed_with_infobatch_or_without(tmp_path):
    train = write_config(tmp_path)
    cli.main(train)
    for epochs, flags in ((3, []), (4, ['--infobatch']), (5, [])):
        cli.main([*train, *flags, '--cfg-options', f'train_cfg.max_epochs={epochs}', '--resume'])
        assert (tmp_path / 'run' / f'epoch_{epochs}.pth').is_file()


@pytest.mark.runs
@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_the_config_in_the_work_directory_trains_the_same_under_the_toolboxs_own_tool(
    toolbox, tmp_path
):
    """The flag, the file that convert_config.py writes, and the dumped config without the flag."""
    if toolbox == 'mmseg':
        data = runs.write_segmentation_data(tmp_path / 'data', num_images=12)
        cfg = runs.segmentation_config(data, tmp_path / 'unused', max_iters=18)
    else:
        data = runs.write_classification_data(tmp_path / 'data', num_images=24)
        cfg = runs.classification_config(data, tmp_path / 'unused', max_epochs=3)
    for key in ('work_dir', 'experiment_name', 'launcher'):
        cfg.pop(key, None)
    cfg.dump(str(tmp_path / 'stock.py'))
    options = ['--infobatch-options', 'delta=1.0']
    run_warm(
        ROOT / 'tools' / 'train.py',
        'stock.py',
        '--work-dir',
        'flag',
        '--infobatch',
        *options,
        cwd=tmp_path,
    )
    run_warm(
        ROOT / 'tools' / 'convert_config.py', 'stock.py', '-o', 'written.py', *options, cwd=tmp_path
    )
    own_tool = Path(importlib.import_module(toolbox).__file__).parent / '.mim/tools/train.py'
    run_tool(own_tool, 'written.py', '--work-dir', 'written', cwd=tmp_path)
    run_tool(own_tool, 'flag/stock.py', '--work-dir', 'dumped', cwd=tmp_path)
    expected = logged(tmp_path / 'flag')
    assert len(expected) > 8
    assert logged(tmp_path / 'written') == expected
    assert logged(tmp_path / 'dumped') == expected
    passes = json.loads((tmp_path / 'dumped' / 'infobatch.json').read_text())['passes']
    assert passes[1]['pruned'] > 0


def test_options_without_the_flag_are_a_users_error(tmp_path):
    runs.segmentation_config('data', 'work').dump(str(tmp_path / 'a.py'))
    tool = ROOT / 'tools' / 'train.py'
    options = ['--infobatch-options', 'delta=1']
    status, printed = warm_start.run_tool(tool, 'a.py', *options, cwd=tmp_path)
    assert status == 2 and 'has no effect without --infobatch' in printed


def test_a_loss_that_is_meant_to_carry_no_weights_is_told_of(tmp_path):
    data = runs.write_segmentation_data(tmp_path / 'data', num_images=8)
    cfg = runs.switch_on(runs.segmentation_config(data, tmp_path / 'run', max_iters=8))
    cfg.model.auxiliary_head.loss_decode = cfg.model.auxiliary_head.loss_decode.loss
    cfg.custom_hooks[0].unweighted = ['model.auxiliary_head']
    runs.train(cfg)
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert log.count('the rest carries no weights') == 1
    runs.train(runs.switch_on(runs.segmentation_config(data, tmp_path / 'all', max_iters=8)))
    assert 'carries no weights' not in next((tmp_path / 'all').glob('*/*.log')).read_text()
