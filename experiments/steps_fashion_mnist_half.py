_base_ = './steps_fashion_mnist.py'

title = 'How long steps are: LeNet-5 on Fashion-MNIST, half the learning rate'
about = """
As steps_fashion_mnist, at half the tuned learning rate. Images are read once, and flipped a
batch at a time.
"""
config = 'projects/images_in_memory/configs/lenet5_1xb128-infobatch_fashion-mnist.py'
factors = {'param_scheduler.eta_max': 0.5}
