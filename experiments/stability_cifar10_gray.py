title = 'What pruning does to LeNet-5 on gray CIFAR-10'
about = """
Images of which so small a network learns few well: 10 epochs as the schedule, a peak learning rate
of 0.05, on a CPU. The arms are those of stability_fashion_mnist.
"""
config = 'configs/lenet/lenet5_1xb128-infobatch_cifar10-gray.py'
seeds = [0, 1, 2, 3, 4]
_SOFT = dict(type='SoftPruning', prune_ratio=0.5)
_NOTHING = dict(policy=dict(_SOFT, prune_ratio=0))
arms = [
    dict(name='all', label='all data', infobatch=_NOTHING),
    dict(name='fewer_epochs', label='fewer epochs', infobatch=_NOTHING, schedule=0.7),
    dict(name='soft', label='SoftPruning', infobatch=dict(policy=_SOFT)),
    dict(
        name='soft_normalized',
        label='SoftPruning, normalized',
        infobatch=dict(policy=dict(_SOFT, rescale='normalized')),
    ),
]
