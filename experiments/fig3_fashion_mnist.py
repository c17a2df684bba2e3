title = 'Fig. 3 on Fashion-MNIST, LeNet-5'
about = """
The sweeps of the paper's Fig. 3 at a size for a CPU: r from 0.2 to 0.8 at delta = 0.875, and delta
from 0.5 to 1 (no annealing) at r = 0.5, ten epochs as the schedule.
"""
config = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
seeds = [0, 1, 2]
_ALL, _INFOBATCH = 'fashion_mnist/all', 'fashion_mnist/infobatch'
_RATIOS = [0.2, 0.3, 0.4, 0.6, 0.7, 0.8]
_DELTAS = [0.5, 0.6, 0.7, 0.8, 1.0]
arms = [
    dict(same_as=_ALL, label='all data', line='LeNet-5'),
    dict(same_as=_INFOBATCH, label='r = 0.5, delta = 0.875', line='LeNet-5', against=_ALL),
]
arms += [
    dict(
        name=f'r{_ratio}',
        label=f'r = {_ratio}',
        line='LeNet-5',
        x=_ratio,
        against=_ALL,
        infobatch=dict(prune_ratio=_ratio),
    )
    for _ratio in _RATIOS
]
arms += [
    dict(
        name=f'delta{_delta}',
        label=f'delta = {_delta}',
        line='LeNet-5',
        x=_delta,
        against=_ALL,
        infobatch=dict(delta=_delta),
    )
    for _delta in _DELTAS
]
figures = [
    dict(
        kind='sweep',
        name='r',
        xlabel='prune ratio r',
        at=0.5,
        arms=[f'r{_ratio}' for _ratio in _RATIOS] + [_INFOBATCH],
    ),
    dict(
        kind='sweep',
        name='delta',
        xlabel='delta',
        at=0.875,
        arms=[f'delta{_delta}' for _delta in _DELTAS] + [_INFOBATCH],
    ),
]
