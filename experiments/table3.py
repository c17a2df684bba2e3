title = 'Table 3: the components, on CIFAR-100'
about = """
Soft pruning, rescaling and annealing one by one, r = 0.5. Random* skips as many samples as
InfoBatch did with the same seed.
"""
_SOFT = dict(type='SoftPruning', prune_ratio=0.5)
_PAPER = {
    'r18': ('77.3', '77.5', '78.8', '77.8', '78.8', '78.2'),
    'r50': ('79.7', '79.9', '80.1', '80.0', '80.6', '80.6'),
}
seeds = [0, 1, 2]
arms = []
for _r, _label in (('r18', 'R-18'), ('r50', 'R-50')):
    _all, _infobatch = f'cifar100_{_r}/all', f'cifar100_{_r}/infobatch'
    _common = dict(
        config=f'configs/resnet/resnet{_r[1:]}_1xb128-infobatch_cifar100.py', against=_all
    )
    arms += [
        dict(same_as=_all, label=f'{_label}, all data', paper=_PAPER[_r][5]),
        dict(
            same_as=_infobatch,
            label=f'{_label}, InfoBatch (all three)',
            against=_all,
            paper=_PAPER[_r][4],
        ),
        dict(
            _common,
            name=f'{_r}_random',
            label=f'{_label}, Random*',
            paper=_PAPER[_r][0],
            saving_of=_infobatch,
            infobatch=dict(delta=1, policy=dict(type='RandomPruning', prune_ratio=0.3)),
        ),
        dict(
            _common,
            name=f'{_r}_prune',
            label=f'{_label}, soft pruning',
            paper=_PAPER[_r][1],
            infobatch=dict(delta=1, policy=dict(_SOFT, rescale=False)),
        ),
        dict(
            _common,
            name=f'{_r}_rescale',
            label=f'{_label}, soft pruning and rescaling',
            paper=_PAPER[_r][2],
            infobatch=dict(delta=1, policy=_SOFT),
        ),
        dict(
            _common,
            name=f'{_r}_anneal',
            label=f'{_label}, soft pruning and annealing',
            paper=_PAPER[_r][3],
            infobatch=dict(policy=dict(_SOFT, rescale=False)),
        ),
    ]
