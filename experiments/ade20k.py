title = 'UperNet-R50 on ADE20K'
about = """
512x512 crops, 16 images a batch, for 4 to 8 GPUs (Fig. 4a and b). Each pruned run stands beside one
of as many iterations on all data. See [how to run it](ade20k.md).
"""
_AT = 'configs/upernet/upernet_r50_4xb4-{}_ade20k-512x512.py'
config = _AT.format('80k')
seeds = [0]
gpus = 4
batch = 16
drawn = 'ade20k'
_QUANTILE = dict(policy=dict(type='QuantilePruning', quantiles=[0.2, 0.85], keep=[0.25, 0.5]))

arms = [
    dict(name='80k', label='80k, all data', paper='40.70 (zoo)'),
    dict(
        name='80k_infobatch',
        label='80k, InfoBatch',
        config=_AT.format('infobatch-80k'),
        infobatch={},
        expected_saving=0.2,
        against='80k',
    ),
    dict(
        name='80k_control',
        label='80k, as many iterations as InfoBatch',
        control_of='80k_infobatch',
        against='80k',
    ),
    dict(
        name='80k_quantile',
        label='80k, quantiles (40 %)',
        infobatch={},
        config=_AT.format('infobatch-quantile-80k'),
        expected_saving=0.4,
        against='80k',
    ),
    dict(
        name='80k_control_quantile',
        label='80k, as many iterations as quantiles',
        control_of='80k_quantile',
        against='80k',
    ),
    dict(
        name='64k_iterations',
        label="64k iterations, InfoBatch (the paper's way)",
        infobatch={},
        config=_AT.format('infobatch-iterbudget-64k'),
        against='80k',
        paper='no loss (Fig. 4)',
    ),
    dict(name='64k', label='64k iterations, all data', config=_AT.format('64k'), against='80k'),
    dict(name='160k', label='160k, all data', config=_AT.format('160k'), paper='42.05 (zoo)'),
    dict(
        name='160k_infobatch',
        label='160k, InfoBatch',
        config=_AT.format('infobatch-160k'),
        infobatch={},
        expected_saving=0.2,
        against='160k',
    ),
    dict(
        name='160k_control',
        label='160k, as many iterations as InfoBatch',
        against='160k',
        config=_AT.format('160k'),
        control_of='160k_infobatch',
    ),
    dict(
        name='160k_quantile',
        label='160k, quantiles (40 %)',
        expected_saving=0.4,
        config=_AT.format('infobatch-160k'),
        infobatch=_QUANTILE,
        against='160k',
    ),
    dict(
        name='160k_control_quantile',
        label='160k, as many iterations as quantiles',
        config=_AT.format('160k'),
        control_of='160k_quantile',
        against='160k',
    ),
]
figures = [
    dict(kind='curves', name='80k', arms=['80k', '80k_infobatch', '80k_control', '80k_quantile']),
    dict(kind='curves', name='64k', arms=['80k', '64k_iterations', '64k']),
    dict(
        kind='curves', name='160k', arms=['160k', '160k_infobatch', '160k_control', '160k_quantile']
    ),
    dict(kind='time', arms=['80k', '80k_infobatch', '80k_quantile']),
    dict(kind='pruned', arm='80k_infobatch'),
]
