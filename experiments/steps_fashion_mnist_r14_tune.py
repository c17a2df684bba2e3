_base_ = './steps_fashion_mnist_tune.py'

title = 'The learning rate of slim ResNet-14 on Fashion-MNIST'
about = """
All data, 12 epochs, on a CPU. Trained on the first 50,000 images of the training set and validated
on its last 10,000: the peak learning rate that is best here is the tuned one of
steps_fashion_mnist_r14.
"""
config = 'configs/resnet/resnet14-slim_1xb128-infobatch_fashion-mnist.py'
schedule = 1.0
options = {'train_cfg.val_interval': 12}
arms = [
    dict(_arm, options={'param_scheduler.0.eta_max': _arm['options']['param_scheduler.eta_max']})
    for _arm in _base_.arms
]
