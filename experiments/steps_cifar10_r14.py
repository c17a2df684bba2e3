_base_ = './steps_fashion_mnist_r14.py'

title = 'How long steps are: slim ResNet-14 on CIFAR-10'
about = """
12 epochs as the schedule, on a CPU; the test images are looked at once, at the end. The peak
learning rate is the one that is best for all data on a split of the training set, see
steps_cifar10_r14_tune.
"""
seeds = [0, 1, 2, 3, 4]
config = 'configs/resnet/resnet14-slim_1xb128-infobatch_cifar10-png.py'
