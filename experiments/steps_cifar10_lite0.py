_base_ = './steps_fashion_mnist.py'

title = 'How long steps are: EfficientNet-Lite0 on CIFAR-10, from ImageNet weights'
about = """
10 epochs of a fifth of the training set as the schedule, on a CPU; the test images are looked at
once, at the end. The learning rate is the one that is best for all data on another fifth of the
training set, see steps_cifar10_lite0_tune.
"""
config = 'projects/efficientnet_lite/configs/efficientnet-lite0_1xb128-infobatch_cifar10-64px.py'
schedule = 1.0
_RATE = 0.05
_OPTION = 'optim_wrapper.optimizer.lr'
options = {'_delete_': True, _OPTION: _RATE}
arms = [
    dict(_arm, options={_OPTION: round(1.5 * _RATE, 4)})
    if _arm['name'] == 'control_longer'
    else _arm
    for _arm in _base_.arms
]
