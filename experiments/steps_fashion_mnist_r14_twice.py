_base_ = './steps_fashion_mnist_r14.py'

title = 'How long steps are: slim ResNet-14 on Fashion-MNIST, twice the learning rate'
about = """
As steps_fashion_mnist_r14, at twice the tuned learning rate.
"""
_KEY = 'param_scheduler.0.eta_max'
_FACTOR = 2
options = {_KEY: _FACTOR * _base_.options[_KEY]}
arms = [
    dict(_arm, options={_KEY: _FACTOR * _arm['options'][_KEY]}) if 'options' in _arm else _arm
    for _arm in _base_.arms
]
