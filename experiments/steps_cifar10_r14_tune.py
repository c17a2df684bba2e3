_base_ = './steps_fashion_mnist_r14_tune.py'

title = 'The learning rate of slim ResNet-14 on CIFAR-10'
about = """
All data, 12 epochs, on a CPU. Trained on four fifths of the training set, validated on the others:
data/cifar10/tune_train and tune_val hold links to the images of data/cifar10/train, an image whose
number is divisible by 5 in tune_val. The peak learning rate that is best here is the tuned one of
steps_cifar10_r14.
"""
config = 'configs/resnet/resnet14-slim_1xb128-infobatch_cifar10-png.py'
options = {
    '_delete_': True,
    'train_cfg.val_interval': 12,
    'train_dataloader.dataset.data_prefix': 'tune_train',
    'val_dataloader.dataset.data_prefix': 'tune_val',
}
