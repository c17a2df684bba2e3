title = 'ResNet-18 on CIFAR-100, 30 epochs'
about = """
The paper's recipe shortened to 30 epochs, for several seeds in little time on one GPU.
"""
config = 'configs/resnet/resnet18_1xb128_cifar100.py'
seeds = [0, 1, 2]
schedule = 0.15  # of 200 epochs
arms = [
    dict(name='all', label='all data'),
    dict(
        name='infobatch',
        label='InfoBatch',
        infobatch={},
        expected_saving=0.3,
        config='configs/resnet/resnet18_1xb128-infobatch_cifar100.py',
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control']),
    dict(kind='time', arms=['all', 'infobatch', 'control']),
    dict(kind='pruned', arm='infobatch'),
]
