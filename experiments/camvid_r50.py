title = 'UperNet-R50 on CamVid'
about = """
The network, crops, batch and learning rate of the ADE20K runs (512x512, 16 images a batch) with
mixed precision, 4,000 iterations as the schedule, scored on the test split. For one GPU.
"""
config = 'configs/upernet/upernet_r50_1xb16-4k_camvid-512x512.py'
seeds = [0, 1, 2]
batch = 16
amp = True
drawn = 'ade20k'
_INFOBATCH = 'configs/upernet/upernet_r50_1xb16-infobatch-4k_camvid-512x512.py'

arms = [
    dict(name='all', label='all data'),
    dict(
        name='infobatch', label='InfoBatch', config=_INFOBATCH, infobatch={}, expected_saving=0.28
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
    dict(
        name='quantile',
        label='InfoBatch, quantiles (40 %)',
        config=_INFOBATCH,
        infobatch=dict(
            policy=dict(type='QuantilePruning', quantiles=[0.2, 0.85], keep=[0.25, 0.5])
        ),
        expected_saving=0.41,
    ),
    dict(name='control_quantile', label='as many iterations as quantiles', control_of='quantile'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control', 'quantile', 'control_quantile']),
    dict(kind='time', arms=['all', 'infobatch', 'control', 'quantile', 'control_quantile']),
    dict(kind='pruned', arm='infobatch'),
]
