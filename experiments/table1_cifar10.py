title = 'Table 1: dynamic pruning of CIFAR-10, ResNet-18'
about = """
The dynamic rows of the paper's Table 1, at matched forward passes. Random*, epsilon-greedy and UCB
skip the named share of the whole run (in the first of the 200 passes nobody skips), without
annealing. InfoBatch skips what it skips: at 30 % it is the default run, as in the paper; at 50 %
and 70 % its schedule is shortened until it has trained on as many samples.
"""
config = 'configs/resnet/resnet18_1xb128-infobatch_cifar10.py'
seeds = [0, 1, 2]
_RULES = [
    ('random', 'Random*', 'RandomPruning'),
    ('eps_greedy', 'epsilon-greedy', 'EpsilonGreedy'),
    ('ucb', 'UCB', 'UCB'),
]
_PAPER = {
    'random': ('94.8', '94.5', '93.0'),
    'eps_greedy': ('95.2', '94.9', '94.1'),
    'ucb': ('95.3', '94.7', '93.9'),
    'infobatch': ('95.6', '95.1', '94.7'),
}
_SHARES = [30, 50, 70]

arms = [
    dict(same_as='cifar10_r18/all', label='all data'),
    dict(
        same_as='cifar10_r18/infobatch',
        label='InfoBatch, default',
        against='cifar10_r18/all',
        paper=f'{_PAPER["infobatch"][0]} (at 30 %)',
    ),
]
arms += [
    dict(
        name=f'{_name}_{_share}',
        label=f'{_label}, {_share} %',
        against='cifar10_r18/all',
        infobatch=dict(
            delta=1, policy=dict(type=_type, prune_ratio=round(_share / 100 * 200 / 199, 4))
        ),
        paper=_PAPER[_name][_number],
    )
    for _name, _label, _type in _RULES
    for _number, _share in enumerate(_SHARES)
]
arms += [
    dict(
        name=f'infobatch_{_share}',
        label=f'InfoBatch, {_share} %',
        against='cifar10_r18/all',
        infobatch={},
        like='cifar10_r18/infobatch',
        samples=1 - _share / 100,
        paper=_PAPER['infobatch'][_number],
    )
    for _number, _share in enumerate(_SHARES)
    if _share > 30
]
