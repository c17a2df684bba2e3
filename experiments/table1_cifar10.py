title = 'Table 1: dynamic pruning of CIFAR-10, ResNet-18'
about = """
The dynamic rows of the paper's Table 1, at matched forward passes. Random*, epsilon-greedy and UCB
skip the named share of the whole run (in the first of the 200 passes nobody skips), without
annealing. InfoBatch skips what it skips: at 30 % it is the default run, as in the paper; at 50 %
and 70 % its schedule is shortened until it has trained on as many samples.

The rules since the paper run by the settings of their publications, without annealing where they
have none, and skip what they skip; OrderDP and InfoBatch at an exact budget skip the named share.
BLS is the paper's rule with the Batch Loss Score.
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

# ------------------------------------------------------------------- the rules since the paper
_SINCE = {
    'repb': ('RePB', dict(policy=dict(type='RePB', prune_ratio=0.5))),
    'seta': ('SeTa', dict(delta=1, policy=dict(type='SeTa', prune_ratio=0.1))),
    'kakurenbo': (
        'KAKURENBO',
        dict(delta=1, policy=dict(type='KAKURENBO', hidden=0.3, milestones=[0.3, 0.6, 0.8])),
    ),
    'ies': ('IES, variant', dict(delta=1, policy=dict(type='IES', threshold=1e-3))),
}
arms += [
    dict(name=_name, label=_label, against='cifar10_r18/all', infobatch=_infobatch)
    for _name, (_label, _infobatch) in _SINCE.items()
]
arms += [
    dict(
        name='bls',
        label='InfoBatch, BLS',
        against='cifar10_r18/all',
        infobatch={},
        options={
            'train_dataloader.sampler.batch_score': 'mean',
            'train_dataloader.sampler.score_smoothing': 0.9,
        },
    )
]
arms += [
    dict(
        name=f'order_dp_{_share}',
        label=f'OrderDP, {_share} %',
        against='cifar10_r18/all',
        infobatch=dict(
            delta=1,
            policy=dict(
                type='OrderDP', subset=0.8, top=round((1 - _share / 100 * 200 / 199) / 0.8, 4)
            ),
        ),
    )
    for _share in _SHARES
]
arms += [
    dict(
        name=f'exact_{_share}',
        label=f'InfoBatch, exact budget, {_share} %',
        against='cifar10_r18/all',
        infobatch=dict(
            policy=dict(type='TargetSaving', saving=_share / 100, quantile=_quantile, max_weight=10)
        ),
    )
    for _share, _quantile in zip(_SHARES, (0.8, 0.8, 0.95))
]
