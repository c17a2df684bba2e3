title = 'UperNet-Lite0 on CamVid, pretrained'
about = """
40 passes of 8 crops of 128x160, at the learning rate that is best for all data on the validation
split (camvid_lite0_rates), scored on the test split. The arms differ in the length of steps, and in
what the score of an image is made of; all of them skip about as many images.
"""
config = 'projects/efficientnet_lite/configs/upernet_efficientnet-lite0_1xb8-4.5k_camvid-128x160.py'
schedule = 0.4
seeds = [0, 1, 2, 3, 4]
_INFOBATCH = (
    'projects/efficientnet_lite/configs/'
    'upernet_efficientnet-lite0_1xb8-infobatch-4.5k_camvid-128x160.py'
)
_LR = 0.1
_RATE = 'optim_wrapper.optimizer.lr'
_SAMPLER = 'train_dataloader.sampler'
_C = 1.38  # the mean weight of pruned passes: N/K where 55 % of the images are pruned by half
options = {_RATE: _LR, 'train_cfg.val_interval': 4500}  # and at the end


def _pruned(name, label, saving=0.275, **arm):
    return dict(
        name=name,
        label=label,
        config=_INFOBATCH,
        expected_saving=saving,
        **{'infobatch': {}, **arm},
    )


_SMOOTH = {f'{_SAMPLER}.score_smoothing': 0.8}
arms = [
    dict(name='all', label='all data'),
    _pruned('infobatch', "InfoBatch, the paper's length"),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
    _pruned('smooth', 'moving average', options=_SMOOTH),
    _pruned('capped', 'InfoBatch, capped', infobatch=dict(step_length='capped')),
    _pruned('normalized', 'InfoBatch, normalized', infobatch=dict(step_length='normalized')),
    _pruned(
        'random',
        'Random*',
        infobatch=dict(policy=dict(type='RandomPruning', prune_ratio=0.28), delta=1),
    ),
    dict(
        name='control_raised',
        label=f'the same, {_C} times the learning rate',
        control_of='infobatch',
        options={_RATE: round(_LR * _C, 4)},
    ),
    _pruned(
        'same_cost',
        'InfoBatch, as many iterations as all data',
        infobatch=dict(budget='iterations'),
    ),
    _pruned(
        'ramp',
        'r from 0 to 0.69 at half of the run',
        infobatch=dict(policy=dict(type='RampedPruning', prune_ratio=0.69, ramp=0.5)),
    ),
]


# Chosen by importance at a saving that is given, as on the other tasks of docs/lossless.md.
def _importance(name, label='', options=None, **policy):
    return _pruned(
        f'importance{name}',
        f'TargetSaving, 30 %, capped{label}',
        saving=0.3,
        infobatch=dict(
            policy=dict(type='TargetSaving', saving=0.3, **policy), step_length='capped'
        ),
        **({'options': options} if options else {}),
    )


arms += [
    _importance(''),
    dict(
        name='control_importance',
        label='as many iterations as TargetSaving',
        control_of='importance',
    ),
]
# Scores that say more of rare classes; see projects/efficientnet_lite/class_scores.py.
_LOSS = 'model.decode_head.loss_decode'
_BY_CLASS = {
    f'{_LOSS}.type': 'ClassScoreLoss',
    # the share of the pixels of each class in the training set
    f'{_LOSS}.frequencies': [
        *(0.1754, 0.2422, 0.0102, 0.3296, 0.0467, 0.1013, 0.0122, 0.0117, 0.0611, 0.0067, 0.003)
    ],
    'model.auxiliary_head.loss_decode.score': False,
}
# As many images skipped as with the mean over the pixels, whatever the scores are.
_LOWEST = dict(type='QuantilePruning', quantiles=[0.65], keep=[0.5])
arms += [
    _pruned(_name, _label, options={**_BY_CLASS, f'{_LOSS}.kind': _kind}, infobatch=_infobatch)
    for _name, _kind, _label, _infobatch in (
        ('balanced', 'balanced', 'class-balanced mean', {}),
        (
            'worst',
            'worst',
            'every class below its own mean',
            dict(policy=dict(type='OwnThreshold', fixed=1.0, prune_ratio=0.75)),
        ),
        (
            'rare_apart',
            'rare_apart',
            'images of rare classes never skipped',
            dict(policy=dict(type='OwnThreshold', limit=1000.0, prune_ratio=0.75)),
        ),
        ('balanced_even', 'balanced', 'class-balanced mean, equal saving', dict(policy=_LOWEST)),
        ('worst_even', 'worst', 'the worst class, equal saving', dict(policy=_LOWEST)),
    )
]
# Crops make the scores of images noisy. Each of these was declared before a run of it.
_BALANCED = {**_BY_CLASS, f'{_LOSS}.kind': 'balanced'}
arms += [
    _importance('_balanced', ', class-balanced mean', _BALANCED),
    _importance('_smooth', ', moving average', _SMOOTH),
    _importance('_mild', ', weights up to 2', max_weight=2.0),
    _importance('_balanced_smooth', ', class-balanced moving average', {**_SMOOTH, **_BALANCED}),
    _importance('_shrink', ', shrink', shrink=True),
]
