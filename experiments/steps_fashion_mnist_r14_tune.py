title = 'The learning rate of slim ResNet-14 on Fashion-MNIST'
about = """
All data, 12 epochs, on a CPU. Trained on the first 50,000 images of the training set and validated
on its last 10,000: the peak learning rate that is best here is the tuned one of
steps_fashion_mnist_r14.
"""
config = 'configs/resnet/resnet14-slim_1xb128-infobatch_fashion-mnist.py'
seeds = [0, 1]
baseline = 'lr0.1'
options = {
    'train_cfg.val_interval': 12,
    'train_dataloader.dataset.indices': 50000,
    'val_dataloader.dataset.split': 'train',
    'val_dataloader.dataset.test_mode': False,
    'val_dataloader.dataset.indices': -10000,
}
_NOTHING = dict(policy=dict(type='SoftPruning', prune_ratio=0))
arms = [
    dict(
        name=f'lr{_rate:g}',
        label=f'peak learning rate {_rate:g}',
        infobatch=_NOTHING,
        options={'param_scheduler.0.eta_max': _rate},
    )
    for _rate in (0.1, 0.05, 0.2, 0.4, 0.8)
]
