_base_ = './resnet18_1xb128_cifar10.py'

# The same 200 epochs in fewer iterations: images with a loss below the mean are
# skipped at random, those that stay weigh more, and the last 25 epochs see them all.
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
            _delete_=True,
            type='InfoBatchLoss',
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        )
    )
)
