_base_ = './steps_cifar10_r14.py'

title = 'How long steps are: slim ResNet-14 on CIFAR-10, half the learning rate'
about = """
As steps_cifar10_r14, at half the tuned learning rate.
"""
factors = {'param_scheduler.0.eta_max': 0.5}
