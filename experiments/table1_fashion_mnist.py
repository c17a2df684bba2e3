_base_ = './table1_cifar10.py'

title = 'Table 1 on Fashion-MNIST: dynamic pruning of LeNet-5'
about = """
As table1_cifar10, at a size for a CPU: 20 epochs as the schedule, at the tuned rate of
steps_fashion_mnist. Images are read once, and flipped a batch at a time. Its controls train on all
data for as many iterations as Random* takes.
"""
config = 'projects/images_in_memory/configs/lenet5_1xb128-infobatch_fashion-mnist.py'
seeds = [0, 1, 2, 3, 4]
schedule = 2.0
options = {'param_scheduler.eta_max': 0.1, 'train_cfg.val_interval': 100}  # and at the end
_EPOCHS = 20
_SHARES = [30, 50, 70]
_NOTHING = dict(policy=dict(type='SoftPruning', prune_ratio=0))

arms = [
    dict(name='all', label='all data', infobatch=_NOTHING),
    dict(name='infobatch', label='InfoBatch, default', infobatch={}, expected_saving=0.3),
]
for _arm in _base_.arms[2:]:
    _arm = dict(_arm, paper='', against='all')
    if 'like' in _arm:
        _arm['like'] = 'infobatch'
    _share = _arm['name'].rpartition('_')[2]
    if _share.isdigit():  # of the whole run, in whose first pass nobody skips
        _share = int(_share) / 100 * _EPOCHS / (_EPOCHS - 1)
        _policy = dict(_arm['infobatch'].get('policy', {}))
        if _policy.get('type') == 'OrderDP':
            _policy['top'] = round((1 - _share) / _policy['subset'], 4)
        elif 'prune_ratio' in _policy:
            _policy['prune_ratio'] = round(_share, 4)
        if _policy:
            _arm['infobatch'] = dict(_arm['infobatch'], policy=_policy)
        if _policy.get('type') == 'RandomPruning':
            _arm['expected_saving'] = round(_share * (_EPOCHS - 1) / _EPOCHS, 4)
    arms.append(_arm)
# InfoBatch at an exact budget, and the rule that is new here, without longer steps.
for _name, _label, _settings in (
    (
        'exact_capped',
        'InfoBatch, exact budget, capped',
        [dict(quantile=_quantile, max_weight=10) for _quantile in (0.8, 0.8, 0.95)],
    ),
    ('importance', 'TargetSaving, capped', [{}, {}, dict(max_weight=10)]),
):
    for _share, _more in zip(_SHARES, _settings):
        _policy = dict(_more, type='TargetSaving', saving=_share / 100)
        _arm = dict(name=f'{_name}_{_share}', label=f'{_label}, {_share} %')
        arms.append(dict(_arm, infobatch=dict(policy=_policy, step_length='capped')))
arms += [
    dict(
        name=f'control_{_share}',
        label=f'as many iterations as Random*, {_share} %',
        control_of=f'random_{_share}',
        infobatch=_NOTHING,
    )
    for _share in _SHARES
]
