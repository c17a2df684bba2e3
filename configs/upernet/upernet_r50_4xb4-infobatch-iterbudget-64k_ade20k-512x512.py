_base_ = './upernet_r50_4xb4-64k_ade20k-512x512.py'

# The budget of the authors: 64000 real iterations, 80% of the 80k schedule. The
# learning rate follows iterations, and pruning makes more passes fit into them.
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
train_cfg = dict(type='InfoBatchIterLoop', budget='iterations')
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
