_base_ = './steps_cifar10_gray.py'

title = 'How long steps are: LeNet-5 on gray CIFAR-10, twice the learning rate'
about = """
As steps_cifar10_gray, at twice the tuned learning rate.
"""
factors = {'param_scheduler.eta_max': 1.0}  # of 0.1: twice the tuned 0.05
