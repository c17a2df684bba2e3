_base_ = './steps_fashion_mnist_r14.py'

title = 'How long steps are: slim ResNet-14 on Fashion-MNIST, twice the learning rate'
about = """
As steps_fashion_mnist_r14, at twice the tuned learning rate.
"""
seeds = [0, 1, 2, 3, 4]
factors = {'param_scheduler.0.eta_max': 2}
