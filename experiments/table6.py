title = 'Table 6: optimizers, ResNet-50 on CIFAR-10'
about = """
The paper gives no learning rates for these; the peaks here are this repository's choice (LARS: of
the authors' command for CIFAR-100), the same with and without InfoBatch.
"""
config = 'configs/resnet/resnet50_1xb128_cifar10.py'
seeds = [0, 1, 2]
_INFOBATCH = 'configs/resnet/resnet50_1xb128-infobatch_cifar10.py'
_OPTIMIZERS = [
    ('sgd', 'SGD', dict(type='SGD', momentum=0.9, weight_decay=5e-4), 0.05, '95.6', '95.6'),
    ('adam', 'Adam', dict(type='Adam', weight_decay=0.0), 0.001, '94.3', '94.5'),
    ('radam', 'RAdam', dict(type='RAdam', weight_decay=0.0), 0.001, '95.0', '95.0'),
    ('lamb', 'LAMB', dict(type='Lamb', weight_decay=0.01), 0.01, '95.0', '95.0'),
]
_SAVED = dict(sgd=0.391, adam=0.375, radam=0.374, lamb=0.39)
arms = [
    dict(same_as='cifar10_r50/all', label='LARS, all data', paper='95.5'),
    dict(
        same_as='cifar10_r50/infobatch',
        label='LARS, InfoBatch',
        against='cifar10_r50/all',
        paper='95.5, saving 38.3 %',
    ),
]
for _name, _label, _optimizer, _peak, _full, _pruned in _OPTIMIZERS:
    _options = {'optim_wrapper.optimizer._delete_': True, 'param_scheduler.0.eta_max': _peak}
    _options['optim_wrapper.optimizer.lr'] = _peak / 25
    for _key, _value in _optimizer.items():
        _options[f'optim_wrapper.optimizer.{_key}'] = _value
    arms += [
        dict(name=f'{_name}_all', label=f'{_label}, all data', options=_options, paper=_full),
        dict(
            name=f'{_name}_infobatch',
            label=f'{_label}, InfoBatch',
            options=_options,
            config=_INFOBATCH,
            infobatch={},
            against=f'{_name}_all',
            paper=f'{_pruned}, saving {100 * _SAVED[_name]:.1f} %',
        ),
    ]
