# The schedule of InfoBatch's CIFAR runs. From the paper (section 4.1): OneCycle with
# cosine annealing, momentum 0.9, weight decay 5e-4. From the authors' published
# script: 200 epochs, batches of 128, and OneCycle's defaults (30% rise, 1/25 of the
# peak at the start, 1e-4 of that at the end). Their scheduler is PyTorch's, which also
# lowers the momentum from 0.95 to 0.85 at the peak. mmengine's OneCycleLR moves the
# learning rate alone, so OneCycleMomentum, which comes with this package, is beside it.
custom_imports = dict(imports=['mm_infobatch'], allow_failed_imports=False)
optim_wrapper = dict(
    # The cycle sets learning rate and momentum at every step, whatever they are here.
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=0.05,
        total_steps=200,
        begin=0,
        end=200,
        by_epoch=True,
        # a cycle is walked step by step, not epoch by epoch
        convert_to_iter_based=True,
    ),
    dict(
        type='OneCycleMomentum',
        base_momentum=0.85,
        max_momentum=0.95,
        total_steps=200,
        begin=0,
        end=200,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# NOTE: `auto_scale_lr` is for automatically scaling LR
# based on the actual training batch size.
auto_scale_lr = dict(base_batch_size=128)
