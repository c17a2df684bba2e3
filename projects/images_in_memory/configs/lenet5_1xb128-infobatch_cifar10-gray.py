_base_ = '../../../configs/lenet/lenet5_1xb128-infobatch_cifar10-gray.py'

# The images are read once, and those of a batch are cropped and flipped together: on a
# CPU the pipeline takes longer than LeNet-5.
custom_imports = dict(
    imports=['mm_infobatch', 'projects.efficientnet_lite', 'projects.images_in_memory'],
    allow_failed_imports=False,
)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='batched'),
    dataset=dict(
        _delete_=True,
        type='ImagesInMemory',
        padding=4,
        dataset=dict(
            type='mmpretrain.CustomDataset',
            data_root='data/cifar10',
            data_prefix='train',
            pipeline=[
                dict(type='mmpretrain.LoadImageFromFile', color_type='grayscale'),
                dict(type='mmpretrain.PackInputs'),
            ],
        ),
    ),
)
custom_hooks = [dict(type='InfoBatchHook'), dict(type='ChannelsLastHook')]
