# Real images in minutes on a CPU.
optim_wrapper = dict(
    # OneCycleLR sets the learning rate at every step; this is the one it starts from.
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=1e-4)
)
# The peak leaves room: weights above 1 make the steps of a pruned pass longer, here by
# up to two thirds. On Fashion-MNIST a baseline alone bears 0.2, four times as much.
param_scheduler = dict(
    type='OneCycleLR',
    eta_max=0.05,
    total_steps=10,
    begin=0,
    end=10,
    by_epoch=True,
    # a cycle is walked step by step, not epoch by epoch
    convert_to_iter_based=True,
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()
