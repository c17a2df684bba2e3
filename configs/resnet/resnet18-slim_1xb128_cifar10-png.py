_base_ = [
    '../_base_/models/resnet18-slim_cifar.py',
    '../_base_/datasets/cifar10-png_bs128.py',
    '../_base_/default_runtime_mmpretrain.py',
]
# All of CIFAR-10 at a size that a CPU trains in a quarter of an hour.
optim_wrapper = dict(
    # OneCycleLR sets the learning rate at every step; this is the one it starts from.
    optimizer=dict(type='SGD', lr=0.004, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = dict(
    type='OneCycleLR',
    eta_max=0.1,
    total_steps=16,
    begin=0,
    end=16,
    by_epoch=True,
    # a cycle is walked step by step, not epoch by epoch
    convert_to_iter_based=True,
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=16, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# two processes on a CPU speak gloo
env_cfg = dict(dist_cfg=dict(backend='gloo'))
auto_scale_lr = dict(base_batch_size=128)
