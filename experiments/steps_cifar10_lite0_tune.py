title = 'The learning rate of EfficientNet-Lite0 on CIFAR-10, from ImageNet weights'
about = """
All data, 10 epochs of a fifth of the training set, on a CPU. Validated on another fifth: the
learning rate that is best here is the tuned one of steps_cifar10_lite0.
"""
config = 'projects/efficientnet_lite/configs/efficientnet-lite0_1xb128-infobatch_cifar10-64px.py'
seeds = [0]
baseline = 'lr0.05'
options = {
    'val_dataloader.dataset.dataset.data_prefix': 'train',
    'val_dataloader.dataset.part': (0, 5),
}
_NOTHING = dict(policy=dict(type='SoftPruning', prune_ratio=0))
arms = [
    dict(
        name=f'lr{_rate:g}',
        label=f'peak learning rate {_rate:g}',
        infobatch=_NOTHING,
        options={'optim_wrapper.optimizer.lr': _rate},
    )
    for _rate in (0.05, 0.02, 0.1, 0.2)
]
