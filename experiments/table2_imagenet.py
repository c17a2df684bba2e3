title = 'Table 2: what choosing costs, ResNet-50 on ImageNet-1k'
about = """
At 30 %, with mmpretrain's recipe of 100 epochs and not the paper's of 90; for 8 GPUs. Extra time is
what the record of a run says: keeping its losses and planning its passes, the scores of its
samples, and the training of what they are of (10 epochs; ten runs for EL2N). Graph Cut selects per
class.
"""
config = 'configs/resnet/resnet50_8xb32-infobatch_in1k.py'
seeds = [0]
gpus = 8
batch = 256
_BASELINE = 'imagenet_r50/all'
_TEN = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
_KEPT = dict(delta=1, policy=dict(type='FromFile', keep=0.7))
arms = [
    dict(same_as=_BASELINE, label='all data', paper='0 h'),
    dict(same_as='imagenet_r50/infobatch', against=_BASELINE, paper='0.002 h'),
    dict(
        name='ucb',
        label='UCB',
        against=_BASELINE,
        infobatch=dict(delta=1, policy=dict(type='UCB', prune_ratio=0.303)),
        paper='0.04 h',
    ),
    dict(
        name='selection',
        label='10 epochs, to select by',
        against=_BASELINE,
        infobatch=dict(policy=dict(type='SoftPruning', prune_ratio=0)),
        schedule=0.1,
        seeds=_TEN,
        keep_checkpoints=True,
    ),
    dict(
        name='graph_cut',
        label='Graph Cut',
        against=_BASELINE,
        infobatch=_KEPT,
        scores=dict(method='graph_cut', of='selection', epochs=[10], options=['--keep', '0.7']),
        paper='> 24 h',
    ),
    dict(
        name='el2n',
        label='EL2N',
        against=_BASELINE,
        infobatch=_KEPT,
        scores=dict(method='el2n', of='selection', epochs=[10], seeds=_TEN),
        paper='> 17.5 h',
    ),
]
