_base_ = '../../../configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'

# The images are read and resized once, and those of a batch are flipped together.
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
        dataset=dict(
            type='mmpretrain.FashionMNIST',
            data_root='data/fashion_mnist',
            split='train',
            pipeline=[
                dict(type='mmpretrain.Resize', scale=32),
                dict(type='mmpretrain.PackInputs'),
            ],
        ),
    ),
)
custom_hooks = [dict(type='InfoBatchHook'), dict(type='ChannelsLastHook')]
