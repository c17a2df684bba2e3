title = 'Table 1: static pruning of CIFAR-10, ResNet-18'
about = """
The static rows of the paper's Table 1, with entropy and Graph Cut beside them. The methods select
by a run of 10 epochs on all data, with the same recipe on a shortened schedule; EL2N and GraNd by
ten such runs, forgetting by all passes of one. The subset is then trained for the whole schedule,
without annealing, so the saving is the named share. The paper does not say what it selected by.
DeepCore's selecting networks are trained at a constant rate without augmentation, and its main
results select per class with every method; here those methods do that do so by themselves, and
GLISTER in rows of its own.
"""
config = 'configs/resnet/resnet18_1xb128-infobatch_cifar10.py'
seeds = [0, 1, 2]
_BASELINE = 'cifar10_r18/all'
_SELECTION = dict(
    name='selection',
    label='10 epochs, to select by',
    infobatch=dict(policy=dict(type='SoftPruning', prune_ratio=0)),
    schedule=0.05,
    seeds=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    keep_checkpoints=True,
    against=_BASELINE,
)
_LAST = [10]  # the epoch that methods select after
_TEN = dict(seeds=_SELECTION['seeds'])
_SHARES = [30, 50, 70]
# By the name of the method: its label, and what of `scores` is not usual.
_METHODS = {
    'contextual_diversity': ('CD', {}),
    'herding': ('Herding', {}),
    'k_center': ('K-Center', {}),
    'least_confidence': ('Least Confidence', {}),
    'margin': ('Margin', {}),
    'entropy': ('Entropy', {}),
    'forgetting': ('Forgetting', dict(epochs=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])),
    'grand': ('GraNd', _TEN),
    'deepfool': ('DeepFool', {}),
    'craig': ('CRAIG', {}),
    'glister': ('GLISTER', {}),
    'glister_per_class': ('GLISTER, per class', dict(method='glister')),
    'graph_cut': ('Graph Cut', {}),
    'influence': ('Influence', {}),
    'el2n': ('EL2N', _TEN),
    'dp': ('DP', {}),
}
_SELECTS = [
    'contextual_diversity',
    'craig',
    'dp',
    'glister',
    'glister_per_class',
    'graph_cut',
    'herding',
    'k_center',
]
# The paper's accuracies at 30, 50 and 70 %.
_PAPER = {
    'random': ('94.6', '93.3', '90.2'),
    'contextual_diversity': ('95.0', '94.3', '90.8'),
    'herding': ('92.2', '88.0', '80.1'),
    'k_center': ('94.7', '93.9', '90.9'),
    'least_confidence': ('95.0', '94.5', '90.3'),
    'margin': ('94.9', '94.3', '90.9'),
    'forgetting': ('94.7', '94.1', '91.7'),
    'grand': ('95.3', '94.6', '91.2'),
    'deepfool': ('95.1', '94.1', '90.0'),
    'craig': ('94.8', '93.3', '88.4'),
    'glister': ('95.2', '94.0', '90.9'),
    'influence': ('93.1', '91.3', '88.3'),
    'el2n': ('94.4', '93.2', '89.8'),
    'dp': ('94.9', '93.8', '90.8'),
}

arms = [
    dict(same_as=_BASELINE, label='all data'),
    _SELECTION,
    *(
        dict(
            name=f'random_{_share}',
            label=f'Random, {_share} %',
            against=_BASELINE,
            infobatch=dict(delta=1, policy=dict(type='StaticRandom', keep=1 - _share / 100)),
            paper=_PAPER['random'][_number],
        )
        for _number, _share in enumerate(_SHARES)
    ),
]
arms += [
    dict(
        name=f'{_name}_{_share}',
        label=f'{_label}, {_share} %',
        against=_BASELINE,
        infobatch=dict(delta=1, policy=dict(type='FromFile', keep=1 - _share / 100)),
        scores=dict(
            dict(
                method=_name,
                of='selection',
                epochs=_LAST,
                options=[
                    *(['--keep', f'{1 - _share / 100:g}'] if _name in _SELECTS else []),
                    *(['--per-class'] if _name.endswith('per_class') else []),
                ],
            ),
            **_more,
        ),
        paper=_PAPER.get(_name, ('', '', ''))[_number],
    )
    for _name, (_label, _more) in _METHODS.items()
    for _number, _share in enumerate(_SHARES)
]
