title = 'Learning rates of UperNet-EfficientNet-Lite0 on CamVid'
about = """
From ImageNet weights, all data, one seed, 40 passes: the learning rate, a larger one in the heads,
and a longer schedule. Scored on the validation split, so that the test split is not tuned on.
"""
config = 'projects/efficientnet_lite/configs/upernet_efficientnet-lite0_1xb8-4.5k_camvid-128x160.py'
schedule = 0.4
seeds = [0]
baseline = 'lr0.05'
options = {
    'val_dataloader.dataset.data_prefix.img_path': 'img_dir/val',
    'val_dataloader.dataset.data_prefix.seg_map_path': 'ann_dir/val',
}
_LR = 'optim_wrapper.optimizer.lr'
_HEAD = 'optim_wrapper.paramwise_cfg.custom_keys.head.lr_mult'

arms = [
    dict(name='lr0.02', label='0.02', options={_LR: 0.02}),
    dict(name='lr0.05', label='0.05', options={_LR: 0.05}),
    dict(name='lr0.1', label='0.1', options={_LR: 0.1}),
    dict(name='lr0.2', label='0.2', options={_LR: 0.2}),
    dict(name='lr0.05_head10', label='0.05, head 0.5', options={_LR: 0.05, _HEAD: 10.0}),
    dict(name='lr0.1_60p', label='0.1, 60 passes', schedule=0.6, options={_LR: 0.1}),
]
figures = [dict(kind='curves', arms=['lr0.02', 'lr0.05', 'lr0.1', 'lr0.2', 'lr0.1_60p'])]
