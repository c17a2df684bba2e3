_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar100_bs128.py',
    '../_base_/schedules/cifar_bs128_onecycle_200e.py',
    '../_base_/default_runtime_mmpretrain.py',
]

# The paper's recipe, not mmpretrain's: see the schedule for what comes from where.
# The label smoothing is the authors' script's, and so is a network whose residual
# branches do not begin at zero.
model = dict(
    backbone=dict(zero_init_residual=False),
    head=dict(
        num_classes=100,
        loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)

# SGD with a peak of 0.05, the defaults of the authors' script, which are for
# ResNet-18. (The paper names LARS for all; a rate for it is published for ResNet-50.)

# 200 checkpoints of a run are of no use.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
