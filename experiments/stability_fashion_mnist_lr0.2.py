title = 'What pruning does to LeNet-5 on Fashion-MNIST, peak learning rate 0.2'
about = """
Four times the learning rate of stability_fashion_mnist, whose arms these are.
"""
config = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
options = {'param_scheduler.eta_max': 0.2}
seeds = [0, 1, 2, 3, 4]
_SOFT = dict(type='SoftPruning', prune_ratio=0.5)
_TARGET = dict(type='TargetSaving', saving=0.4)
_NOTHING = dict(policy=dict(_SOFT, prune_ratio=0))
arms = [
    dict(name='all', label='all data', infobatch=_NOTHING),
    dict(name='fewer_epochs', label='fewer epochs', infobatch=_NOTHING, schedule=0.7),
    dict(name='soft', label='SoftPruning', infobatch=dict(policy=_SOFT)),
    dict(
        name='soft_normalized',
        label='SoftPruning, normalized',
        infobatch=dict(policy=dict(_SOFT, rescale='normalized')),
    ),
    dict(
        name='soft_delta0.7',
        label='SoftPruning, delta 0.7',
        infobatch=dict(policy=_SOFT, delta=0.7),
        seeds=[0, 1],
    ),
    dict(
        name='target_normalized',
        label='TargetSaving, normalized',
        infobatch=dict(policy=dict(_TARGET, rescale='normalized')),
    ),
]
