_base_ = './steps_cifar10_gray.py'

title = 'How long steps are: LeNet-5 on gray CIFAR-10, half the learning rate'
about = """
As steps_cifar10_gray, at half the tuned learning rate.
"""
factors = {'param_scheduler.eta_max': 0.25}  # of 0.1: half of the tuned 0.05
