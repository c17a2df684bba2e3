"""Every head and loss of mmseg's shipped configs: the same numbers where nothing is pruned, and
weights that reach the right samples where something is."""
import mmcv_ops
import pytest
import shrink

pytestmark = [
    pytest.mark.filterwarnings('ignore::UserWarning'),
    # mmseg's KNet says so of its own layers.
    pytest.mark.filterwarnings('ignore:"dropout" is deprecated in `FFN:DeprecationWarning'),
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return shrink.write_data(tmp_path_factory.mktemp('data'))


@pytest.fixture(autouse=True)
def ops(monkeypatch):
    for module, name, value in mmcv_ops.missing():
        monkeypatch.setattr(module, name, value)


def stand_in_for_diffusion(model):
    """VPD's backbone is a Stable Diffusion; its head takes these."""
    model['backbone'] = dict(type='StandIn', channels=(16, ) * 4, strides=(4, 8, 16, 32))
    model['decode_head'].update(in_channels=[16] * 4, embed_dim=2, feature_dim=16)


def stand_in_of_full_size(model):
    """LR-ASPP pools windows of 49 pixels of a feature map."""
    model['backbone'] = dict(type='StandIn', channels=(2, 2, 72), strides=(1, 1, 1))


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
        size=64, change=stand_in_of_full_size),
    'nonlocal_r50-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py': {},
    'pidnet-s_2xb6-120k_1024x1024-cityscapes.py': dict(size=64),
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
    'vpd_sd_4xb8-25k_nyu-480x480.py': dict(
        size=64, num_classes=2, change=stand_in_for_diffusion),
}

@pytest.mark.parametrize('name', CASES)
def test_it_trains_the_same_numbers_without_pruning_and_prunes(name, data, tmp_path):
    cfg = shrink.shrink(shrink.shipped(name), data, tmp_path, **CASES[name])
    shrink.check(cfg)
