title = 'Slim ResNet-18 on CIFAR-10'
about = """
An eighth of the channels, 16 epochs as the schedule, on a CPU.
"""
config = 'configs/resnet/resnet18-slim_1xb128_cifar10-png.py'
seeds = [0]
arms = [
    dict(name='all', label='all data'),
    dict(
        name='infobatch',
        label='InfoBatch',
        infobatch={},
        expected_saving=0.258,
        config='configs/resnet/resnet18-slim_1xb128-infobatch_cifar10-png.py',
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control']),
    dict(kind='pruned', arm='infobatch'),
]
