_base_ = './resnet50_8xb32_in1k.py'

# The same 100 epochs in fewer iterations: images with a loss below the mean are
# skipped at random, those that stay weigh more, and the last eighth sees them all.
custom_imports = dict(imports=['mm_infobatch'], allow_failed_imports=False)
train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='InfoBatchSampler',
        delta=0.875,
        policy=dict(type='SoftPruning', prune_ratio=0.5),
    )
)
# `_delete_`: mmengine takes either `by_epoch` or `type`, and the baseline has
# `by_epoch`.
train_cfg = dict(_delete_=True, type='InfoBatchEpochLoop', max_epochs=100, val_interval=1)
custom_hooks = [dict(type='InfoBatchHook')]
model = dict(
    head=dict(
        loss=dict(
            _delete_=True, type='InfoBatchLoss', loss=dict(type='CrossEntropyLoss', loss_weight=1.0)
        )
    )
)
