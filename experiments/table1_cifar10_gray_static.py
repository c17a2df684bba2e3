_base_ = './table1_fashion_mnist_static.py'

title = 'Table 1 on gray CIFAR-10: static pruning of LeNet-5'
about = """
As table1_fashion_mnist_static, at the tuned rate of steps_cifar10_gray.
"""
config = 'projects/images_in_memory/configs/lenet5_1xb128-infobatch_cifar10-gray.py'
factors = {'param_scheduler.eta_max': 0.5}  # of 0.1, the rate of the base

arms = []
for _arm in _base_.arms:
    _arm = dict(_arm)
    for _key in ('same_as', 'against'):
        if _key in _arm:
            _arm[_key] = _arm[_key].replace('fashion_mnist', 'cifar10_gray')
    if _arm.get('name') == 'selection':
        _arm['config'] = 'configs/lenet/lenet5_1xb128-infobatch_cifar10-gray.py'
    arms.append(_arm)
