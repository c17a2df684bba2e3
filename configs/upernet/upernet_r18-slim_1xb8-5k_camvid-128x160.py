_base_ = [
    '../_base_/models/upernet_r18-slim.py',
    '../_base_/datasets/camvid.py',
    '../_base_/default_runtime_mmseg.py',
]
# A real data set at a size that a CPU trains in a quarter of an hour.
crop_size = (128, 160)
data_preprocessor = dict(size=crop_size, seg_pad_val=11)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(num_classes=11, ignore_index=11),
    auxiliary_head=dict(num_classes=11, ignore_index=11),
)

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.0005)
)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=5000, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=5000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=500),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)

# two processes on a CPU speak gloo
env_cfg = dict(cudnn_benchmark=False, dist_cfg=dict(backend='gloo'))
