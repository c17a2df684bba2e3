_base_ = [
    '../_base_/models/upernet_r50.py',
    '../_base_/datasets/camvid-512x512.py',
    '../_base_/default_runtime_mmseg.py',
    '../_base_/schedules/schedule_80k.py',
]
# Network, crops, batch and learning rate of the ADE20K runs, on a data set small enough
# for one GPU: 174 passes of 367 images.
crop_size = (512, 512)
data_preprocessor = dict(size=crop_size, seg_pad_val=11)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(num_classes=11, ignore_index=11),
    auxiliary_head=dict(num_classes=11, ignore_index=11),
)

param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=4000, by_epoch=False)]
train_cfg = dict(max_iters=4000, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=400))
