title = 'Table 5: architectures and data sets'
about = """
Each beside the training on all data of the same network and data.
"""
_PLACES = [
    ('cifar10_r18', 'CIFAR-10, R-18'),
    ('cifar10_r50', 'CIFAR-10, R-50'),
    ('cifar100_r18', 'CIFAR-100, R-18'),
    ('cifar100_r50', 'CIFAR-100, R-50'),
    ('imagenet_r18', 'ImageNet-1k, R-18'),
    ('imagenet_r50', 'ImageNet-1k, R-50'),
]
arms = []
for _place, _label in _PLACES:
    arms += [
        dict(same_as=f'{_place}/all', label=f'{_label}, all data'),
        dict(same_as=f'{_place}/infobatch', label=f'{_label}, InfoBatch', against=f'{_place}/all'),
    ]
