title = 'Slim UperNet on CamVid, twice as long'
about = """
10,000 iterations as the schedule, all else as in `camvid`: does the difference to all data shrink
when the network has had more time?
"""
config = 'configs/upernet/upernet_r18-slim_1xb8-5k_camvid-128x160.py'
seeds = [0, 1, 2]
schedule = 2.0
options = {'train_cfg.val_interval': 1000, 'default_hooks.checkpoint.interval': 1000}

arms = [
    dict(name='all', label='all data'),
    dict(name='infobatch', label='InfoBatch', infobatch={}, expected_saving=0.285,
         config='configs/upernet/upernet_r18-slim_1xb8-infobatch-5k_camvid-128x160.py'),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
]
figures = [
    dict(kind='curves', arms=['all', 'infobatch', 'control']),
]
