_base_ = './steps_cifar10_gray.py'

title = 'How long steps are: LeNet-5 on CIFAR-10 in shades of gray, twice the learning rate'
about = """
As steps_cifar10_gray, at twice the tuned learning rate.
"""
_KEY = 'param_scheduler.eta_max'
_FACTOR = 2
options = {_KEY: _FACTOR * _base_.options[_KEY]}
arms = [
    dict(_arm, options={_KEY: _FACTOR * _arm['options'][_KEY]}) if 'options' in _arm else _arm
    for _arm in _base_.arms
]
