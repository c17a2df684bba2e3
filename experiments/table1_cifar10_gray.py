_base_ = './table1_fashion_mnist.py'

title = 'Table 1 on gray CIFAR-10: dynamic pruning of LeNet-5'
about = """
As table1_fashion_mnist, at the tuned rate of steps_cifar10_gray. The training loss stays high.
"""
config = 'projects/images_in_memory/configs/lenet5_1xb128-infobatch_cifar10-gray.py'
factors = {'param_scheduler.eta_max': 0.5}  # of 0.1, the rate of the base
