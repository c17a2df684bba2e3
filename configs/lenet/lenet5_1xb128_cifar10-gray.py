_base_ = [
    '../_base_/models/lenet5.py', '../_base_/datasets/cifar10-gray-png_bs128.py',
    '../_base_/default_runtime_mmpretrain.py'
]
# Real images in minutes on a CPU.
optim_wrapper = dict(
    # OneCycleLR sets the learning rate at every step; this is the one it starts from.
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=1e-4))
# The schedule of Fashion-MNIST. The study in docs/policies.md raises the peak to 0.2.
param_scheduler = dict(
    type='OneCycleLR',
    eta_max=0.05,
    total_steps=10,
    begin=0,
    end=10,
    by_epoch=True,
    # a cycle is walked step by step, not epoch by epoch
    convert_to_iter_based=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# two processes on a CPU speak gloo
env_cfg = dict(dist_cfg=dict(backend='gloo'))
auto_scale_lr = dict(base_batch_size=128)
