"""One shipped config of mmpretrain for each kind of head, loss and model: trained as it is and with
InfoBatch, at a size for a CPU.

Each case makes three runs of two passes from the same weights: the shipped config, the converted
one that prunes nothing, which has to give the same numbers, and the converted one that prunes.
"""

import importlib.util
import logging
import math
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner
from shrink_mmpretrain import (
    BATCH_SIZE,
    CONFIGS,
    MAE,
    MAE_HEAD,
    NUM_CLASSES,
    NUM_IMAGES,
    TRANSFORMER,
    expected_weights,
    shipped,
    shrink,
    train,
    write_clip,
    write_folders,
    write_inshop,
    write_multi_task,
    write_voc,
)

from mm_infobatch import CannotConvert, convert
from mm_infobatch.convert.refusals import check_data, check_model
from mm_infobatch.losses.mixing import MixingRecorder

# What the toolboxes say of the shipped configs, and of accumulated gradients.
WARNINGS = (
    'MMPretrain cannot train the distilled version DeiT',
    'In MMCV v1.4.4, we modified the default value of args',
    'Unnecessary conv bias before batch/instance norm',
    'Detected call of `scheduler.step',
)
pytestmark = [pytest.mark.filterwarnings(f'ignore:{text}:UserWarning') for text in WARNINGS]


class Case(NamedTuple):
    """A shipped config and what shrinks its model.

    Attributes:
        config (str): Below mmpretrain's ``configs``.
        options (dict): Values by their dotted paths.
        data (callable): What writes its images.
        size (int): Their height and width.
        num_classes (int): The number of classes.
    """

    config: str
    options: dict
    data: object = write_folders
    size: int = 32
    num_classes: int = NUM_CLASSES


VIT = {
    'model.backbone.arch': TRANSFORMER,
    'model.backbone.img_size': 32,
    'model.backbone.patch_size': 8,
    'model.head.in_channels': 16,
}
SLIM_RESNET = {
    'model.backbone': dict(
        type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, out_indices=(3,)
    ),
    'model.head.in_channels': 32,
}
CONVNEXT = {
    'model.backbone.arch': dict(depths=[1, 1, 1, 1], channels=[4, 8, 8, 16]),
    'model.head.in_channels': 16,
}
REPVGG = {
    'model.backbone.arch': dict(
        num_blocks=[1, 1, 1, 1],
        width_factor=[0.1, 0.1, 0.1, 0.1],
        group_layer_map=None,
        se_cfg=None,
    ),
    'model.backbone.base_channels': 64,
    'model.head.in_channels': 51,
}
HIVIT = {
    'model.backbone.arch': dict(embed_dims=16, depths=[1, 1, 1], num_heads=2),
    'model.backbone.img_size': 32,
    'model.backbone.patch_size': 16,
    'model.neck.num_patches': 4,
    'model.neck.embed_dim': 16,
    'model.neck.decoder_embed_dim': 16,
    'model.neck.decoder_depth': 1,
    'model.neck.decoder_num_heads': 2,
}
SPARK = {
    'model.input_size': 64,
    'model.neck.feature_dim': 32,
    'model.neck.norm_cfg': dict(type='BN'),
}
GRAY = {'train_dataloader.dataset.pipeline.0.color_type': 'grayscale'}

CASES = [
    # LinearClsHead: hard labels, soft ones of Mixup and CutMix, sigmoid
    Case('resnet/resnet18_8xb16_cifar10.py', SLIM_RESNET),
    Case('resnet/resnet50_8xb256-rsb-a3-100e_in1k.py', SLIM_RESNET),
    Case(
        'xcit/xcit-nano-12-p16_8xb128_in1k.py',
        {
            'model.backbone.img_size': 32,
            'model.backbone.patch_size': 8,
            'model.backbone.embed_dims': 16,
            'model.backbone.depth': 1,
            'model.backbone.num_heads': 2,
            'model.backbone.cls_attn_layers': 1,
            'model.head.in_channels': 16,
        },
    ),
    Case(
        'edgenext/edgenext-xxsmall_8xb256_in1k.py',
        {
            'model.backbone.arch': dict(
                channels=[8, 8, 8, 8], depths=[1, 1, 1, 2], num_heads=[2, 2, 2, 2]
            ),
            'model.head.in_channels': 8,
        },
    ),
    Case(
        'regnet/regnetx-400mf_8xb128_in1k.py',
        {
            'model.backbone.arch': dict(w0=8, wa=10, wm=2.0, group_w=4, depth=6, bot_mul=1.0),
            'model.backbone.stem_channels': 8,
            'model.backbone.base_channels': 8,
            'model.head.in_channels': 64,
        },
    ),
    Case('resnet/resnet50_8xb32-lbs_in1k.py', SLIM_RESNET),
    Case(
        'spark/benchmarks/resnet50_8xb256-coslr-300e_in1k.py',
        {
            'model.backbone': dict(
                type='ResNet', depth=50, stem_channels=4, base_channels=4, out_indices=(3,)
            ),
            'model.head.in_channels': 128,
        },
    ),
    Case('repvgg/repvgg-B3_8xb32_in1k.py', REPVGG),
    Case('convnext_v2/convnext-v2-base_32xb32_in1k.py', CONVNEXT),
    Case(
        'mobileone/mobileone-s1_8xb32_in1k.py',
        {
            'model.backbone.arch': dict(
                num_blocks=[1, 1, 1, 1],
                width_factor=[0.125] * 4,
                num_conv_branches=[1, 1, 1, 1],
                num_se_blocks=[0, 0, 0, 0],
            ),
            'model.head.in_channels': 64,
        },
    ),
    # VisionTransformerClsHead and its kin
    Case('vision_transformer/vit-base-p32_64xb64_in1k.py', VIT),
    Case('vision_transformer/vit-base-p16_64xb64_in1k.py', VIT),
    Case('deit/deit-base_16xb64_in1k.py', VIT),
    Case('deit/deit-tiny-distilled_4xb256_in1k.py', VIT),
    # the other heads
    Case('lenet/lenet5_mnist.py', GRAY),
    Case('mobilenet_v3/mobilenet-v3-small_8xb16_cifar10.py', {'model.head.mid_channels': [16]}),
    Case(
        'conformer/conformer-tiny-p16_8xb128_in1k.py',
        {
            'model.backbone.arch': dict(embed_dims=16, channel_ratio=1, num_heads=2, depths=3),
            'model.backbone.base_channels': 8,
            'model.head.in_channels': [32, 16],
        },
    ),
    # mmpretrain refuses to train these two with distillation, which the shipped configs have
    Case(
        'levit/levit-128s_8xb256_in1k.py',
        {
            **SLIM_RESNET,
            'model.neck': dict(type='GlobalAveragePooling'),
            'model.head.distillation': False,
        },
    ),
    Case(
        'efficientformer/efficientformer-l1_8xb128_in1k.py',
        {
            **SLIM_RESNET,
            'model.neck': dict(type='GlobalAveragePooling'),
            'model.head.distillation': False,
        },
    ),
    Case('vig/pvig-tiny_8xb128_in1k.py', {**SLIM_RESNET, 'model.head.hidden_dim': 16}),
    Case('csra/resnet101-csra_1xb16_voc07-448px.py', SLIM_RESNET, write_voc, 16, 20),
    Case(
        'vgg/vgg16_8xb16_voc.py',
        {
            **GRAY,
            'model.backbone': dict(type='LeNet5', num_classes=20),
            'data_preprocessor.to_rgb': False,
            'data_preprocessor.mean': [127.0],
            'data_preprocessor.std': [60.0],
        },
        write_voc,
        32,
        20,
    ),
    Case('resnet/resnet50_8xb16-mixup_cifar10.py', SLIM_RESNET),
    Case(
        'arcface/resnet50-arcface_8xb32_inshop.py',
        {
            'model.image_encoder': [
                SLIM_RESNET['model.backbone'],
                dict(type='GlobalAveragePooling'),
            ],
            'model.head.in_channels': 32,
        },
        write_inshop,
    ),
    # reconstruction
    Case('mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', MAE_HEAD),
    Case('mae/mae_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py', HIVIT),
    Case(
        'mff/mff_vit-base-p16_8xb512-amp-coslr-300e_in1k.py',
        {**MAE_HEAD, 'model.backbone.out_indices': [0, 1]},
    ),
    Case(
        'itpn/itpn-pixel_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py',
        {**HIVIT, 'model.neck.fpn_dim': 8, 'model.neck.fpn_depth': 1},
    ),
    Case(
        'simmim/simmim_swin-base-w6_8xb256-amp-coslr-100e_in1k-192px.py',
        {
            'model.backbone.arch': dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
            'model.backbone.img_size': 64,
            'model.backbone.stage_cfgs': dict(block_cfgs=dict(window_size=2)),
            'model.neck.in_channels': 64,
            'train_dataloader.dataset.pipeline.1.input_size': 64,
        },
        size=64,
    ),
    Case(
        'spark/spark_sparse-resnet50_8xb512-amp-coslr-800e_in1k.py',
        {
            **SPARK,
            'model.backbone.base_channels': 4,
            'model.backbone.stem_channels': 4,
            'model.enc_dec_norm_dim': 128,
        },
        size=64,
    ),
    Case(
        'maskfeat/maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k.py',
        {
            'model.backbone.arch': TRANSFORMER,
            'model.backbone.img_size': 112,
            'model.backbone.patch_size': 8,
            'model.neck.in_channels': 16,
            'model.neck.out_channels': 27,
        },
        size=112,
    ),
    Case(
        'milan/milan_vit-base-p16_16xb256-amp-coslr-400e_in1k.py',
        {
            **MAE,
            'model.neck.predict_feature_dim': 16,
            'model.target_generator.tokenizer_path': write_clip,
        },
    ),
    Case(
        'eva/eva-mae-style_vit-base-p16_16xb256-coslr-400e_in1k.py',
        {
            **MAE,
            'model.neck.predict_feature_dim': 16,
            'model.target_generator.tokenizer_path': write_clip,
        },
    ),
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The data sets, each written when it is first asked for."""
    written = {}

    def get(write, size=None):
        if (write, size) not in written:
            root = tmp_path_factory.mktemp('data') / write.__name__
            written[write, size] = write(root) if size is None else write(root, size)
        return written[write, size]

    return get


def shrunk(case, data, work_dir):
    dataset = data(case.data, case.size)
    options = {
        key: data(value) if callable(value) else value for key, value in case.options.items()
    }
    if case.data is write_inshop:
        options['model.prototype.dataset'] = dict(
            dataset, split='gallery', pipeline=[dict(type='LoadImageFromFile')]
        )
    return shrink(shipped(case.config), dataset, work_dir, options, case.num_classes)


def assert_same_state(left, right):
    assert left.keys() == right.keys()
    assert not [key for key in left if not torch.equal(left[key], right[key])]


def assert_same_numbers(run, baseline):
    """Index for index, digit for digit."""
    assert run.column('samples') == baseline.column('samples')
    assert run.column('log_vars') == baseline.column('log_vars')
    assert_same_state(run.begin, baseline.begin)
    assert_same_state(run.end, baseline.end)
    assert_same_state(run.ema, baseline.ema)


def assert_prunes_and_weighs(run, passes=2):
    """All passes but the first prune; each loss sees the weights of the plan in each call."""
    assert [row['pruned'] > 0 for row in run.rows] == [row['pass'] > 0 for row in run.rows]
    assert {row['pass'] for row in run.rows} == set(range(passes))
    for row in run.rows:
        assert all(math.isfinite(value) for value in row['log_vars'].values())
        assert row['seen'] and all(row['seen'].values())  # each loss was called
        expected = expected_weights(row)
        for calls in row['seen'].values():
            for weights in calls:
                torch.testing.assert_close(weights, expected)
        for value, expected in row['values']:
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert any((row['weights'] > 1).any() for row in run.rows)


def mixed_and_weighted(run):
    """The rows whose mixing changed the weights, in pruned passes."""
    return [
        row
        for row in run.rows
        if row['pruned'] and not torch.equal(expected_weights(row), row['weights'])
    ]


def by_the_paper(cfg, **options):
    """Steps of the paper's length, so that the losses get the weights of the plan as they are."""
    return convert(cfg, step_length='paper', **options)


def three_runs(cfg, passes=2, **kwargs):
    """The config as it is, converted without pruning, and converted with it; the first two have to
    agree."""
    baseline = train(cfg, **kwargs)
    off = train(by_the_paper(cfg, prune_ratio=0.0, delta=1.0), baseline.begin, **kwargs)
    on = train(by_the_paper(cfg, prune_ratio=0.5, delta=1.0), baseline.begin, **kwargs)
    assert len(baseline.rows) == passes * (NUM_IMAGES // BATCH_SIZE)
    assert_same_numbers(off, baseline)
    assert not any(row['pruned'] for row in off.rows)
    return baseline, off, on


@pytest.mark.default_cases(
    'resnet18_8xb16_cifar10',
    'deit-tiny-distilled_*',
    'vgg16_8xb16_voc',
    'resnet50_8xb16-mixup_cifar10',
    'resnet50-arcface_*',
    'mae_vit-base-*',
    'vit-base-p32*',
)
@pytest.mark.parametrize('case', CASES, ids=lambda case: case.config.split('/')[-1][:-3])
def test_a_shipped_config_trains_as_before_where_nothing_is_pruned_and_weighted_where_it_is(
    case, data, tmp_path
):
    cfg = shrunk(case, data, tmp_path)
    _, off, on = three_runs(cfg)
    assert torch.isfinite(off.runner.train_loop.sampler.scores.values).all()
    assert_prunes_and_weighs(on)
    averages = any(hook.type == 'EMAHook' for hook in cfg.get('custom_hooks') or [])
    assert bool(on.ema) == averages
    if 'augments' in (cfg.model.get('train_cfg') or {}):
        assert mixed_and_weighted(on)


def kind(model):
    """What of a config the cases have to cover: the kinds of model, head and loss, and the mode of
    the loss."""
    head = model.get('head') or {}
    loss = head.get('loss') or {}
    return (
        model.type,
        head.get('type'),
        loss.get('type'),
        loss.get('mode'),
        bool(loss.get('use_sigmoid')),
        bool(loss.get('use_soft')),
    )


@pytest.mark.runs
def test_the_cases_cover_each_kind_of_head_and_loss_that_mmpretrain_ships():
    covered = {kind(shipped(case.config).model) for case in CASES}
    missing = {}
    logging.disable(logging.WARNING)
    try:
        for path in sorted(CONFIGS.rglob('*.py')):
            if '_base_' in path.parts:
                continue
            try:
                cfg = Config.fromfile(str(path))
            except (ModuleNotFoundError, RuntimeError, KeyError):  # mmdet's, and broken ones
                continue
            if not all(cfg.get(key) for key in ('model', 'train_cfg', 'train_dataloader')):
                continue
            try:
                check_model(cfg.model, 'mmpretrain')
                check_data(cfg.train_dataloader)
            except CannotConvert:
                continue
            if kind(cfg.model) not in covered:
                missing.setdefault(kind(cfg.model), path.name)
    finally:
        logging.disable(logging.NOTSET)
    assert not missing


# --------------------------------------------------- what no shipped config has


def slim(data, work_dir, head=None, write=write_folders, num_classes=NUM_CLASSES, **kwargs):
    """A slim ResNet with any head."""
    cfg = shrink(
        shipped('resnet/resnet18_8xb16_cifar10.py'),
        data(write, 16),
        work_dir,
        SLIM_RESNET,
        num_classes,
        **kwargs,
    )
    if head is not None:
        cfg.model.head = dict(dict(in_channels=32, num_classes=num_classes), **head)
    if write is write_voc:
        cfg.data_preprocessor.to_onehot = True
    return cfg


LOSSES = {
    'asymmetric': (dict(type='AsymmetricLoss'), 'MultiLabelLinearClsHead'),
    'focal': (dict(type='FocalLoss'), 'MultiLabelLinearClsHead'),
    'multi-label smoothing': (
        dict(
            type='LabelSmoothLoss',
            label_smooth_val=0.1,
            mode='multi_label',
            use_sigmoid=True,
            loss_weight=0.5,
        ),
        'MultiLabelLinearClsHead',
    ),
    'weighted classes': (
        dict(
            type='CrossEntropyLoss',
            use_sigmoid=True,
            class_weight=[0.5 + i / 20 for i in range(20)],
            pos_weight=2.0,
        ),
        'MultiLabelLinearClsHead',
    ),
    'seesaw': (dict(type='SeesawLoss', num_classes=NUM_CLASSES), 'LinearClsHead'),
    'L1 regression': (dict(type='RegressionLoss', loss_type='L1Loss'), 'LinearRegressionHead'),
    'L2 regression': (
        dict(type='RegressionLoss', loss_type='L2Loss', loss_weight=0.3),
        'LinearRegressionHead',
    ),
}


@pytest.mark.default_cases('focal', 'seesaw', 'L1 regression')
@pytest.mark.parametrize('name', LOSSES)
def test_a_loss_that_no_shipped_config_has_is_weighted(name, data, tmp_path):
    loss, head = LOSSES[name]
    with MODELS.switch_scope_and_registry('mmpretrain') as registry:
        if registry.get(loss['type']) is None:
            pytest.skip(f'this mmpretrain has no {loss["type"]}')
    multi_label = head == 'MultiLabelLinearClsHead'
    cfg = slim(
        data,
        tmp_path,
        dict(type=head, loss=loss),
        write=write_voc if multi_label else write_folders,
        num_classes=20 if multi_label else NUM_CLASSES,
    )
    if head == 'LinearRegressionHead':
        cfg.data_preprocessor.to_onehot = True  # regresses the scores of the classes
    baseline, _, on = three_runs(cfg)
    assert_prunes_and_weighs(on)
    if (
        name == 'seesaw'
    ):  # it counts the samples of each class as it goes, with those they stand for
        trained = sum(row['weights'].sum() for row in on.rows)
        counted = float(on.end['head.loss_module.cum_samples'].sum())
        assert counted == pytest.approx(float(trained)) and trained > BATCH_SIZE * len(on.rows)
        assert baseline.end['head.loss_module.cum_samples'].sum() == BATCH_SIZE * len(baseline.rows)


@pytest.mark.parametrize(
    'begins, saved',
    [
        ('load_from', 'without InfoBatch'),
        ('resume', 'without InfoBatch'),
        ('resume', 'with InfoBatch'),
        ('resume', 'by an older version'),
    ],
)
def test_the_state_of_a_loss_is_taken_from_a_checkpoint(begins, saved, data, tmp_path):
    """Of a run without InfoBatch by one with it, and the other way around."""
    loss = dict(type='SeesawLoss', num_classes=NUM_CLASSES)
    cfg = saving(
        slim(data, tmp_path / 'run', dict(type='LinearClsHead', loss=loss)),
        tmp_path / 'checkpoints',
    )
    off = by_the_paper(cfg, prune_ratio=0.0, delta=1.0)
    train(cfg if saved == 'without InfoBatch' else off)
    path = next((tmp_path / 'checkpoints').glob(f'*/iter_{NUM_IMAGES // BATCH_SIZE}.pth'))
    checkpoint = torch.load(path, weights_only=False)
    counts = 'head.loss_module.cum_samples'
    assert checkpoint['state_dict'][counts].sum() == NUM_IMAGES
    if saved == 'by an older version':
        old = checkpoint['state_dict']
        old['head.loss_module.loss.cum_samples'] = old.pop(counts)
        torch.save(checkpoint, path)
    going_on = resuming(cfg if saved == 'with InfoBatch' else off, path)
    going_on.resume = begins == 'resume'
    run = train(going_on)
    assert run.begin[counts].sum() == NUM_IMAGES
    if saved != 'by an older version':
        assert_same_state(run.begin, checkpoint['state_dict'])


AUGMENTS = {
    'mixup': dict(augments=dict(type='Mixup', alpha=0.8)),
    'cutmix': dict(augments=[dict(type='CutMix', alpha=1.0)]),
    'cutmix between bounds': dict(
        augments=[dict(type='CutMix', alpha=1.0, cutmix_minmax=[0.2, 0.8])]
    ),
    'resizemix': dict(augments=[dict(type='ResizeMix', alpha=1.0)]),
    'one of them, or none': dict(
        augments=[
            dict(type='Mixup', alpha=0.2),
            dict(type='CutMix', alpha=1.0),
            dict(type='ResizeMix', alpha=1.0),
        ],
        probs=[0.3, 0.2, 0.2],
    ),
}


@pytest.mark.default_cases('mixup', 'one of them, or none')
@pytest.mark.parametrize('name', AUGMENTS)
def test_a_mixed_row_weighs_the_product_of_its_members_over_the_mean(name, data, tmp_path):
    cfg = slim(data, tmp_path, max_epochs=4)
    cfg.model.train_cfg = AUGMENTS[name]
    _, _, on = three_runs(cfg, passes=4)
    rule = dict(type='SoftPruning', prune_ratio=0.5, rescale='normalized')
    normalized = train(by_the_paper(cfg, delta=1.0, policy=rule), on.begin)
    for run in (on, normalized):
        assert_prunes_and_weighs(run, passes=4)
        assert mixed_and_weighted(run)
    if 'probs' in AUGMENTS[name]:
        pairs = [int((row['members'].sum(1) == 2).sum()) for row in on.rows]
        assert 0 in pairs and max(pairs) > 0


# -------------------------------------------------------------- several tasks


def multi_task(data, work_dir, heads):
    """A config of several tasks, of which an image may have some."""
    cfg = slim(data, work_dir, write=write_multi_task, max_epochs=3)
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='PackMultiTaskInputs', multi_task_fields=('gt_label',)),
    ]
    cfg.model.head = dict(type='MultiTaskHead', task_heads=heads, in_channels=32)
    return cfg


@pytest.mark.parametrize('share_head', ['a head a task', 'a task that is rare'])
def test_each_task_sees_the_weights_of_the_samples_that_have_it(share_head, data, tmp_path):
    heads = dict(
        shape=dict(type='LinearClsHead', num_classes=3),
        parity=dict(
            type='LinearClsHead',
            num_classes=2,
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, loss_weight=0.5),
        ),
    )
    if share_head == 'a task that is rare':
        heads['rare'] = dict(type='LinearClsHead', num_classes=2)
    cfg = multi_task(data, tmp_path, heads)
    _, off, on = three_runs(cfg, passes=3)
    scores = off.runner.train_loop.sampler.scores.values
    assert scores.isnan().nonzero().flatten().tolist() == [5]  # the image without a task
    assert any(row['pruned'] for row in on.rows)
    without_call = 0
    for row in on.rows:
        assert set(row['seen']) == {f'head.task_heads.{task}.loss_module' for task in heads}
        for task in heads:
            having = torch.tensor([task in tasks for tasks in row['tasks']])
            calls = row['seen'][f'head.task_heads.{task}.loss_module']
            assert len(calls) == having.any()
            without_call += not calls
            for weights in calls:  # at the mean of the batch: the loss divides by their number
                mine = row['weights'][having]
                expected = mine * row['weights'].mean() / mine.mean()
                torch.testing.assert_close(weights, expected)
        for value, expected in row['values']:
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert any((row['weights'] > 1).any() for row in on.rows)
    assert without_call or share_head != 'a task that is rare'


def test_the_seesaw_loss_of_a_task_counts_what_its_samples_stand_for(data, tmp_path):
    heads = dict(
        shape=dict(type='LinearClsHead', num_classes=3),
        parity=dict(
            type='LinearClsHead', num_classes=2, loss=dict(type='SeesawLoss', num_classes=2)
        ),
    )
    cfg = multi_task(data, tmp_path, heads)
    run = train(by_the_paper(cfg, prune_ratio=0.5, delta=1.0))
    having = [torch.tensor(['parity' in tasks for tasks in row['tasks']]) for row in run.rows]
    due = sum(float(row['weights'][one].sum()) for row, one in zip(run.rows, having))
    assert due != sum(int(one.sum()) for one in having)  # some stand for several
    counts = run.end['head.task_heads.parity.loss_module.cum_samples']
    assert float(counts.sum()) == pytest.approx(due)


# ---------------------------------------------------------- hooks and wrappers


def switching(data, work_dir):
    """A config whose hook switches pipeline, loss and batch augmentation in mid-run."""
    cfg = slim(data, work_dir, max_epochs=5)
    cfg.model.train_cfg = AUGMENTS['mixup']
    flipped = list(cfg.train_dataloader.dataset.pipeline)
    flipped.insert(1, dict(type='RandomFlip', prob=1.0))
    cfg.custom_hooks = [
        dict(
            type='SwitchRecipeHook',
            schedule=[
                dict(
                    action_epoch=2,
                    train_pipeline=flipped,
                    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
                ),
                dict(action_epoch=3, batch_augments=dict(augments=dict(type='CutMix', alpha=1.0))),
                dict(action_epoch=4, batch_augments=None),
                dict(action_epoch=5, batch_augments=AUGMENTS['mixup']),
            ],
        )
    ]
    return cfg


def test_a_loss_and_a_batch_augmentation_that_a_hook_switches_to_are_weighted_too(data, tmp_path):
    baseline, _, on = three_runs(switching(data, tmp_path), passes=5)
    assert_prunes_and_weighs(on, passes=5)
    for row in on.rows:
        loss = 'CrossEntropyLoss' if row['pass'] == 0 else 'LabelSmoothLoss'
        assert row['losses'] == {'head.loss_module': loss}
    mixed = {row['pass'] for row in mixed_and_weighted(on)}
    assert mixed == {1, 2, 4}
    # and the hook did what it does without InfoBatch
    assert set(on.rows[0]['samples']) <= {x for row in baseline.rows for x in row['samples']}
    augment = on.runner.model.data_preprocessor.batch_augments
    assert not isinstance(augment, MixingRecorder)  # given back
    assert type(augment) is type(baseline.runner.model.data_preprocessor.batch_augments)


def assert_goes_on(resumed, whole, iteration):
    """From that iteration on, the same samples, weights, numbers and model."""
    assert len(resumed.rows) == len(whole.rows) - iteration
    for row, other in zip(resumed.rows, whole.rows[iteration:]):
        for key in ('pass', 'indices', 'samples', 'log_vars', 'losses'):
            assert row[key] == other[key]
        for name, calls in row['seen'].items():
            assert [w.tolist() for w in calls] == [w.tolist() for w in other['seen'][name]]
    assert_same_state(resumed.end, whole.end)
    assert_same_state(resumed.ema, whole.ema)


def saving(cfg, directory):
    """A config that keeps a checkpoint of each iteration."""
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=1, out_dir=str(directory)
    )
    return cfg


def resuming(cfg, path):
    """The config that goes on from a checkpoint."""
    cfg = Config(cfg.to_dict(), format_python_code=False)
    cfg.load_from, cfg.resume = str(path), True
    cfg.default_hooks.checkpoint.interval = -1
    return cfg


@pytest.mark.default_cases('7')
@pytest.mark.parametrize('iteration', [4, 7, 10])
def test_a_run_with_switches_and_mixing_resumes_digit_for_digit(iteration, data, tmp_path):
    cfg = saving(
        by_the_paper(switching(data, tmp_path / 'run'), delta=0.9), tmp_path / 'checkpoints'
    )
    whole = train(cfg)
    path = next((tmp_path / 'checkpoints').glob(f'*/iter_{iteration}.pth'))
    resumed = train(resuming(cfg, path))
    assert_goes_on(resumed, whole, iteration)


@pytest.mark.parametrize(
    'name',
    [
        'convnext_v2/convnext-v2-base_32xb32_in1k.py',
        'regnet/regnetx-400mf_8xb128_in1k.py',
        'mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py',
    ],
)
def test_a_shipped_config_resumes_digit_for_digit_in_the_middle_of_a_pruned_pass(
    name, data, tmp_path
):
    case = next(case for case in CASES if case.config == name)
    cfg = saving(
        by_the_paper(shrunk(case, data, tmp_path / 'run'), delta=1.0), tmp_path / 'checkpoints'
    )
    whole = train(cfg)
    path = next((tmp_path / 'checkpoints').glob('*/iter_7.pth'))
    resumed = train(resuming(cfg, path))
    assert resumed.rows[0]['pruned'] and resumed.rows[0]['pass'] == 1
    assert_goes_on(resumed, whole, 7)


def test_accumulated_gradients_are_as_before(data, tmp_path):
    cfg = slim(data, tmp_path, max_epochs=3)
    cfg.optim_wrapper.accumulative_counts = 2
    _, _, on = three_runs(cfg, passes=3)
    assert_prunes_and_weighs(on, passes=3)


WRAPPERS = {
    'concat': lambda ds: dict(type='ConcatDataset', datasets=[ds, ds]),
    'repeat': lambda ds: dict(type='RepeatDataset', times=2, dataset=ds),
    'class balanced': lambda ds: dict(type='ClassBalancedDataset', oversample_thr=0.6, dataset=ds),
    'fold': lambda ds: dict(type='KFoldDataset', num_splits=3, fold=1, dataset=ds),
}


@pytest.mark.default_cases('concat', 'class balanced')
@pytest.mark.parametrize('name', WRAPPERS)
def test_a_wrapped_dataset_is_pruned_by_the_index_into_the_outermost(name, data, tmp_path):
    cfg = slim(data, tmp_path)
    cfg.train_dataloader.dataset = WRAPPERS[name](cfg.train_dataloader.dataset)
    baseline = train(cfg)
    off = train(by_the_paper(cfg, prune_ratio=0.0, delta=1.0), baseline.begin)
    on = train(by_the_paper(cfg, prune_ratio=0.5, delta=1.0), baseline.begin)
    assert_same_numbers(off, baseline)
    assert_prunes_and_weighs(on)
    length = len(on.runner.train_loop.dataloader.dataset)
    assert len(on.runner.train_loop.sampler.scores) == length
    assert length == dict(concat=24, repeat=24, fold=8).get(name, length)


# ------------------------------------------------------------ another runner


def on_flexible_runner(cfg):
    cfg.strategy = dict(type='SingleDeviceStrategy')
    cfg.launcher = 'none'
    return cfg


def test_a_flexible_runner_trains_as_before_where_nothing_is_pruned(data, tmp_path):
    cfg = on_flexible_runner(slim(data, tmp_path))
    cfg.model.train_cfg = AUGMENTS['mixup']
    _, _, on = three_runs(cfg, runner_type=FlexibleRunner)
    assert_prunes_and_weighs(on)


def test_a_flexible_runner_resumes_digit_for_digit(data, tmp_path):
    cfg = on_flexible_runner(by_the_paper(slim(data, tmp_path / 'run'), delta=1.0))
    cfg.model.train_cfg = AUGMENTS['mixup']
    saving(cfg, tmp_path / 'checkpoints')
    whole = train(cfg, runner_type=FlexibleRunner)
    path = next((tmp_path / 'checkpoints').glob('*/iter_4.pth'))
    assert_goes_on(train(resuming(cfg, path), runner_type=FlexibleRunner), whole, 4)


# --------------------------------------- models of packages that may be missing


@pytest.mark.parametrize(
    'package, model',
    [
        ('timm', dict(type='TimmClassifier', model_name='resnet10t', pretrained=False)),
        (
            'transformers',
            dict(type='HuggingFaceClassifier', model_name='microsoft/resnet-18', pretrained=False),
        ),
    ],
)
def test_a_classifier_of_another_package_is_weighted(package, model, data, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    cfg = slim(data, tmp_path)
    cfg.model = dict(
        model, num_classes=NUM_CLASSES, loss=dict(type='CrossEntropyLoss', loss_weight=1.0)
    )
    _, _, on = three_runs(cfg)
    assert_prunes_and_weighs(on)
