_base_ = './steps_fashion_mnist.py'

title = 'How long steps are: slim ResNet-14 on Fashion-MNIST'
about = """
12 epochs as the schedule, on a CPU; the test images are looked at once, at the end. The peak
learning rate is the one that is best for all data on a split of the training set, see
steps_fashion_mnist_r14_tune. Five seeds left the interval of normalized steps 0.05 below the bar;
every arm gets five more, and all ten count.
"""
config = 'configs/resnet/resnet14-slim_1xb128-infobatch_fashion-mnist.py'
seeds = list(range(10))
schedule = 1.0
_RATE = 0.4
_OPTION = 'param_scheduler.0.eta_max'
options = {'_delete_': True, _OPTION: _RATE, 'train_cfg.val_interval': 100}  # and at the end
arms = [
    dict(_arm, options={_OPTION: round(1.5 * _RATE, 4)})
    if _arm['name'] == 'control_longer'
    else _arm
    for _arm in _base_.arms
]
