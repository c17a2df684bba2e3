_base_ = './upernet_efficientnet-lite0_1xb8-4.5k_camvid-128x160.py'

# What --infobatch makes of it.
custom_imports = dict(
    imports=['projects.efficientnet_lite', 'mm_infobatch'], allow_failed_imports=False
)
train_dataloader = dict(
    drop_last=True,
    sampler=dict(
        _delete_=True,
        type='InfoBatchSampler',
        delta=0.875,
        policy=dict(type='SoftPruning', prune_ratio=0.5),
    ),
)
train_cfg = dict(type='InfoBatchIterLoop')
custom_hooks = [dict(type='ChannelsLastHook'), dict(type='InfoBatchHook')]
model = dict(
    decode_head=dict(
        loss_decode=dict(
            _delete_=True,
            type='InfoBatchLoss',
            loss=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        )
    ),
    auxiliary_head=dict(
        loss_decode=dict(
            _delete_=True,
            type='InfoBatchLoss',
            loss=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        )
    ),
)
