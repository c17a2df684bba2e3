_base_ = './upernet_r18-slim_1xb8-deterministic-0.3k_shapes-64x64.py'

# The same schedule in fewer iterations: images with a loss below the mean are skipped
# at random, those that stay weigh more, and the last eighth sees them all.
custom_imports = dict(imports=['mm_infobatch'], allow_failed_imports=False)
train_dataloader = dict(
    # A pass of random length could end with a batch of one image, which the
    # batch norm behind UperNet's 1x1 pooling cannot take. The infinite sampler
    # of the baseline never gives a short batch either.
    drop_last=True,
    sampler=dict(
        _delete_=True,
        type='InfoBatchSampler',
        delta=0.875,
        policy=dict(type='SoftPruning', prune_ratio=0.5),
    ),
)
train_cfg = dict(type='InfoBatchIterLoop')
custom_hooks = [dict(type='InfoBatchHook')]
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
