_base_ = './steps_cifar10_r14_tune.py'

title = 'The learning rate of LeNet-5 on gray CIFAR-10'
about = """
All data, 20 epochs, on a CPU, with the split of the training set of steps_cifar10_r14_tune. The
peak learning rate that is best here is the tuned one of steps_cifar10_gray.
"""
config = 'configs/lenet/lenet5_1xb128-infobatch_cifar10-gray.py'
schedule = 2.0
options = {'train_cfg.val_interval': 20}
arms = [
    dict(_arm, options={'param_scheduler.eta_max': _arm['options']['param_scheduler.0.eta_max']})
    for _arm in _base_.arms
]
arms.append(
    dict(
        arms[0],
        name='lr0.025',
        label='peak learning rate 0.025',
        options={'param_scheduler.eta_max': 0.025},
    )
)
