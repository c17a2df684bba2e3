title = 'ResNet-18 on CIFAR-100'
about = """
The paper's recipe: 200 epochs, batches of 128, OneCycle (Table 5). For one GPU.
"""
config = 'configs/resnet/resnet18_1xb128_cifar100.py'
seeds = [0, 1, 2]

arms = [
    dict(name='all', label='all data', paper='78.2'),
    dict(
        name='infobatch',
        label='InfoBatch',
        infobatch={},
        expected_saving=0.338,
        paper='78.8, saving 33.8 %',
        config='configs/resnet/resnet18_1xb128-infobatch_cifar100.py',
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control']),
    dict(kind='time', arms=['all', 'infobatch', 'control']),
    dict(kind='pruned', arm='infobatch'),
]
