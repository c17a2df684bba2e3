title = 'What pruning does to LeNet-5 on Fashion-MNIST'
about = """
The components of the rule one by one, what may drive its spread, and other policies: 10 epochs as
the schedule, a peak learning rate of 0.05, on a CPU. "All data" prunes nothing, "fewer epochs" is
that with 0.7 of the epochs, about as many iterations as pruning takes.
"""
config = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
seeds = [0, 1, 2, 3, 4]
_SOFT = dict(type='SoftPruning', prune_ratio=0.5)
_BIASED = dict(_SOFT, rescale=False)
_NORMALIZED = dict(_SOFT, rescale='normalized')
_QUANTILE = dict(type='QuantilePruning', quantiles=[0.2, 0.85], keep=[0.25, 0.5])
_TARGET = dict(type='TargetSaving', saving=0.4)
_RANDOM = dict(type='RandomPruning', prune_ratio=0.35)
_STRATIFIED = {'train_dataloader.sampler.stratify': True}

# Name, label, --infobatch-options, --cfg-options.
_ARMS = [
    ('soft', 'SoftPruning', dict(policy=_SOFT), {}),
    # Table 3 of the paper: rescaling and annealing, off one by one; Random* is its first row.
    ('soft_no_annealing', 'SoftPruning, no annealing', dict(policy=_SOFT, delta=1), {}),
    ('soft_no_rescaling', 'SoftPruning, no rescaling', dict(policy=_BIASED), {}),
    ('soft_neither', 'SoftPruning, neither', dict(policy=_BIASED, delta=1), {}),
    ('random', 'RandomPruning', dict(policy=_RANDOM, delta=1), {}),
    # Table 4: prune above the mean.
    ('soft_reverse', 'SoftPruning, reverse', dict(policy=dict(_SOFT, reverse=True)), {}),
    # What may drive the spread, one by one: longer steps, uneven batches, stale scores, too short
    # an annealing, too early a start, weight variance.
    ('soft_normalized', 'SoftPruning, normalized', dict(policy=_NORMALIZED), {}),
    ('soft_stratified', 'SoftPruning, stratified', dict(policy=_SOFT), _STRATIFIED),
    (
        'soft_normalized_stratified',
        'SoftPruning, normalized and stratified',
        dict(policy=_NORMALIZED),
        _STRATIFIED,
    ),
    (
        'soft_smoothed',
        'SoftPruning, smoothed',
        dict(policy=_SOFT),
        {'train_dataloader.sampler.score_smoothing': 0.5},
    ),
    ('soft_delta0.7', 'SoftPruning, delta 0.7', dict(policy=_SOFT, delta=0.7), {}),
    ('soft_delta0.5', 'SoftPruning, delta 0.5', dict(policy=_SOFT, delta=0.5), {}),
    (
        'soft_warmup',
        'SoftPruning, warm-up',
        dict(policy=_SOFT),
        {'train_dataloader.sampler.warmup_passes': 3},
    ),
    ('quantile', 'QuantilePruning', dict(policy=_QUANTILE), {}),
    (
        'quantile_normalized',
        'QuantilePruning, normalized',
        dict(policy=dict(_QUANTILE, rescale='normalized')),
        {},
    ),
    ('target', 'TargetSaving', dict(policy=_TARGET), {}),
    (
        'target_max_weight2.5',
        'TargetSaving, max_weight 2.5',
        dict(policy=dict(_TARGET, max_weight=2.5)),
        {},
    ),
    (
        'target_normalized',
        'TargetSaving, normalized',
        dict(policy=dict(_TARGET, rescale='normalized')),
        {},
    ),
    (
        'target_normalized_stratified',
        'TargetSaving, normalized and stratified',
        dict(policy=dict(_TARGET, rescale='normalized')),
        _STRATIFIED,
    ),
    ('eps_greedy', 'EpsilonGreedy', dict(policy=dict(_RANDOM, type='EpsilonGreedy')), {}),
    ('ucb', 'UCB', dict(policy=dict(_RANDOM, type='UCB')), {}),
    (
        'static',
        'StaticRandom',
        dict(policy=dict(type='StaticRandom', keep=0.65), delta=1),
        {},
    ),
]
_NOTHING = dict(policy=dict(_SOFT, prune_ratio=0))
arms = [
    dict(name='all', label='all data', infobatch=_NOTHING),
    dict(name='fewer_epochs', label='fewer epochs', infobatch=_NOTHING, schedule=0.7),
] + [
    dict(name=_name, label=_label, infobatch=_infobatch, options=_options)
    for _name, _label, _infobatch, _options in _ARMS
]
