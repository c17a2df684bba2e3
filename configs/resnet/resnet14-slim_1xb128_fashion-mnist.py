_base_ = [
    '../_base_/models/resnet14-slim.py',
    '../_base_/datasets/fashion_mnist_bs128.py',
    '../_base_/schedules/slim_bs128_onecycle_12e.py',
    '../_base_/default_runtime_mmpretrain.py',
]

# images are gray
model = dict(backbone=dict(in_channels=1))

# two processes on a CPU speak gloo
env_cfg = dict(dist_cfg=dict(backend='gloo'))
auto_scale_lr = dict(base_batch_size=128)
