title = 'Learning rates of UperNet-EfficientNet-Lite0 on CamVid'
about = """
From ImageNet weights, all data, one seed: the learning rate, that of the head beside it, and the
length of the schedule. Scored on the validation split, so that the test split is not tuned on.
"""
config = 'projects/efficientnet_lite/configs/upernet_efficientnet-lite0_1xb8-4.5k_camvid-128x160.py'
seeds = [0]
baseline = 'lr0.05_60p'
options = {
    'val_dataloader.dataset.data_prefix.img_path': 'img_dir/val',
    'val_dataloader.dataset.data_prefix.seg_map_path': 'ann_dir/val',
}
_LR = 'optim_wrapper.optimizer.lr'
_HEAD = 'optim_wrapper.paramwise_cfg.custom_keys.head.lr_mult'

arms = [
    dict(name='lr0.05_60p', label='0.05, 60 passes', schedule=0.6, options={_LR: 0.05}),
    dict(name='lr0.1_60p', label='0.1, 60 passes', schedule=0.6, options={_LR: 0.1}),
    dict(
        name='lr0.02_head10_60p',
        label='0.02, head 0.2, 60 passes',
        schedule=0.6,
        options={_LR: 0.02, _HEAD: 10.0},
    ),
    dict(name='lr0.05_100p', label='0.05, 100 passes', options={_LR: 0.05}),
    dict(name='lr0.2_60p', label='0.2, 60 passes', schedule=0.6, options={_LR: 0.2}),
    dict(
        name='lr0.05_head10_60p',
        label='0.05, head 0.5, 60 passes',
        schedule=0.6,
        options={_LR: 0.05, _HEAD: 10.0},
    ),
    dict(name='lr0.1_100p', label='0.1, 100 passes', options={_LR: 0.1}),
    dict(name='lr0.02_60p', label='0.02, 60 passes', schedule=0.6, options={_LR: 0.02}),
    dict(
        name='lr0.01_head10_60p',
        label='0.01, head 0.1, 60 passes',
        schedule=0.6,
        options={_LR: 0.01, _HEAD: 10.0},
    ),
    dict(
        name='lr0.02_head10_100p',
        label='0.02, head 0.2, 100 passes',
        options={_LR: 0.02, _HEAD: 10.0},
    ),
]
figures = [
    dict(
        kind='curves',
        arms=['lr0.02_60p', 'lr0.05_60p', 'lr0.1_60p', 'lr0.02_head10_60p', 'lr0.05_100p'],
    )
]
