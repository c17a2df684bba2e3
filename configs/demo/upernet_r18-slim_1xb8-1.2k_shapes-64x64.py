_base_ = [
    '../_base_/models/upernet_r18-slim.py',
    '../_base_/datasets/shapes.py',
    '../_base_/default_runtime_mmseg.py',
]
# `make demo`: 20 passes over 480 drawn scenes, minutes on a CPU.
crop_size = (64, 64)
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(num_classes=8),
    auxiliary_head=dict(num_classes=8),
)

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.0005)
)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=1200, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1200, val_interval=120)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=600),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)

# two processes on a CPU speak gloo
env_cfg = dict(cudnn_benchmark=False, dist_cfg=dict(backend='gloo'))
