title = 'LeNet-5 on Fashion-MNIST, peak learning rate 0.2'
about = """
As above with four times the learning rate, which training on all data bears and pruned training
does not. Stopped after two seeds.
"""
config = 'configs/lenet/lenet5_1xb128_fashion-mnist.py'
seeds = [0, 1]
options = {'param_scheduler.eta_max': 0.2}
_INFOBATCH = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'

arms = [
    dict(name='all', label='all data'),
    dict(
        name='infobatch', label='InfoBatch', config=_INFOBATCH, infobatch={}, expected_saving=0.307
    ),
    dict(name='control', label='as many iterations on all data', control_of='infobatch'),
]
figures = [dict(kind='curves', arms=['all', 'infobatch', 'control'])]
