_base_ = './efficientnet-lite0_1xb128_cifar10-64px.py'

# What --infobatch makes of it.
train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='InfoBatchSampler',
        delta=0.875,
        policy=dict(type='SoftPruning', prune_ratio=0.5),
    )
)
train_cfg = dict(type='InfoBatchEpochLoop')
custom_hooks = [dict(type='ChannelsLastHook'), dict(type='InfoBatchHook')]
model = dict(
    head=dict(
        loss=dict(
            _delete_=True, type='InfoBatchLoss', loss=dict(type='CrossEntropyLoss', loss_weight=1.0)
        )
    )
)
