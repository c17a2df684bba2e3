title = 'LeNet-5 on Fashion-MNIST'
about = """
10 epochs as the schedule, a peak learning rate of 0.05, on a CPU. Random* skips as many samples as
InfoBatch did with the same seed, the control trains on all data for as many iterations (to whole
epochs).
"""
config = 'configs/lenet/lenet5_1xb128_fashion-mnist.py'
seeds = [0, 1, 2, 3, 4]
_INFOBATCH = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'

arms = [
    dict(name='all', label='all data'),
    dict(
        name='infobatch',
        label='InfoBatch',
        config=_INFOBATCH,
        infobatch={},
        expected_saving=0.294,
        keep_checkpoints=True,
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
    dict(
        name='random',
        label='Random*',
        config=_INFOBATCH,
        saving_of='infobatch',
        infobatch=dict(policy=dict(type='RandomPruning', prune_ratio=0.3), delta=1),
    ),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control', 'random']),
    dict(kind='time', arms=['all', 'infobatch', 'control', 'random']),
    dict(kind='pruned', arm='infobatch'),
    dict(kind='losses', arm='infobatch'),
]
