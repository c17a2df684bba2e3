_base_ = [
    '../_base_/models/lenet5.py',
    '../_base_/datasets/cifar10-gray-png_bs128.py',
    '../_base_/schedules/lenet_bs128_onecycle_10e.py',
    '../_base_/default_runtime_mmpretrain.py',
]

# two processes on a CPU speak gloo
env_cfg = dict(dist_cfg=dict(backend='gloo'))
auto_scale_lr = dict(base_batch_size=128)
