title = 'Slim UperNet on CamVid'
about = """
ResNet-18 with a quarter of the channels, from scratch, 5,000 iterations of 8 crops of 128x160 as
the schedule, scored on the test split, on a CPU.
"""
config = 'configs/upernet/upernet_r18-slim_1xb8-5k_camvid-128x160.py'
seeds = [0, 1, 2, 3, 4]
_FEWER = [0, 1, 2]
_INFOBATCH = 'configs/upernet/upernet_r18-slim_1xb8-infobatch-5k_camvid-128x160.py'

arms = [
    dict(name='all', label='all data'),
    dict(
        name='infobatch', label='InfoBatch', config=_INFOBATCH, infobatch={}, expected_saving=0.285
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
        seeds=_FEWER,
    ),
    dict(
        name='control_quantile',
        label='as many iterations as quantiles',
        control_of='quantile',
        seeds=_FEWER,
    ),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control', 'quantile', 'control_quantile']),
    dict(kind='time', arms=['all', 'infobatch', 'control', 'quantile', 'control_quantile']),
    dict(kind='pruned', arm='infobatch'),
]
