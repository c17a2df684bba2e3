"""Tiny real runs of both toolboxes: data sets as files, configs, and a record of what a run did."""

import functools
import importlib
import json
import os
import time
import uuid
import warnings
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image

from mm_infobatch import InfoBatchLoss

with warnings.catch_warnings():
    # What the toolboxes and their dependencies say when they are imported is not about us.
    warnings.simplefilter('ignore')
    for toolbox in ('mmseg', 'mmpretrain'):
        importlib.import_module(f'{toolbox}.utils').register_all_modules(init_default_scope=False)

# What mmseg's losses say of themselves; every other warning stays an error.
TOOLBOX_WARNINGS = (
    'ignore:Default ``avg_non_ignore`` is False',
    'ignore:``build_loss`` would be deprecated soon',
)
SEG_CLASSES = ('background', 'square', 'stripe', 'disc')
META_KEYS = (
    'sample_idx',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
)
GN = dict(type='GN', num_groups=2)
BN = dict(type='BN', requires_grad=True)

# ---------------------------------------------------------------------- data


def write_segmentation_data(root, num_images=12, size=32, seed=0):
    """An ADE20K-layout set of label maps and noisy images of them; some are harder than others."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    for split, count in (('train', num_images), ('val', 2)):
        for name in ('img_dir', 'ann_dir'):
            (Path(root) / name / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            labels = np.zeros((size, size), np.uint8)
            top, left, radius = rng.integers(2, size // 2, 3)
            labels[top : top + 10, left : left + 10] = 1
            labels[:, left : left + 3] = 2
            labels[(rows - top) ** 2 + (columns - left) ** 2 < (radius / 2) ** 2] = 3
            noise = rng.normal(0, 10 + 60 * (index % 3), (size, size, 3))
            image = np.stack([labels * 60, 255 - labels * 50, labels % 2 * 200], 2) + noise
            labels[-2:] = 255
            save(Path(root) / 'img_dir' / split / f'{index:03}.png', image)
            save(Path(root) / 'ann_dir' / split / f'{index:03}.png', labels)
    return str(root)


def write_classification_data(root, num_images=16, size=16, seed=0):
    """Folders of images, one a class; some are harder than others."""
    rng = np.random.default_rng(seed)
    for split, count in (('train', num_images), ('val', 4)):
        for index in range(count):
            label = index % 3
            image = np.zeros((size, size))
            image[label * size // 3 : (label + 1) * size // 3] = 200
            image += rng.normal(0, 5 + 50 * (index % 4), (size, size))
            folder = Path(root) / split / f'class{label}'
            folder.mkdir(parents=True, exist_ok=True)
            save(folder / f'{index:03}.png', image)
    return str(root)


def save(path, values):
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path)


# ------------------------------------------------------------------- configs


def new_name():
    """The name of a run. Without one, runs of the same second in a process share their logs."""
    return f'run-{uuid.uuid4().hex}'


def common(scope, work_dir, by_epoch):
    return dict(
        default_scope=scope,
        work_dir=str(work_dir),
        experiment_name=new_name(),
        default_hooks=dict(
            timer=dict(type='IterTimerHook'),
            logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=by_epoch),
            param_scheduler=dict(type='ParamSchedulerHook'),
            checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch, interval=-1, save_last=False),
            sampler_seed=dict(type='DistSamplerSeedHook'),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        env_cfg=dict(
            cudnn_benchmark=False,
            mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
            dist_cfg=dict(backend='gloo'),
        ),
        vis_backends=[dict(type='LocalVisBackend')],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        log_processor=dict(by_epoch=by_epoch),
        log_level='INFO',
        load_from=None,
        resume=False,
        randomness=dict(seed=7),
    )


def put(cfg, key, value):
    """Set ``key`` as ``--cfg-options`` would."""
    *path, last = key.split('.')
    for part in path:
        cfg = cfg[int(part)] if isinstance(cfg, list) else cfg[part]
    cfg[last] = value


def segmentation_config(
    data_root,
    work_dir,
    max_iters=18,
    batch_size=2,
    num_workers=0,
    drop_last=False,
    flip=False,
    dropout=0.0,
    norm_cfg=GN,
    aux_weight=1.0,
    val_interval=None,
    param_scheduler=None,
):
    """A stock mmseg run of a slim UperNet, on a finite sampler."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs', meta_keys=META_KEYS),
    ]
    if flip:
        pipeline.insert(2, dict(type='RandomFlip', prob=0.5))
    dataset = dict(
        type='BaseSegDataset',
        img_suffix='.png',
        data_root=data_root,
        metainfo=dict(classes=SEG_CLASSES, palette=[[i, i, i] for i in range(4)]),
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=pipeline,
    )
    head = dict(
        num_classes=4, norm_cfg=norm_cfg, align_corners=False, dropout_ratio=dropout, channels=8
    )
    cfg = common('mmseg', work_dir, by_epoch=False)
    cfg.update(
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                mean=[127.0] * 3,
                std=[60.0] * 3,
                size=(32, 32),
                pad_val=0,
                seg_pad_val=255,
            ),
            backbone=dict(
                type='ResNetV1c',
                depth=18,
                stem_channels=8,
                base_channels=4,
                num_stages=4,
                out_indices=(0, 1, 2, 3),
                norm_cfg=norm_cfg,
                norm_eval=False,
            ),
            decode_head=dict(
                type='UPerHead',
                in_channels=[4, 8, 16, 32],
                in_index=[0, 1, 2, 3],
                pool_scales=(1, 2),
                loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                **head,
            ),
            auxiliary_head=dict(
                type='FCNHead',
                in_channels=16,
                in_index=2,
                num_convs=1,
                concat_input=False,
                loss_decode=dict(
                    type='CrossEntropyLoss', use_sigmoid=False, loss_weight=aux_weight
                ),
                **head,
            ),
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            drop_last=drop_last,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dataset,
        ),
        train_cfg=dict(
            type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval or max_iters
        ),
        param_scheduler=param_scheduler
        or [
            dict(type='LinearLR', start_factor=0.1, begin=0, end=4, by_epoch=False),
            dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=4, end=max_iters, by_epoch=False),
        ],
    )
    if val_interval is not None:
        val_set = dict(
            dataset,
            data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
            pipeline=pipeline[:2] + pipeline[-1:],
        )
        cfg.update(
            val_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=val_set,
            ),
            val_cfg=dict(type='ValLoop'),
            val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
        )
    return Config(cfg)


def classification_config(
    data_root,
    work_dir,
    max_epochs=5,
    batch_size=4,
    num_workers=0,
    drop_last=False,
    flip=False,
    norm_cfg=GN,
    val_interval=None,
    param_scheduler=None,
):
    """A stock mmpretrain run of a slim ResNet on folders of images."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    if flip:
        pipeline.insert(1, dict(type='RandomFlip', prob=0.5))
    dataset = dict(
        type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=pipeline
    )
    cfg = common('mmpretrain', work_dir, by_epoch=True)
    cfg.update(
        data_preprocessor=dict(num_classes=3, mean=[100.0] * 3, std=[80.0] * 3, to_rgb=True),
        model=dict(
            type='ImageClassifier',
            backbone=dict(
                type='ResNet_CIFAR',
                depth=18,
                stem_channels=4,
                base_channels=4,
                num_stages=4,
                out_indices=(3,),
                norm_cfg=norm_cfg,
            ),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=3,
                in_channels=32,
                loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            ),
        ),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            drop_last=drop_last,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dataset,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs, val_interval=val_interval or 1),
        param_scheduler=param_scheduler
        or [
            dict(
                type='LinearLR',
                start_factor=0.1,
                begin=0,
                end=1,
                by_epoch=True,
                convert_to_iter_based=True,
            ),
            dict(type='MultiStepLR', milestones=[2, 4], gamma=0.1, by_epoch=True),
        ],
    )
    if val_interval is not None:
        cfg.update(
            val_dataloader=dict(
                batch_size=4,
                num_workers=0,
                collate_fn=dict(type='default_collate'),
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(dataset, data_prefix='val', pipeline=pipeline[:1] + pipeline[-1:]),
            ),
            val_cfg=dict(),
            val_evaluator=dict(type='Accuracy', topk=(1,)),
        )
    return Config(cfg)


def switch_on(cfg, prune_ratio=0.5, delta=0.875, budget=None):
    """The delta of the README: the same config with InfoBatch on."""
    cfg = copy_of(cfg)
    cfg.custom_imports = dict(imports=['mm_infobatch'], allow_failed_imports=False)
    cfg.train_dataloader.sampler = dict(
        type='InfoBatchSampler',
        delta=delta,
        policy=dict(type='SoftPruning', prune_ratio=prune_ratio),
    )
    by_iteration = 'max_iters' in cfg.train_cfg
    cfg.train_cfg.pop('by_epoch', None)
    cfg.train_cfg.type = 'InfoBatchIterLoop' if by_iteration else 'InfoBatchEpochLoop'
    if budget is not None:
        cfg.train_cfg.budget = budget
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='InfoBatchHook')]
    for name, key in (
        ('decode_head', 'loss_decode'),
        ('auxiliary_head', 'loss_decode'),
        ('head', 'loss'),
    ):
        heads = cfg.model.get(name, [])
        for head in heads if isinstance(heads, list) else [heads]:
            head[key] = (
                [wrapped(loss) for loss in head[key]]
                if isinstance(head[key], list)
                else wrapped(head[key])
            )
    return cfg


def wrapped(loss):
    return dict(type='InfoBatchLoss', loss=loss)


def copy_of(cfg):
    """A copy that shares nothing, unlike ``cfg.copy()``."""
    return Config(cfg.to_dict())


def checkpoints_every(cfg, interval, by_epoch=False, **kwargs):
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=by_epoch, interval=interval, save_last=False, **kwargs
    )
    return cfg


# --------------------------------------------------------------------- runs


@HOOKS.register_module()
class Recorder(Hook):
    """Keep what each iteration trained: samples (by their own word), weights, LR and loss.

    Args:
        path (str, optional): Where to write it too, in a process of its own: a line of JSON an
            iteration, and the model at the end; ``{rank}`` is filled in. Defaults to None.
        stall_at (int, optional): The iteration before which to wait to be killed. Defaults to None.
    """

    priority = 'LOWEST'

    def __init__(self, path=None, stall_at=None):
        self.path, self.stall_at = path, stall_at
        self.rows, self.handed_out = [], []
        self.passes = []  # of each pass that it saw: the scores when it began, the plan

    def before_train(self, runner):
        self.runner = runner
        if self.path is not None:
            self.path = self.path.format(rank=get_rank())
            self.collectives = []
            for name in (
                'all_gather',
                'all_gather_object',
                'all_reduce',
                'broadcast',
                'barrier',
                'broadcast_object_list',
                'gather',
                'reduce',
                'all_gather_into_tensor',
            ):
                self.count(name)
        self.losses = [
            module
            for module in runner.model.modules()
            if isinstance(module, InfoBatchLoss)
            and 'loss' in getattr(module, 'loss_name', 'loss')  # mmseg only logs the others
        ]
        for loss in self.losses:
            loss.begin_batch = self.spy_on(loss.begin_batch)

    def spy_on(self, begin_batch):

        def spy(weights, *args):
            self.handed_out.append(weights.tolist())
            begin_batch(weights, *args)

        return spy

    def count(self, name):
        """Note each call of a collective in this process, which the run has for itself."""
        call = getattr(torch.distributed, name)

        @functools.wraps(call)
        def counted(*args, **kwargs):
            self.collectives.append(name)
            return call(*args, **kwargs)

        setattr(torch.distributed, name, counted)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.stall_at:
            Path(f'{self.path}.part').write_text(str(os.getpid()))
            os.replace(f'{self.path}.part', f'{self.path}.stalled')
            time.sleep(600)
        assert not self.handed_out  # until the step itself
        loop = runner.train_loop
        self.row = dict(
            iter=runner.iter,
            batch_idx=batch_idx,
            indices=[sample.sample_idx for sample in data_batch['data_samples']],
            lr=runner.optim_wrapper.get_lr()['lr'][0],
        )
        if hasattr(loop, 'schedule'):
            index = loop.schedule.pass_index
            self.row.update(
                {
                    'pass': index,
                    'max_iters': loop.max_iters,
                    'scores': loop.sampler.scores.values.double().nansum().item(),
                }
            )
            if not self.rows or self.rows[-1]['pass'] != index:
                self.passes.append((loop.sampler.scores.values.clone(), loop.sampler.plan))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        handed_out, self.handed_out = self.handed_out, []
        assert len(handed_out) == len(self.losses)
        assert all(weights == handed_out[0] for weights in handed_out)
        self.row['weights'] = handed_out[0] if handed_out else None
        self.row['loss'] = {
            key: value.item() for key, value in outputs.items() if torch.is_tensor(value)
        }
        self.rows.append(self.row)
        if self.path is not None:
            self.row['collectives'], self.collectives = self.collectives, []
            with open(self.path, 'a') as file:
                file.write(json.dumps(self.row) + '\n')

    def after_train(self, runner):
        if self.path is not None:
            torch.save(self.state, f'{self.path}.pth')

    def column(self, key):
        return [row[key] for row in self.rows]

    def by_pass(self, key):
        """The values of a column, in one list a pass."""
        passes = {}
        for row in self.rows:
            passes.setdefault(row['pass'], []).extend(
                row[key] if isinstance(row[key], list) else [row[key]]
            )
        return [passes[index] for index in sorted(passes)]

    @property
    def state(self):
        """The model's parameters and buffers at the end."""
        model = self.runner.model
        return {
            key: value.clone()
            for key, value in getattr(model, 'module', model).state_dict().items()
        }


def build(cfg, *hooks):
    """A Runner, and the recorder that is among its hooks."""
    cfg = copy_of(cfg)
    cfg.experiment_name = new_name()
    torch.set_num_threads(1)
    runner = Runner.from_cfg(cfg)
    recorder = Recorder()
    for hook in (*hooks, recorder):
        runner.register_hook(hook)
    return runner, recorder


def train(cfg, *hooks):
    """Train, and return what the run did."""
    runner, recorder = build(cfg, *hooks)
    runner.train()
    recorder.runner = runner
    for loop in (runner.train_loop, runner.val_loop):
        workers = getattr(getattr(loop, 'dataloader', None), '_iterator', None)
        if workers is not None:
            # Left to the garbage collector, PyTorch waits five seconds for each of them.
            workers._shutdown_workers()
    return recorder


def trained_classifier(folder):
    """Fill a directory with ``data/``, ``config.py``, which can test, and ``run/epoch_1.pth``."""
    data = write_classification_data(folder / 'data')
    cfg = classification_config(data, str(folder / 'run'), max_epochs=1, val_interval=1)
    cfg = checkpoints_every(cfg, 1, by_epoch=True)
    cfg.test_dataloader, cfg.test_cfg = cfg.val_dataloader, cfg.val_cfg
    cfg.test_evaluator = cfg.val_evaluator
    cfg.dump(folder / 'config.py')
    train(cfg)
    return folder


def resumed(cfg, checkpoint, work_dir=None):
    """The config that goes on from a checkpoint, and saves none itself."""
    cfg = checkpoints_every(copy_of(cfg), -1)
    cfg.load_from, cfg.resume = str(checkpoint), True
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    return cfg


def report_of(work_dir):
    return json.loads((Path(work_dir) / 'infobatch.json').read_text())


def scalars_of(work_dir):
    """What the visualizer wrote, over all starts of the run."""
    lines = []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return lines


def log_of(work_dir):
    return '\n'.join(path.read_text() for path in sorted(Path(work_dir).glob('*/*.log')))


def tracked(runner):
    """The counts, means and squares of a run's losses; None where they are not tracked."""
    sampler = runner.train_loop.sampler
    return sampler.state_dict().get('tracked')


def assert_same_tracking(left, right):
    """Two runs have tracked the same, bit for bit."""
    left, right = tracked(left), tracked(right)
    assert left['passes'] == right['passes']
    for key in ('trained', 'mean', 'squares'):
        assert left[key].numpy().tobytes() == right[key].numpy().tobytes(), key


def assert_same_state(left, right):
    assert left.keys() == right.keys()
    different = [key for key in left if not torch.equal(left[key], right[key])]
    assert not different, f'{len(different)} of {len(left)} differ, the first is {different[0]}'
