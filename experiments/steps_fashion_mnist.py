title = 'How long steps are: LeNet-5 on Fashion-MNIST'
about = """
20 epochs as the schedule, on a CPU; the test images are looked at once, at the end. The peak
learning rate is the one that is best for all data on a split of the training set, see
steps_fashion_mnist_tune.
"""
config = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
seeds = [0, 1, 2, 3, 4]
schedule = 2.0
_RATE = 0.1
options = {'param_scheduler.eta_max': _RATE, 'train_cfg.val_interval': 100}  # and at the end
_NOTHING = dict(policy=dict(type='SoftPruning', prune_ratio=0))
_IMPORTANCE = dict(policy=dict(type='TargetSaving', saving=0.3), step_length='capped')
_RANDOM = dict(policy=dict(type='RandomPruning', prune_ratio=0.3), delta=1)
_C = 1.5  # about N/K of a pruned pass
_LENGTHS = [
    ('paper', "the paper's length", 'paper'),
    ('normalized', 'normalized', 'normalized'),
    ('capped', 'capped', 'capped'),
    ('constant', 'at most 1.2', 1.2),
]
arms = [
    dict(name='all', label='all data', infobatch=_NOTHING),
    *(
        dict(
            name=_name,
            label=f'InfoBatch, {_label}',
            infobatch=dict(step_length=_length),
            expected_saving=0.3,
        )
        for _name, _label, _length in _LENGTHS
    ),
    # As many iterations as pruning takes, on all data: at the same rate, and with as long steps.
    dict(
        name='control',
        label='as many iterations on all data',
        infobatch=_NOTHING,
        control_of='paper',
    ),
    dict(
        name='control_longer',
        label=f'the same, {_C} times the learning rate',
        infobatch=_NOTHING,
        control_of='paper',
        options={'param_scheduler.eta_max': round(_C * _RATE, 4)},
    ),
    dict(name='random', label='Random*', infobatch=_RANDOM, saving_of='paper'),
    # Chosen by importance, at a saving that is given, and what all data make of as many iterations.
    dict(
        name='importance',
        label='TargetSaving, 30 %, capped',
        infobatch=_IMPORTANCE,
        expected_saving=0.3,
    ),
    dict(
        name='control_importance',
        label='as many iterations as TargetSaving',
        infobatch=_NOTHING,
        control_of='importance',
    ),
    # The same at less saving, with scores that vary less.
    dict(
        name='importance_smooth_25',
        label='TargetSaving, 25 %, capped, moving average',
        infobatch=dict(_IMPORTANCE, policy=dict(type='TargetSaving', saving=0.25)),
        options={'train_dataloader.sampler.score_smoothing': 0.8},
        expected_saving=0.25,
    ),
    dict(
        name='control_25',
        label='as many iterations as at 25 %',
        infobatch=_NOTHING,
        control_of='importance_smooth_25',
    ),
    # The same saving, with scores as far as they predict losses.
    dict(
        name='importance_shrink_25',
        label='TargetSaving, 25 %, capped, shrink',
        infobatch=dict(_IMPORTANCE, policy=dict(type='TargetSaving', saving=0.25, shrink=True)),
        expected_saving=0.25,
    ),
    # At the cost of all data: more epochs.
    *(
        dict(
            name=f'{_name}_more',
            label=f'InfoBatch, {_label}, as many samples as all data',
            infobatch=dict(step_length=_length),
            samples=1.0,
            like=_name,
        )
        for _name, _label, _length in _LENGTHS[:3]
    ),
]
