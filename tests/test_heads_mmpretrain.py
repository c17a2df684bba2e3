"""One shipped config of mmpretrain for each kind of head, loss and model: trained as it is and with
InfoBatch, at a size for a CPU.

Each case makes three runs of two passes from the same weights: the shipped config, the converted
one that prunes nothing, which has to give the same numbers, and the converted one that prunes.
"""
import math
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config
from shrink_mmpretrain import (
    NUM_CLASSES,
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

from mm_infobatch import convert

pytestmark = [
    # mmpretrain's and torch's own words about the shipped configs.
    pytest.mark.filterwarnings('ignore::UserWarning'),
    pytest.mark.filterwarnings('ignore::DeprecationWarning'),
    pytest.mark.filterwarnings('ignore::FutureWarning'),
]


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


TRANSFORMER = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
VIT = {
    'model.backbone.arch': TRANSFORMER,
    'model.backbone.img_size': 32,
    'model.backbone.patch_size': 8,
    'model.head.in_channels': 16
}
SLIM_RESNET = {
    'model.backbone': dict(
        type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, out_indices=(3, )),
    'model.head.in_channels': 32,
}
CONVNEXT = {
    'model.backbone.arch': dict(depths=[1, 1, 1, 1], channels=[4, 8, 8, 16]),
    'model.head.in_channels': 16
}
REPVGG = {
    'model.backbone.arch': dict(
        num_blocks=[1, 1, 1, 1],
        width_factor=[0.1, 0.1, 0.1, 0.1],
        group_layer_map=None,
        se_cfg=None),
    'model.backbone.base_channels': 64,
    'model.head.in_channels': 51
}
MAE = {
    'model.backbone.arch': TRANSFORMER,
    'model.backbone.img_size': 32,
    'model.backbone.patch_size': 8,
    'model.neck.num_patches': 16,
    'model.neck.patch_size': 8,
    'model.neck.embed_dim': 16,
    'model.neck.decoder_embed_dim': 16,
    'model.neck.decoder_depth': 1,
    'model.neck.decoder_num_heads': 2,
}
MAE_HEAD = {**MAE, 'model.head.patch_size': 8}
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
    Case('xcit/xcit-nano-12-p16_8xb128_in1k.py', {
        'model.backbone.img_size': 32, 'model.backbone.patch_size': 8,
        'model.backbone.embed_dims': 16, 'model.backbone.depth': 1,
        'model.backbone.num_heads': 2, 'model.backbone.cls_attn_layers': 1,
        'model.head.in_channels': 16}),
    Case('edgenext/edgenext-xxsmall_8xb256_in1k.py', {
        'model.backbone.arch': dict(
            channels=[8, 8, 8, 8], depths=[1, 1, 1, 2], num_heads=[2, 2, 2, 2]),
        'model.head.in_channels': 8}),
    Case('regnet/regnetx-400mf_8xb128_in1k.py', {
        'model.backbone.arch': dict(w0=8, wa=10, wm=2.0, group_w=4, depth=6, bot_mul=1.0),
        'model.backbone.stem_channels': 8, 'model.backbone.base_channels': 8,
        'model.head.in_channels': 64}),
    Case('resnet/resnet50_8xb32-lbs_in1k.py', SLIM_RESNET),
    Case('spark/benchmarks/resnet50_8xb256-coslr-300e_in1k.py', {
        'model.backbone': dict(
            type='ResNet', depth=50, stem_channels=4, base_channels=4, out_indices=(3, )),
        'model.head.in_channels': 128}),
    Case('repvgg/repvgg-B3_8xb32_in1k.py', REPVGG),
    Case('convnext_v2/convnext-v2-base_32xb32_in1k.py', CONVNEXT),
    Case('mobileone/mobileone-s1_8xb32_in1k.py', {
        'model.backbone.arch': dict(
            num_blocks=[1, 1, 1, 1], width_factor=[.125] * 4,
            num_conv_branches=[1, 1, 1, 1], num_se_blocks=[0, 0, 0, 0]),
        'model.head.in_channels': 64}),
    # VisionTransformerClsHead and its kin
    Case('vision_transformer/vit-base-p32_64xb64_in1k.py', VIT),
    Case('vision_transformer/vit-base-p16_64xb64_in1k.py', VIT),
    Case('deit/deit-base_16xb64_in1k.py', VIT),
    Case('deit/deit-tiny-distilled_4xb256_in1k.py', VIT),
    # the other heads
    Case('lenet/lenet5_mnist.py', GRAY),
    Case('mobilenet_v3/mobilenet-v3-small_8xb16_cifar10.py', {'model.head.mid_channels': [16]}),
    Case('conformer/conformer-tiny-p16_8xb128_in1k.py', {
        'model.backbone.arch': dict(embed_dims=16, channel_ratio=1, num_heads=2, depths=3),
        'model.backbone.base_channels': 8, 'model.head.in_channels': [32, 16]}),
    # mmpretrain refuses to train these two with distillation, which the shipped configs have
    Case('levit/levit-128s_8xb256_in1k.py', {
        **SLIM_RESNET, 'model.neck': dict(type='GlobalAveragePooling'),
        'model.head.distillation': False}),
    Case('efficientformer/efficientformer-l1_8xb128_in1k.py', {
        **SLIM_RESNET, 'model.neck': dict(type='GlobalAveragePooling'),
        'model.head.distillation': False}),
    Case('vig/pvig-tiny_8xb128_in1k.py', {**SLIM_RESNET, 'model.head.hidden_dim': 16}),
    Case('csra/resnet101-csra_1xb16_voc07-448px.py', SLIM_RESNET, write_voc, 16, 20),
    Case('vgg/vgg16_8xb16_voc.py', {
        **GRAY, 'model.backbone': dict(type='LeNet5', num_classes=20),
        'data_preprocessor.to_rgb': False, 'data_preprocessor.mean': [127.],
        'data_preprocessor.std': [60.]}, write_voc, 32, 20),
    Case('resnet/resnet50_8xb16-mixup_cifar10.py', SLIM_RESNET),
    Case('arcface/resnet50-arcface_8xb32_inshop.py', {
        'model.image_encoder': [
            SLIM_RESNET['model.backbone'],
            dict(type='GlobalAveragePooling')],
        'model.head.in_channels': 32}, write_inshop),
    # reconstruction
    Case('mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', MAE_HEAD),
    Case('mae/mae_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py', HIVIT),
    Case('mff/mff_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', {
        **MAE_HEAD, 'model.backbone.out_indices': [0, 1]}),
    Case('itpn/itpn-pixel_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py', {
        **HIVIT, 'model.neck.fpn_dim': 8, 'model.neck.fpn_depth': 1}),
    Case('simmim/simmim_swin-base-w6_8xb256-amp-coslr-100e_in1k-192px.py', {
        'model.backbone.arch': dict(
            embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
        'model.backbone.img_size': 64, 'model.backbone.stage_cfgs': dict(
            block_cfgs=dict(window_size=2)),
        'model.neck.in_channels': 64,
        'train_dataloader.dataset.pipeline.1.input_size': 64}, size=64),
    Case('spark/spark_sparse-resnet50_8xb512-amp-coslr-800e_in1k.py', {
        **SPARK, 'model.backbone.base_channels': 4, 'model.backbone.stem_channels': 4,
        'model.enc_dec_norm_dim': 128}, size=64),
    Case('maskfeat/maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k.py', {
        'model.backbone.arch': TRANSFORMER, 'model.backbone.img_size': 112,
        'model.backbone.patch_size': 8, 'model.neck.in_channels': 16,
        'model.neck.out_channels': 27}, size=112),
    Case('milan/milan_vit-base-p16_16xb256-amp-coslr-400e_in1k.py', {
        **MAE, 'model.neck.predict_feature_dim': 16,
        'model.target_generator.tokenizer_path': write_clip}),
    Case('eva/eva-mae-style_vit-base-p16_16xb256-coslr-400e_in1k.py', {
        **MAE, 'model.neck.predict_feature_dim': 16,
        'model.target_generator.tokenizer_path': write_clip}),
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
        key: data(value) if callable(value) else value
        for key, value in case.options.items()
    }
    if case.data is write_inshop:
        options['model.prototype.dataset'] = dict(
            dataset, split='gallery', pipeline=[dict(type='LoadImageFromFile')])
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


def assert_prunes_and_weighs(run):
    """Two passes, the second of which prunes; each loss sees the weights of the plan."""
    assert [row['pruned'] > 0 for row in run.rows] == [row['pass'] == 1 for row in run.rows]
    assert {row['pass'] for row in run.rows} == {0, 1}
    for row in run.rows:
        assert all(math.isfinite(value) for value in row['log_vars'].values())
        assert row['seen'] and all(row['seen'].values())  # each loss was called
        expected = expected_weights(row)
        for calls in row['seen'].values():
            for weights in calls:
                torch.testing.assert_close(weights, expected)
    assert any((row['weights'] > 1).any() for row in run.rows)


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.config.split('/')[1][:-3])
def test_a_shipped_config_trains_as_before_where_nothing_is_pruned_and_weighted_where_it_is(
        case, data, tmp_path):
    cfg = shrunk(case, data, tmp_path)
    baseline = train(cfg)
    off = train(convert(cfg, prune_ratio=0., delta=1.), baseline.begin)
    on = train(convert(cfg, prune_ratio=0.5, delta=1.), baseline.begin)
    assert_same_numbers(off, baseline)
    assert not any(row['pruned'] for row in off.rows)
    assert len(baseline.rows) == 6
    assert torch.isfinite(off.runner.train_loop.sampler.scores.values).all()
    assert_prunes_and_weighs(on)
