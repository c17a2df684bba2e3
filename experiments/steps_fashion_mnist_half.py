_base_ = './steps_fashion_mnist.py'

title = 'How long steps are: LeNet-5 on Fashion-MNIST, half the learning rate'
about = """
As steps_fashion_mnist, at half the tuned learning rate.
"""
factors = {'param_scheduler.eta_max': 0.5}
