title = 'ResNet-18 on CIFAR-10'
about = """
The paper's recipe: 200 epochs, batches of 128, OneCycle (Table 5). For one GPU.
"""
config = 'configs/resnet/resnet18_1xb128_cifar10.py'
seeds = [0, 1, 2]

arms = [
    dict(name='all', label='all data', paper='95.6'),
    dict(
        name='infobatch',
        label='InfoBatch',
        infobatch={},
        expected_saving=0.392,
        paper='95.5, saving 39.2 %',
        config='configs/resnet/resnet18_1xb128-infobatch_cifar10.py',
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control']),
    dict(kind='time', arms=['all', 'infobatch', 'control']),
    dict(kind='pruned', arm='infobatch'),
]
