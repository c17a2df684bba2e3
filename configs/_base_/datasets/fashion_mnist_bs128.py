# Fashion-MNIST, the official idx files under `data/fashion_mnist`.
dataset_type = 'FashionMNIST'
data_preprocessor = dict(mean=[72.94], std=[90.02], num_classes=10)

# LeNet-5 wants 32x32
train_pipeline = [
    dict(type='Resize', scale=32),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='Resize', scale=32), dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type, data_root='data/fashion_mnist', split='train', pipeline=train_pipeline
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

val_dataloader = dict(
    batch_size=250,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type,
        data_root='data/fashion_mnist',
        split='test',
        # mmpretrain picks the files of MNIST by this and not by `split`
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
