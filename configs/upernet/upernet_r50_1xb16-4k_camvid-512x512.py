_base_ = [
    '../_base_/models/upernet_r50.py', '../_base_/datasets/camvid-512x512.py',
    '../_base_/default_runtime_mmseg.py'
]
# Network, crops, batch and learning rate of the ADE20K runs, on a data set small enough
# for one GPU: 174 passes of 367 images.
crop_size = (512, 512)
data_preprocessor = dict(size=crop_size, seg_pad_val=11)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(num_classes=11, ignore_index=11),
    auxiliary_head=dict(num_classes=11, ignore_index=11))

optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005)
optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer, clip_grad=None)
param_scheduler = [
    dict(
        type='PolyLR',
        eta_min=1e-4,
        power=0.9,
        begin=0,
        end=4000,
        by_epoch=False)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000, val_interval=400)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=400),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
