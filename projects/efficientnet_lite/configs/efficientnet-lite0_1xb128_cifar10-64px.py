_base_ = ['../../../configs/_base_/default_runtime_mmpretrain.py']
# A classifier with ImageNet weights, fine-tuned on a fifth of CIFAR-10 on one core of a CPU: 10
# epochs of 10,000 images at 8 ms an image. The images are read and resized once, and a batch is
# flipped as a whole.
custom_imports = dict(
    imports=['mm_infobatch', 'projects.efficientnet_lite', 'projects.images_in_memory'],
    allow_failed_imports=False,
)
custom_hooks = [dict(type='ChannelsLastHook')]

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10, mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], to_rgb=True
    ),
    backbone=dict(
        type='EfficientNetLite',
        # From tools/model_converters/efficientnet_lite_to_mmpretrain.py
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/efficientnet-lite0.pth', prefix='backbone.'
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)

pipeline = [
    dict(type='mmpretrain.LoadImageFromFile'),
    dict(type='mmpretrain.Resize', scale=64),
    dict(type='mmpretrain.PackInputs'),
]
# Parts 1 and 0 of five share no image: the first is trained, the second is there to tune on.
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    collate_fn=dict(type='batched'),
    dataset=dict(
        type='ImagesInMemory',
        part=(1, 5),
        dataset=dict(
            type='mmpretrain.CustomDataset',
            data_root='data/cifar10',
            data_prefix='train',
            pipeline=pipeline,
        ),
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    collate_fn=dict(type='batched'),
    dataset=dict(
        type='ImagesInMemory',
        part=(0, 1),
        flip=0.0,
        dataset=dict(
            type='mmpretrain.CustomDataset',
            data_root='data/cifar10',
            data_prefix='test',
            pipeline=pipeline,
        ),
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=1,
        end=10,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=10)
val_cfg = dict()
test_cfg = dict()
env_cfg = dict(dist_cfg=dict(backend='gloo'))
auto_scale_lr = dict(base_batch_size=128)
