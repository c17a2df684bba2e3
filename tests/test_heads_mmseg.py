"""Every head and loss of mmseg's shipped configs: the same numbers where nothing is pruned, and
weights that reach the right samples where something is."""

import functools

import mmcv_ops
import mmseg
import numpy as np
import pytest
import shrink
import toolbox_runs as runs
import torch
from mmengine.registry import DATASETS, MODELS
from mmengine.utils import digit_version
from mmseg.datasets import BaseSegDataset
from mmseg.models.losses import CrossEntropyLoss, FocalLoss

from mm_infobatch import CannotConvert, convert
from mm_infobatch.convert.refusals import check_model

pytestmark = [
    # mmseg says so of its own layers, models of two classes and pixel samplers,
    pytest.mark.filterwarnings('ignore:"dropout" is deprecated in `FFN:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:For binary segmentation:UserWarning'),
    pytest.mark.filterwarnings('ignore:``build_pixel_sampler`` would be:UserWarning'),
    # and PyTorch of mmengine's accumulation of gradients.
    pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step:UserWarning'),
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):

    @functools.lru_cache(maxsize=None)
    def folder(*args):
        return shrink.write_data(tmp_path_factory.mktemp('data'), *args)

    return folder


@pytest.fixture(autouse=True)
def ops(monkeypatch):
    for module, name, value in mmcv_ops.missing():
        monkeypatch.setattr(module, name, value)


def stand_in_for_diffusion(model):
    """VPD's backbone is a Stable Diffusion; its head takes these."""
    model['backbone'] = dict(type='StandIn', channels=(16,) * 4, strides=(4, 8, 16, 32))
    model['decode_head'].update(in_channels=[16] * 4, embed_dim=2, feature_dim=16)


def stand_in_of_full_size(model):
    """LR-ASPP pools windows of 49 pixels of a feature map."""
    model['backbone'] = dict(type='StandIn', channels=(2, 2, 72), strides=(1, 1, 1))


# mmseg 1.2.2 looks up the class weight of each pixel, also that of ignored ones, which is none.
CLASS_WEIGHTS_IGNORE = digit_version(mmseg.__version__) > digit_version('1.2.2')

CASES = {
    'ann_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'apcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'danet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py': dict(size=64),
    'deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'dmnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'dnl_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'dpt_vit-b16_8xb2-160k_ade20k-512x512.py': {},
    'emanet_r50-d8_4xb2-80k_cityscapes-512x1024.py': {},
    'encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'fast_scnn_8xb4-160k_cityscapes-512x1024.py': dict(size=64),
    'fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'fpn_r50_4xb2-80k_cityscapes-512x1024.py': {},
    'gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'isanet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'knet-s3_r50-d8_deeplabv3_8xb2-adamw-80k_ade20k-512x512.py': {},
    'knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py': {},
    'knet-s3_r50-d8_pspnet_8xb2-adamw-80k_ade20k-512x512.py': {},
    'knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512.py': {},
    'mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024.py': dict(
        size=64, change=stand_in_of_full_size
    ),
    'nonlocal_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'pidnet-s_2xb6-120k_1024x1024-cityscapes.py': dict(size=64, ignored=CLASS_WEIGHTS_IGNORE),
    'pointrend_r50_4xb2-80k_cityscapes-512x1024.py': {},
    'psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py': {},
    'segmenter_vit-s_mask_8xb1-160k_ade20k-512x512.py': {},
    'segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py': {},
    'setr_vit-l-mla_8xb1-160k_ade20k-512x512.py': {},
    'setr_vit-l_naive_8xb1-80k_cityscapes-768x768.py': {},
    'setr_vit-l_pup_8xb1-80k_cityscapes-768x768.py': {},
    'stdc1_4xb12-80k_cityscapes-512x1024.py': dict(size=64),
    'unet-s5-d16_deeplabv3_4xb4-ce-1.0-dice-3.0-40k_chase-db1-128x128.py': dict(num_classes=2),
    'unet-s5-d16_fcn_4xb4-ce-1.0-dice-3.0-40k_chase-db1-128x128.py': dict(num_classes=2),
    'unet-s5-d16_pspnet_4xb4-ce-1.0-dice-3.0-40k_chase-db1-128x128.py': dict(num_classes=2),
    'upernet_r50_4xb2-40k_cityscapes-512x1024.py': {},
    'vpd_sd_4xb8-25k_nyu-480x480.py': dict(size=64, num_classes=2, change=stand_in_for_diffusion),
}

# What mmseg itself cannot train on a CPU, InfoBatch or not.
FAILING = {}
if digit_version(torch.__version__) < digit_version('2.2'):
    FAILING['dnl_r50-d8_4xb2-40k_cityscapes-512x1024.py'] = pytest.mark.xfail(
        raises=RuntimeError, reason='torch 2.1 has no gradient of what its block does in place'
    )


@pytest.mark.default_cases(
    'ddrnet_23-slim_*',
    'encnet_*',
    'fcn_r50-d8_*',
    'ocrnet_r101-d8_*',
    'pidnet-s_*',
    'pointrend_r50_*',
    'upernet_r50_*',
)
@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=FAILING.get(name, ())) for name in CASES]
)
def test_a_shipped_config_trains_the_same_numbers_without_pruning_and_prunes(name, data, tmp_path):
    cfg = shrink.shrink(shrink.shipped(name), data, tmp_path, **CASES[name])
    shrink.check(cfg)


@pytest.mark.runs
def test_the_cases_have_every_head_and_loss_of_the_shipped_configs_that_convert():
    shipped = {}
    for name in shrink.sweep():
        try:
            cfg = shrink.shipped(name)
            check_model(cfg.model, 'mmseg')
        except (CannotConvert, ImportError):  # set losses; mmdet's heads, which are set losses too
            continue
        for key in shrink.losses_of(cfg):
            shipped.setdefault(key, name)
    covered = set().union(*(shrink.losses_of(shrink.shipped(name)) for name in CASES))
    assert len(shipped) > 40
    missing = {key: name for key, name in shipped.items() if key not in covered}
    assert not missing


# ----------------------------------------------- what mmseg has but no config of it uses


def slim_run(
    data, work_dir, *losses, dataset=None, length=shrink.NUM_IMAGES, ignored=True, **changes
):
    """A slim UperNet with these losses in its decode head, two passes over a data set."""
    iters = 2 * (length // shrink.BATCH_SIZE)
    cfg = runs.segmentation_config(
        data(32, 4, ignored), work_dir, max_iters=iters, drop_last=True, dropout=0.1
    )
    if losses:
        cfg.model.decode_head.loss_decode = list(losses) if len(losses) > 1 else losses[0]
    if dataset is not None:
        cfg.train_dataloader.dataset = dataset(cfg.train_dataloader.dataset)
    cfg.merge_from_dict(dict(log_level='ERROR', **changes))
    return cfg


@MODELS.register_module()
class FocalOnCPU(FocalLoss):
    """Without a GPU mmseg's own takes no class indices, which its heads give: it reads one column
    of the one-hot labels, where it means all but the last."""

    def forward(self, pred, target, weight=None, ignore_index=255, **kwargs):
        classes = target.masked_fill(target == ignore_index, pred.shape[1])
        one_hot = torch.nn.functional.one_hot(classes, pred.shape[1] + 1)[..., :-1].movedim(-1, 1)
        return super().forward(pred, one_hot, weight, ignore_index=ignore_index, **kwargs)


CE = dict(type='CrossEntropyLoss', loss_weight=1.0)
DICE = dict(type='DiceLoss', loss_weight=3.0)
LOVASZ = dict(type='LovaszLoss', per_image=True, reduction='mean', loss_weight=0.5)


@pytest.mark.default_cases('TverskyLoss-*')
@pytest.mark.parametrize('loss', [
    LOVASZ,
    dict(type='TverskyLoss', loss_weight=0.7),
    dict(type='HuasdorffDisstanceLoss', loss_weight=0.3),
    dict(type='FocalOnCPU', loss_weight=2.0),
    dict(type='CrossEntropyLoss', avg_non_ignore=True),
    dict(type='CrossEntropyLoss', class_weight=[0.5, 1., 2., 1.5]),
    dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
], ids=lambda loss: '-'.join(map(str, loss.values())))  # yapf: disable
def test_losses_that_no_shipped_config_uses(loss, data, tmp_path):
    ignored = 'class_weight' not in loss or CLASS_WEIGHTS_IGNORE
    shrink.check(slim_run(data, tmp_path, loss, ignored=ignored))


def test_a_lovasz_loss_over_the_batch_becomes_the_one_for_each_image(data, tmp_path):
    cfg = slim_run(data, tmp_path, dict(type='LovaszLoss', reduction='none', loss_weight=0.5))
    with pytest.raises(CannotConvert, match='per_image'):
        convert(cfg)
    stock, kept, _ = shrink.check(cfg, same=False, per_image=True)
    per_image = shrink.train(
        shrink.baseline_of(slim_run(data, tmp_path, LOVASZ)), shrink.Watch(stock.initial)
    )
    column = 'decode.loss_lovasz'
    assert kept.rows[0][column] != stock.rows[0][column]
    torch.testing.assert_close(
        [row[column] for row in kept.rows], [row[column] for row in per_image.rows]
    )


def test_the_score_can_come_from_the_cross_entropy_while_both_are_weighted(data, tmp_path):
    cfg = slim_run(data, tmp_path, CE, DICE)
    _, _, pruned = shrink.check(cfg, score=['CrossEntropyLoss'])
    assert [name for name, loss in pruned.losses.items() if not loss.score] == [
        'decode_head.loss_decode.1'
    ]
    assert set(pruned.scores_of) == {'decode_head.loss_decode.0', 'auxiliary_head.loss_decode'}
    assert all('decode_head.loss_decode.1' in called for called in pruned.called)


@pytest.mark.runs
def test_accumulated_gradients_and_an_average_of_the_weights(data, tmp_path):
    cfg = slim_run(
        data,
        tmp_path,
        CE,
        DICE,
        optim_wrapper=dict(accumulative_counts=2),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
    )
    stock, kept, _ = shrink.check(cfg)
    averages = [
        next(hook for hook in run.runner.hooks if hasattr(hook, 'ema_model')).ema_model.state_dict()
        for run in (stock, kept)
    ]
    runs.assert_same_state(*averages)
    assert int(averages[0]['steps']) == shrink.ITERS


@pytest.mark.runs
def test_a_repeated_dataset(data, tmp_path):
    cfg = slim_run(
        data,
        tmp_path,
        dataset=lambda inner: dict(type='RepeatDataset', times=2, dataset=dict(inner, indices=5)),
        length=10,
    )
    _, _, pruned = shrink.check(cfg)
    assert len(pruned.scores.values) == 10


@pytest.mark.runs
def test_datasets_one_after_the_other(data, tmp_path):
    cfg = slim_run(
        data,
        tmp_path,
        dataset=lambda inner: dict(
            type='ConcatDataset', datasets=[dict(inner, indices=4), dict(inner, indices=5)]
        ),
    )
    _, _, pruned = shrink.check(cfg)
    assert len(pruned.scores.values) == 9


@pytest.mark.runs
def test_a_mosaic_of_each_image_and_three_others(data, tmp_path):
    """The others are drawn from all images, skipped ones too, so the sample is the first image."""

    def mosaic(inner):
        *loading, packing = inner['pipeline']
        return dict(
            type='MultiImageMixDataset',
            dataset=dict(inner, pipeline=loading),
            pipeline=[dict(type='RandomMosaic', prob=1.0, img_scale=(16, 16)), packing],
        )

    _, _, pruned = shrink.check(slim_run(data, tmp_path, dataset=mosaic))
    assert not pruned.scores.values.isnan().any()


@DATASETS.register_module()
class WithCategories(BaseSegDataset):
    """A data set that says which class an image is of; mmseg's do not, which balancing needs."""

    def get_cat_ids(self, idx):
        labels = np.array(runs.Image.open(self.get_data_info(idx)['seg_map_path']))
        return [label for label in range(4) if (labels == label).mean() > 0.5]


@pytest.mark.runs
def test_a_dataset_that_balances_classes(data, tmp_path):

    def balanced(inner):
        return dict(
            type='ClassBalancedDataset',
            oversample_thr=0.5,
            dataset=dict(inner, type='WithCategories'),
        )

    length = len(DATASETS.build(balanced(slim_run(data, tmp_path).train_dataloader.dataset)))
    assert length > shrink.NUM_IMAGES
    _, _, pruned = shrink.check(slim_run(data, tmp_path, dataset=balanced, length=length))
    assert len(pruned.scores.values) == length


@MODELS.register_module()
class PassingOn(CrossEntropyLoss):
    """A loss of one's own that hands on what it does not know."""

    def forward(self, pred, target, **kwargs):
        return super().forward(pred, target, **kwargs)


@pytest.mark.default_cases('sampler1')
@pytest.mark.parametrize('sampler', [None, dict(type='OHEMPixelSampler', thresh=0.3, min_kept=50)])
def test_a_loss_of_ones_own_that_takes_the_reduction_among_others(sampler, data, tmp_path):
    cfg = slim_run(data, tmp_path, dict(type='PassingOn'))
    cfg.model.decode_head.sampler = sampler
    stock, _, pruned = shrink.check(cfg)
    cfg.model.decode_head.loss_decode.type = 'CrossEntropyLoss'
    cross_entropy = shrink.train(
        convert(cfg, prune_ratio=0.5, delta=1), shrink.Watch(stock.initial)
    )
    assert cross_entropy.rows == pruned.rows
    torch.testing.assert_close(
        cross_entropy.scores.values, pruned.scores.values, rtol=0, atol=0, equal_nan=True
    )
