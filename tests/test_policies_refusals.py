"""What a policy refuses, with what was given and the line to change."""

import numpy as np
import pytest
from policies import seeded, skewed
from small_runner import Numbered

from mm_infobatch import PRUNING_POLICIES, InfoBatchSampler
from mm_infobatch.policies import Plan

NAN = float('nan')


@pytest.mark.parametrize(
    'kind, arguments, error, words',
    [
        ('SoftPruning', dict(threshold='max'), ValueError, "threshold='max'"),
        ('SoftPruning', dict(threshold=1.0), ValueError, 'threshold=1.0'),
        ('SoftPruning', dict(threshold=None), TypeError, 'None'),
        ('SoftPruning', dict(reverse=1), TypeError, 'reverse'),
        ('SoftPruning', dict(rescale='yes'), ValueError, "rescale='yes'"),
        ('SoftPruning', dict(rescale=1), ValueError, 'rescale=1'),
        ('QuantilePruning', dict(quantiles=[0.5]), ValueError, 'have the same length'),
        ('QuantilePruning', dict(quantiles=[], keep=[]), ValueError, 'have the same length'),
        ('QuantilePruning', dict(quantiles=[0.8, 0.2]), ValueError, 'has to be ascending'),
        ('QuantilePruning', dict(quantiles=[0.5, 0.5]), ValueError, 'has to be ascending'),
        ('QuantilePruning', dict(quantiles=[0.2, 1]), ValueError, 'quantiles=1'),
        ('QuantilePruning', dict(keep=[0, 0.5]), ValueError, 'keep=0'),
        ('QuantilePruning', dict(keep=0.5), TypeError, 'a list'),
        ('QuantilePruning', dict(keep=['a', 0.5]), TypeError, "'a'"),
        ('TargetSaving', dict(saving=40), ValueError, 'saving=40'),
        ('TargetSaving', dict(saving=0), ValueError, 'saving=0'),
        ('TargetSaving', dict(saving='0.4'), TypeError, "'0.4'"),
        ('TargetSaving', dict(max_weight=1), ValueError, 'max_weight=1'),
        ('TargetSaving', dict(max_weight=NAN), ValueError, 'max_weight=nan'),
        ('TargetSaving', dict(max_weight=True), TypeError, 'max_weight'),
        ('TargetSaving', dict(quantile=0), ValueError, 'quantile=0'),
        ('TargetSaving', dict(quantile=1.1), ValueError, 'quantile=1.1'),
        ('TargetSaving', dict(quantile='low'), TypeError, "'low'"),
        ('TargetSaving', dict(shrink=1), TypeError, 'shrink'),
        ('TargetSaving', dict(shrink=True, quantile=0.8), ValueError, 'exclude each other'),
        ('RePB', dict(prune_ratio=1), ValueError, 'prune_ratio=1'),
        ('RePB', dict(rescale='no'), ValueError, "rescale='no'"),
        ('OrderDP', dict(subset=0), ValueError, 'subset=0'),
        ('OrderDP', dict(subset=1.5), ValueError, 'subset=1.5'),
        ('OrderDP', dict(top=0), ValueError, 'top=0'),
        ('OrderDP', dict(top='all'), TypeError, "'all'"),
        ('SeTa', dict(prune_ratio=1), ValueError, 'prune_ratio=1'),
        ('SeTa', dict(num_groups=0), ValueError, 'num_groups=0'),
        ('SeTa', dict(num_groups=2.5), TypeError, 'num_groups .* 2.5'),
        ('SeTa', dict(window_scale=0), ValueError, 'window_scale=0'),
        ('SeTa', dict(delta=1.2), ValueError, 'delta=1.2'),
        ('KAKURENBO', dict(hidden=1), ValueError, 'hidden=1'),
        ('KAKURENBO', dict(confidence=0.5), ValueError, 'confidence=0.5'),
        ('KAKURENBO', dict(confidence=1), ValueError, 'confidence=1'),
        ('KAKURENBO', dict(milestones=0.3), TypeError, 'milestones .* 0.3'),
        ('KAKURENBO', dict(milestones=[0.5, 0.2]), ValueError, 'has to be ascending'),
        ('KAKURENBO', dict(milestones=[0.1, 0.2, 0.3, 0.4, 0.5]), ValueError, 'at most 4'),
        ('KAKURENBO', dict(milestones=[30, 60, 80]), ValueError, 'milestones=30'),
        ('IES', dict(threshold=0), ValueError, 'threshold=0'),
        ('IES', dict(threshold=NAN), ValueError, 'threshold=nan'),
        ('IES', dict(threshold=None), TypeError, 'threshold .* None'),
        ('IES', dict(prune_ratio=1), ValueError, 'prune_ratio=1 lies .*: if all settled'),
        ('RandomPruning', dict(prune_ratio=1), ValueError, 'prune_ratio=1'),
        ('EpsilonGreedy', dict(epsilon=0), ValueError, 'epsilon=0'),
        ('UCB', dict(confidence=-1), ValueError, 'confidence=-1'),
        ('UCB', dict(confidence='1'), TypeError, "'1'"),
        ('UCB', dict(smoothing=0), ValueError, 'smoothing=0'),
        ('StaticRandom', dict(keep=0), ValueError, 'keep=0'),
        ('StaticRandom', dict(seed=0.5), TypeError, 'seed'),
        ('FromFile', dict(path=3), TypeError, 'path'),
        ('FromFile', dict(path='nowhere.npy'), ValueError, 'nowhere.npy'),
        ('FromFile', dict(path='a.npy', reverse='no'), TypeError, "reverse .* 'no'"),
        ('FromFile', dict(path='a.npy', seed=True), TypeError, 'seed .* True'),
        ('FromFile', dict(path='a.npy', seed=2**63), ValueError, 'seed=9223372036854775808'),
        ('StaticRandom', dict(seed=-(2**63) - 1), ValueError, 'seed=-9223372036854775809'),
        ('UCB', dict(confidence=float('inf')), ValueError, 'confidence=inf'),
        (
            'QuantilePruning',
            dict(quantiles=[i / 257 for i in range(1, 257)], keep=[0.5] * 256),
            ValueError,
            'quantiles has 256 values',
        ),
    ],
)
def test_an_argument_that_cannot_work_is_refused_with_the_line_to_change(
    kind, arguments, error, words
):
    with pytest.raises(error, match=words.replace('(', r'\(')) as caught:
        PRUNING_POLICIES.build(dict(type=kind, **arguments))
    assert f"type='{kind}'" in str(caught.value) or 'policy.path' in str(caught.value)


@pytest.mark.parametrize(
    'values, words',
    [
        (np.zeros((3, 3)), r'\(3, 3\)'),
        (np.array(['a', 'b']), '<U1'),
        (np.array([1.0, NAN]), 'NaN'),
        (np.array([1.0, np.inf]), 'infinite'),
    ],
)
def test_a_file_that_holds_no_scores_is_refused(tmp_path, values, words):
    path = tmp_path / 'scores.npy'
    np.save(path, values)
    with pytest.raises(ValueError, match=words):
        PRUNING_POLICIES.build(dict(type='FromFile', path=str(path)))


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / 'scores.npy').write_text('0.5\n0.6\n')
    with pytest.raises(ValueError, match='not a .npy or .npz file'):
        PRUNING_POLICIES.build(dict(type='FromFile', path=str(tmp_path / 'scores.npy')))


def test_a_file_for_another_dataset_is_refused(tmp_path):
    np.save(tmp_path / 'scores.npy', np.arange(5.0))
    policy = PRUNING_POLICIES.build(dict(type='FromFile', path=str(tmp_path / 'scores.npy')))
    with pytest.raises(ValueError, match='5 scores, but the training dataset has 6'):
        policy.plan(skewed(6), seeded())


@pytest.mark.parametrize(
    'arguments, error, words',
    [
        (dict(warmup_passes=-1), ValueError, 'warmup_passes=-1'),
        (dict(warmup_passes=1.5), TypeError, '1.5'),
        (dict(score_smoothing=1), ValueError, 'score_smoothing=1'),
        (dict(score_smoothing='no'), TypeError, "'no'"),
        (dict(stratify='yes'), TypeError, "'yes'"),
        (dict(track='False'), TypeError, "track has to be True or False, but is 'False'"),
    ],
)
def test_a_switch_of_the_sampler_that_cannot_work_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        InfoBatchSampler(Numbered(6), seed=0, **arguments)


class TakesAnything:
    """A policy that keeps what it is given."""

    def __init__(self, **kwargs):
        self.kwargs = kwargs

    def plan(self, scores, generator):
        return Plan.full(len(scores))


def test_a_policy_that_takes_any_argument_is_given_all():
    sampler = InfoBatchSampler(Numbered(6), dict(type=TakesAnything, prune_ratio=0.5), seed=0)
    assert sampler.policy.kwargs == dict(prune_ratio=0.5) and sampler.plan.kept == 6


def test_arguments_that_were_inherited_from_another_policy_are_refused_with_the_way_out():
    with pytest.raises(TypeError) as error:
        InfoBatchSampler(Numbered(6), dict(type='TargetSaving', saving=0.4, prune_ratio=0.5))
    for word in (
        'TargetSaving does not take prune_ratio',
        'saving, max_weight, rescale',
        "policy=dict(_delete_=True, type='TargetSaving', ...)",
    ):
        assert word in str(error.value)
