_base_ = './resnet14-slim_1xb128_cifar10-png.py'

# The same epochs in fewer iterations: images with a loss below the mean are skipped
# at random, those that stay weigh more, and the last eighth sees them all.
custom_imports = dict(imports=['mm_infobatch'], allow_failed_imports=False)
train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='InfoBatchSampler',
        delta=0.875,
        policy=dict(type='SoftPruning', prune_ratio=0.5),
    )
)
train_cfg = dict(type='InfoBatchEpochLoop')
custom_hooks = [dict(type='InfoBatchHook')]
model = dict(
    head=dict(
        loss=dict(
            _delete_=True, type='InfoBatchLoss', loss=dict(type='CrossEntropyLoss', loss_weight=1.0)
        )
    )
)
