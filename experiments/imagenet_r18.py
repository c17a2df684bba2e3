title = 'ResNet-18 on ImageNet-1k'
about = """
mmpretrain's recipe of 100 epochs (SGD, steps), which is not the paper's (OneCycle and LARS, 90
epochs); for 8 GPUs.
"""
config = 'configs/resnet/resnet18_8xb32_in1k.py'
seeds = [0]
gpus = 8
batch = 256
arms = [
    dict(name='all', label='all data', paper='70.5'),
    dict(
        name='infobatch',
        label='InfoBatch',
        infobatch={},
        expected_saving=0.26,
        paper='70.4, saving 26.1 %',
        config='configs/resnet/resnet18_8xb32-infobatch_in1k.py',
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control']),
    dict(kind='time', arms=['all', 'infobatch', 'control']),  # Fig. 4c
    dict(kind='pruned', arm='infobatch'),  # Fig. 4d
]
