title = 'Table 4: where to prune, ResNet-50 on CIFAR-100'
about = """
Below the mean loss, as InfoBatch does, or above it, r = 0.5.
"""
config = 'configs/resnet/resnet50_1xb128-infobatch_cifar100.py'
seeds = [0, 1, 2]
arms = [
    dict(same_as='cifar100_r50/all', label='all data', paper='80.6'),
    dict(
        same_as='cifar100_r50/infobatch',
        label='below the mean',
        against='cifar100_r50/all',
        paper='80.6, saving 33 %',
    ),
    dict(
        name='above',
        label='above the mean',
        against='cifar100_r50/all',
        infobatch=dict(policy=dict(type='SoftPruning', prune_ratio=0.5, reverse=True)),
        paper='80.5, saving 16 %',
    ),
]
