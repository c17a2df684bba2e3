title = 'Fig. 3: the prune ratio r and the annealing delta, on CIFAR-100'
about = """
r from 0.2 to 0.8 at delta = 0.875, and delta from 0.75 to 0.95 at r = 0.5. (The paper prints its
points only as a figure.)
"""
seeds = [0, 1, 2]
_RATIOS = [0.2, 0.3, 0.4, 0.6, 0.7, 0.8]
_DELTAS = [0.75, 0.8, 0.85, 0.9, 0.95]
arms = []
_r_arms, _delta_arms = [], []
for _r, _label in (('r18', 'R-18'), ('r50', 'R-50')):
    _all, _infobatch = f'cifar100_{_r}/all', f'cifar100_{_r}/infobatch'
    _common = dict(
        config=f'configs/resnet/resnet{_r[1:]}_1xb128-infobatch_cifar100.py',
        against=_all,
        line=_label,
    )
    arms += [
        dict(same_as=_all, label=f'{_label}, all data', line=_label),
        dict(
            same_as=_infobatch, label=f'{_label}, r = 0.5, delta = 0.875', line=_label, against=_all
        ),
    ]
    arms += [
        dict(
            _common,
            name=f'{_r}_r{_ratio}',
            label=f'{_label}, r = {_ratio}',
            x=_ratio,
            infobatch=dict(prune_ratio=_ratio),
        )
        for _ratio in _RATIOS
    ]
    arms += [
        dict(
            _common,
            name=f'{_r}_delta{_delta}',
            label=f'{_label}, delta = {_delta}',
            x=_delta,
            infobatch=dict(delta=_delta),
        )
        for _delta in _DELTAS
    ]
    _r_arms += [f'{_r}_r{_ratio}' for _ratio in _RATIOS]
    _delta_arms += [f'{_r}_delta{_delta}' for _delta in _DELTAS]
_both = ['cifar100_r18/infobatch', 'cifar100_r50/infobatch']
figures = [
    dict(kind='sweep', name='r', xlabel='prune ratio r', arms=_r_arms + _both, at=0.5),
    dict(kind='sweep', name='delta', xlabel='delta', arms=_delta_arms + _both, at=0.875),
]
