_base_ = './upernet_r18-slim_1xb8-1.2k_shapes-64x64.py'

# Nothing here draws a random number but the order of the images: no random transform,
# no dropout. So a run that was killed and resumed must end at the parameters of one
# that was not, bit for bit, which is what this config is for. Short, with checkpoints
# in the middle of passes.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(decode_head=dict(dropout_ratio=0.0), auxiliary_head=dict(dropout_ratio=0.0))
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=300, by_epoch=False)]
train_cfg = dict(max_iters=300, val_interval=150)
default_hooks = dict(checkpoint=dict(interval=25))
randomness = dict(seed=0)
