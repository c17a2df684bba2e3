_base_ = './steps_fashion_mnist.py'

title = 'How long steps are: LeNet-5 on gray CIFAR-10'
about = """
20 epochs as the schedule, on a CPU; the test images are looked at once, at the end. The peak
learning rate is the one that is best for all data on a split of the training set, see
steps_cifar10_gray_tune. Images are read once, and cropped and flipped a batch at a time.
"""
config = 'projects/images_in_memory/configs/lenet5_1xb128-infobatch_cifar10-gray.py'
factors = {'param_scheduler.eta_max': 0.5}  # of 0.1, the rate of the base
