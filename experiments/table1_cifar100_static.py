_base_ = './table1_cifar10_static.py'

title = 'Table 1: static pruning of CIFAR-100, ResNet-18'
about = """
As table1_cifar10_static.
"""
config = 'configs/resnet/resnet18_1xb128-infobatch_cifar100.py'
_BASELINE = 'cifar100_r18/all'
# The paper's accuracies at 30, 50 and 70 %.
_PAPER = {
    'random': ('73.8', '72.1', '69.7'),
    'contextual_diversity': ('74.2', '72.3', '70.3'),
    'herding': ('73.1', '71.8', '69.6'),
    'k_center': ('74.1', '72.2', '70.2'),
    'least_confidence': ('74.2', '72.3', '69.8'),
    'margin': ('74.0', '72.2', '70.2'),
    'forgetting': ('75.3', '73.1', '69.9'),
    'grand': ('74.6', '71.4', '68.8'),
    'deepfool': ('74.2', '73.2', '69.8'),
    'craig': ('74.4', '71.9', '69.7'),
    'glister': ('74.6', '73.2', '70.4'),
    'influence': ('74.4', '72.0', '68.9'),
    'el2n': ('74.1', '71.0', '68.5'),
    'dp': ('77.2', '73.1', ''),
}
_SHARES = ['30', '50', '70']

arms = [dict(same_as=_BASELINE, label='all data')]
for _arm in _base_.arms[1:]:
    _method, _, _share = _arm['name'].rpartition('_')
    _paper = _PAPER.get(_method, ('', '', ''))
    _found = _paper[_SHARES.index(_share)] if _share in _SHARES else ''
    arms.append(dict(_arm, against=_BASELINE, paper=_found))
