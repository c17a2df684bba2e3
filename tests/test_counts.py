"""Divisors that are counted from the batch: the expected gradient of a pruned pass is that of all
data, whether easy images have more to count or fewer."""

import importlib
import itertools
import warnings
from types import SimpleNamespace

import pytest
import toolbox_runs as runs
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from small_runner import seeded
from test_unknown import ValidMean

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses.reductions import counts_ignored_classes
from mm_infobatch.losses.weights import Weights
from mm_infobatch.policies import SoftPruning

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    importlib.import_module('mmseg.models')
    importlib.import_module('mmpretrain.models')

OHEMPixelSampler = importlib.import_module('mmseg.structures.sampler').OHEMPixelSampler
pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

N, B, C, SIZE = 480, 24, 3, 6
EASY = 360  # samples whose loss is below the mean


class Data:
    """Images of which the easy ones have more valid pixels than the hard ones, or fewer.

    Args:
        more (bool): Whether they have more.
    """

    def __init__(self, more):
        draws = seeded(0)
        easy = torch.arange(N) < EASY
        valid = torch.where(easy == more, 30, 12)  # of 36 pixels
        self.labels = torch.randint(C, (N, SIZE * SIZE), generator=draws)
        self.labels[torch.arange(SIZE * SIZE) >= valid[:, None]] = 255
        self.labels = self.labels.view(N, SIZE, SIZE)
        self.truth = F.one_hot(self.labels.clamp(max=C - 1), C).movedim(-1, 1).float()
        noise = torch.randn(N, C, SIZE, SIZE, generator=draws)
        self.logits = noise + torch.where(easy, 3.0, 0.5).view(-1, 1, 1, 1) * self.truth
        self.scores = torch.where(easy, 0.1, 1.0)

    def length(self, case, loss, order, weights=None):
        """The sum of a pass's gradients for a bias of the right classes.

        Args:
            case (callable): Calls the loss.
            loss (nn.Module): The loss, wrapped where there are weights.
            order (Tensor): int64 [K], the samples of the pass.
            weights (Tensor): float32 [N].
        """
        bias, total = torch.zeros((), requires_grad=True), 0.0
        batches = [batch for batch in order.split(B) if len(batch) == B]  # drop_last
        for batch in batches:
            if weights is not None:
                loss.begin_batch(weights[batch])
            pred = self.logits[batch] + bias * self.truth[batch]
            total -= torch.autograd.grad(case(loss, pred, self.labels[batch]), bias)[0].item()
        return total * len(order) / (len(batches) * B)


def lengths(more, case, config, passes=40):
    """The mean gradient of pruned passes by that of passes over all data, and its standard error.

    Returns:
        tuple[float, float]: Both.
    """
    data, draws, policy = Data(more), seeded(1), SoftPruning(prune_ratio=0.5)
    wrapper, alone = InfoBatchLoss(build(config)), build(config)
    pruned, whole = [], []
    for _ in range(passes):
        plan = policy.plan(data.scores, draws)
        weights = torch.zeros(N).index_copy(0, plan.indices, plan.weights)
        order = plan.indices[torch.randperm(plan.kept, generator=draws)]
        pruned.append(data.length(case, wrapper, order, weights))
        whole.append(data.length(case, alone, torch.randperm(N, generator=draws)))
    pruned, whole = torch.tensor(pruned).double(), torch.tensor(whole).double()
    errors = [values.std() / passes**0.5 / values.mean() for values in (pruned, whole)]
    return (pruned.mean() / whole.mean()).item(), sum(e**2 for e in errors).sqrt().item()


def build(config):
    return MODELS.build(dict(config)) if isinstance(config, dict) else config()


def plain(loss, pred, labels):
    return loss(pred, labels, ignore_index=255)


def counted_by_a_head(loss, pred, labels):
    return loss(pred, labels, ignore_index=255, avg_factor=(labels != 255).sum())


def masked(loss, pred, labels):
    mask = (labels != 255).flatten(1).float()
    rows = (pred.softmax(1), F.one_hot(labels.clamp(max=C - 1), C).movedim(-1, 1).float())
    return loss(*(each.flatten(2).transpose(1, 2) for each in rows), mask)


def cross_entropy(**settings):
    return dict(type='mmseg.CrossEntropyLoss', **settings)


CASES = {
    'valid pixels': (plain, cross_entropy(avg_non_ignore=True)),
    'valid pixels and classes': (plain, cross_entropy(avg_non_ignore=True, use_sigmoid=True)),
    'weights of classes': (plain, cross_entropy(class_weight=[0.5, 1.0, 2.0])),
    'an avg_factor': (counted_by_a_head, cross_entropy()),
    'hard pixels': (
        lambda loss, pred, labels: loss(pred, labels),
        dict(type='mmseg.OhemCrossEntropy', thres=0.5, min_kept=1),
    ),
    'hard pixels by rank': (
        lambda loss, pred, labels: loss(pred, labels),
        dict(type='mmseg.OhemCrossEntropy', thres=0.0, min_kept=200),
    ),
    'masked patches': (masked, dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2')),
    'valid pixels of an unknown loss': (plain, ValidMean),
}


@pytest.mark.default_cases('*-easy images have more')
@pytest.mark.parametrize('more', [True, False], ids=['easy images have more', 'and fewer'])
@pytest.mark.parametrize('name', CASES)
def test_the_expected_gradient_of_a_pruned_pass_is_that_of_all_data(name, more, monkeypatch):
    """Within 1.5 %: a standard error is below 0.25 %, and batches of 24 have a bias of up to 0.5 %,
    as a ratio of two sums has. So it fails once in 10,000 seeds.

    The control counts kept samples as themselves, and is more than 2.5 % off.
    """
    case, config = CASES[name]
    if name == 'weights of classes' and counts_ignored_classes():
        pytest.skip('this mmseg cannot have class weights and ignored pixels')
    ratio, error = lengths(more, case, config)
    assert error < 0.0025
    assert ratio == pytest.approx(1, abs=0.015)
    monkeypatch.setattr(Weights, 'count_factor', lambda weights, counts: 1)
    monkeypatch.setattr(Weights, 'per_position', lambda weights, n, like: torch.ones(B * n))
    ratio, _ = lengths(more, case, config)
    assert abs(ratio - 1) > 0.025


def with_hard_pixels(**settings):
    """Calls a loss as mmseg's heads do that have an ``OHEMPixelSampler``."""

    def case(loss, pred, labels):
        head = SimpleNamespace(ignore_index=255, loss_decode=loss)
        weight = OHEMPixelSampler(head, **settings).sample(pred, labels.unsqueeze(1))
        return loss(pred, labels, weight=weight, ignore_index=255)

    return case


@pytest.mark.default_cases('thresh decides', 'rank of the loss decides')
@pytest.mark.parametrize(
    'settings, ratio',
    [
        (dict(thresh=0.7, min_kept=2), 1),
        (dict(thresh=0.01, min_kept=8), 0.79),
        (dict(min_kept=8), 0.79),
    ],
    ids=['thresh decides', 'rank of the probability decides', 'rank of the loss decides'],
)
def test_pixels_that_a_sampler_chooses_are_unbiased_by_threshold_and_biased_by_rank(
    settings, ratio
):
    """As docs/any_config.md says. Within four standard errors of a mean of 12 passes."""
    case = with_hard_pixels(**settings)
    found, error = lengths(False, case, cross_entropy(), passes=12)
    assert found == pytest.approx(ratio, abs=0.02) and error < 0.005


@pytest.mark.parametrize('more', [True, False])
def test_a_divisor_that_is_no_count_needs_no_weights(more):
    """Within 1 %, four standard errors."""
    ratio, error = lengths(more, plain, cross_entropy())
    assert ratio == pytest.approx(1, abs=0.01) and error < 0.0025


def test_over_all_plans_of_a_small_dataset_the_counts_stand_for_all_samples():
    """Six samples, of which four are well-learned and two of those are kept, in one batch: the mean
    over all six plans of w * V, which the divisor is made of, is V of all samples, exactly."""
    counts = torch.tensor([5.0, 7.0, 11.0, 13.0, 17.0, 19.0])
    divisors = []
    for kept in itertools.combinations(range(4), 2):
        rows = torch.tensor([*kept, 4, 5])
        weights = Weights(torch.tensor([2.0, 2.0, 1.0, 1.0]), False)
        divisors.append(counts[rows].sum() * weights.count_factor(counts[rows]))
    assert torch.stack(divisors).mean() == pytest.approx(counts.sum().item() * 4 / 6)


def test_counts_of_all_the_same_weight_are_the_counts():
    counts = torch.tensor([5.0, 0.0, 11.0])
    for weights in (torch.ones(3), torch.full((3,), 2.0)):
        assert Weights(weights, False).count_factor(counts) == 1
    assert Weights(torch.ones(3), True).count_factor(counts) == 1
    assert Weights(torch.tensor([1.0, 2.0, 3.0]), False).count_factor(torch.zeros(3)) == 1
    assert Weights(torch.tensor([0.0, 2.0, 0.0]), False).count_factor(counts) == 1
