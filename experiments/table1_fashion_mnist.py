_base_ = './table1_cifar10.py'

title = 'Table 1 on Fashion-MNIST: dynamic pruning of LeNet-5'
about = """
As table1_cifar10, at a size for a CPU: 20 epochs as the schedule, at the tuned rate of
steps_fashion_mnist. Its controls train on all data for as many iterations as Random* takes.
"""
config = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
seeds = [0, 1, 2, 3, 4]
schedule = 2.0
options = {'param_scheduler.eta_max': 0.1, 'train_cfg.val_interval': 100}  # and at the end
_EPOCHS = 20
_OTHER = dict(against='steps_fashion_mnist/all', like='steps_fashion_mnist/paper')
_NOTHING = dict(policy=dict(type='SoftPruning', prune_ratio=0))

arms = [
    dict(same_as='steps_fashion_mnist/all', label='all data'),
    dict(
        same_as='steps_fashion_mnist/paper',
        label='InfoBatch, default',
        against='steps_fashion_mnist/all',
    ),
]
for _arm in _base_.arms[2:]:
    _arm = dict(_arm, paper='', **{key: _OTHER[key] for key in _OTHER if key in _arm})
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
arms += [
    dict(
        name=f'control_{_share}',
        label=f'as many iterations as Random*, {_share} %',
        control_of=f'random_{_share}',
        against='steps_fashion_mnist/all',
        infobatch=_NOTHING,
    )
    for _share in (30, 50, 70)
]
