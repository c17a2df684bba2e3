_base_ = './table1_cifar10.py'

title = 'Table 1: dynamic pruning of CIFAR-100, ResNet-18'
about = """
As table1_cifar10.
"""
config = 'configs/resnet/resnet18_1xb128-infobatch_cifar100.py'
# The paper's accuracies.
_PAPER = {
    'random_30': '77.3',
    'random_50': '75.3',
    'random_70': '',
    'eps_greedy_30': '76.4',
    'eps_greedy_50': '74.8',
    'eps_greedy_70': '',
    'ucb_30': '77.3',
    'ucb_50': '75.3',
    'ucb_70': '',
    'infobatch_50': '78.2',
    'infobatch_70': '77.6',
}
_OTHER = dict(against='cifar100_r18/all', like='cifar100_r18/infobatch')

arms = [
    dict(same_as='cifar100_r18/all', label='all data'),
    dict(
        same_as='cifar100_r18/infobatch',
        label='InfoBatch, default',
        against='cifar100_r18/all',
        paper='78.8 (at 30 %)',
    ),
]
for _arm in _base_.arms[2:]:
    _own = {key: _OTHER[key] for key in _OTHER if key in _arm}
    if _arm['name'] in _PAPER:
        _own['paper'] = _PAPER[_arm['name']]
    if _arm['name'] == 'ies':
        _own['infobatch'] = dict(delta=1, policy=dict(type='IES', threshold=2e-3))
    arms.append(dict(_arm, **_own))
