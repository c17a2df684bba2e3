# `cifar_bs128_onecycle_200e.py` in 12 epochs.
custom_imports = dict(imports=['mm_infobatch'], allow_failed_imports=False)
optim_wrapper = dict(
    # The cycle sets learning rate and momentum at every step, whatever they are here.
    optimizer=dict(type='SGD', lr=0.004, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=0.1,
        total_steps=12,
        begin=0,
        end=12,
        by_epoch=True,
        # a cycle is walked step by step, not epoch by epoch
        convert_to_iter_based=True,
    ),
    dict(
        type='OneCycleMomentum',
        base_momentum=0.85,
        max_momentum=0.95,
        total_steps=12,
        begin=0,
        end=12,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict()
test_cfg = dict()
