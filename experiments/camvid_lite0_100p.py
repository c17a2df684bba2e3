_base_ = './camvid_lite0.py'

title = 'UperNet-Lite0 on CamVid, pretrained, 100 passes'
about = """
As camvid_lite0, in 100 passes, as 40 are no plateau. The learning rate is that of camvid_lite0.
The moving average with importance at 25 % was declared after two runs of it at 30 %, before a run
of its own; it and all data have ten seeds, as five leave an interval as wide as the bar.
"""
schedule = 1.0
_SMOOTH = next(_arm for _arm in _base_.arms if _arm['name'] == 'importance_smooth')
_TEN = list(range(10))
arms = [dict(_arm, seeds=_TEN) if _arm['name'] == 'all' else _arm for _arm in _base_.arms]
arms += [
    dict(
        _SMOOTH,
        name='importance_smooth_25',
        label='TargetSaving, 25 %, capped, moving average',
        infobatch=dict(_SMOOTH['infobatch'], policy=dict(type='TargetSaving', saving=0.25)),
        expected_saving=0.25,
        seeds=_TEN,
    ),
    dict(
        name='control_25',
        label='as many iterations as at 25 %',
        control_of='importance_smooth_25',
    ),
]
