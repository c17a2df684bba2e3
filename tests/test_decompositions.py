"""Losses other than cross entropy, taken apart into their samples, against their own values."""

import importlib
import warnings

import pytest
import toolbox_runs as runs
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from small_runner import randn, waits
from torch import nn

from mm_infobatch import InfoBatchLoss

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    importlib.import_module('mmseg.models')
    importlib.import_module('mmseg.models.losses.kldiv_loss')  # mmseg.models leaves it out
    importlib.import_module('mmpretrain.models')

pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
]

B, C, H, W = 4, 3, 12, 10


def labels(high=C, ignore=0.0):
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(high, (B, H, W), generator=generator)
    target[torch.rand(B, H, W, generator=generator) < ignore] = 255
    return target


def masked(*shape):
    """A mask of other lengths in other samples."""
    mask = torch.zeros(*shape)
    for row in range(shape[0]):
        mask[row].flatten()[: 3 + 2 * row] = 1
    return mask


def pixels(seed=0):
    """Logits that fit labels() better in one image than in the next."""
    truth = F.one_hot(labels().clamp(max=C - 1), C).movedim(-1, 1)
    return randn(B, C, H, W, seed=seed) + truth * torch.arange(B).view(B, 1, 1, 1)


def ohem(**kwargs):
    return dict(type='mmseg.OhemCrossEntropy', thres=0.6, min_kept=40, **kwargs)


SEESAW = dict(type='mmpretrain.SeesawLoss', num_classes=C)
RECONSTRUCTION = 'mmpretrain.PixelReconstructionLoss'
COSINE = dict(type='mmpretrain.CosineSimilarityLoss', shift_factor=1.0, scale_factor=2.0)
# name: (config, prediction, target and further arguments)
CASES = {
    'ohem': (ohem(), pixels(), [labels()]),
    'ohem, ignored': (ohem(loss_weight=0.4), pixels(), [labels(ignore=0.3)]),
    'ohem, class weight': (ohem(class_weight=[0.5, 2.0, 1.0]), pixels(), [labels(ignore=0.1)]),
    'ohem, kept by count': (dict(ohem(), thres=0.0), pixels(), [labels()]),
    'boundary': (
        dict(type='mmseg.BoundaryLoss', loss_weight=20.0),
        randn(B, 1, H, W),
        [(labels() == 1).long()],
    ),
    'dice': (dict(type='mmseg.DiceLoss', loss_weight=3.0), pixels(), [labels(ignore=0.2)]),
    'dice, softmax': (dict(type='mmseg.DiceLoss', use_sigmoid=False), pixels(), [labels()]),
    'lovasz': (
        dict(type='mmseg.LovaszLoss', per_image=True, reduction='mean'),
        pixels(),
        [labels(ignore=0.2)],
    ),
    'tversky': (dict(type='mmseg.TverskyLoss', loss_weight=0.5), pixels(), [labels(ignore=0.2)]),
    'huasdorff': (dict(type='mmseg.HuasdorffDisstanceLoss'), pixels(), [labels()]),
    'silog': (
        dict(type='mmseg.SiLogLoss', loss_weight=2.0),
        randn(B, 1, H, W).exp(),
        [randn(B, 1, H, W, seed=2).exp()],
    ),
    'kl divergence': (dict(type='mmseg.KLDivLoss'), pixels(), [pixels(seed=3)]),
    'asymmetric': (
        dict(type='mmpretrain.AsymmetricLoss', loss_weight=0.7),
        randn(B, C),
        [(randn(B, C, seed=1) > 0).long()],
    ),
    'seesaw': (SEESAW, randn(B, C), [torch.tensor([0, 1, 1, 2])]),
    'pixels': (dict(type=RECONSTRUCTION, criterion='L2'), randn(B, 9, 5), [randn(B, 9, 5, seed=1)]),
    'masked patches': (
        dict(type=RECONSTRUCTION, criterion='L2'),
        randn(B, 16, 5),
        [randn(B, 16, 5, seed=1), masked(B, 16)],
    ),
    'masked pixels': (
        dict(type=RECONSTRUCTION, criterion='L1', channel=3),
        randn(B, 3, 6, 6),
        [randn(B, 3, 6, 6, seed=1), masked(B, 1, 6, 6)],
    ),
    'cosine': (COSINE, randn(B, 9, 5), [randn(B, 9, 5, seed=1)]),
    'masked cosine': (COSINE, randn(B, 16, 5), [randn(B, 16, 5, seed=1), masked(B, 16)]),
}
BINARY_LOVASZ = dict(type='mmseg.LovaszLoss', loss_type='binary', per_image=True, reduction='mean')
every = pytest.mark.parametrize('name', CASES)


def evaluate(loss, name):
    """The value and the gradient for the prediction."""
    _, pred, arguments = CASES[name]
    pred = pred.clone().requires_grad_()
    value = loss(pred, *arguments)
    value.sum().backward()
    return value.detach(), pred.grad


def wrapper(name, weights, uniform=False):
    loss = InfoBatchLoss(CASES[name][0])
    loss.begin_batch(weights, uniform)
    return loss


@every
def test_with_weights_of_one_it_is_the_toolboxs_loss(name):
    value, gradient = evaluate(MODELS.build(CASES[name][0]), name)
    ours, our_gradient = evaluate(wrapper(name, torch.ones(B)), name)
    assert torch.allclose(ours, value, rtol=1e-5) and value.abs().min() > 0
    assert torch.allclose(our_gradient, gradient, rtol=1e-4, atol=1e-7)


@every
def test_where_nothing_is_pruned_the_loss_is_the_toolboxs_bit_for_bit(name):
    value, gradient = evaluate(MODELS.build(CASES[name][0]), name)
    ours, our_gradient = evaluate(wrapper(name, torch.ones(B), uniform=True), name)
    assert torch.equal(ours, value) and torch.equal(our_gradient, gradient)


@every
def test_scores_are_the_same_whether_or_not_something_is_pruned(name):
    scores = []
    for uniform in (False, True):
        loss = wrapper(name, torch.ones(B), uniform)
        evaluate(loss, name)
        scores.append(loss.end_batch())
    assert torch.equal(*scores) and scores[0].shape == (B,) and not scores[0].requires_grad
    assert scores[0].isfinite().all() and len(scores[0].unique()) == B


# What these take from the batch is counted by weight, so they are no plain sums.
COUNTED = [name for name in CASES if name.split(',')[0] in ('ohem', 'boundary', 'seesaw')]
COUNTED += [name for name in CASES if name.startswith('masked')]


@every
def test_a_sample_of_weight_w_is_w_samples_of_the_batch(name):
    """The toolbox's own loss of a batch that has each sample as often as its weight says, times
    the mean weight, as the batch is that much smaller."""
    config, pred, arguments = CASES[name]
    weights = torch.tensor([1, 2, 1, 2])
    rows = torch.arange(B).repeat_interleave(weights)
    if 'min_kept' in config:
        config = dict(config, min_kept=config['min_kept'] * 6 // B)
    toolbox = MODELS.build(config)
    own = toolbox(pred[rows], *(argument[rows] for argument in arguments))
    loss = wrapper(name, weights.float())
    ours = loss(pred, *arguments)
    assert torch.allclose(ours.sum() / B if 'kl' in name else ours, own.mean() * 1.5, rtol=1e-5)
    if 'seesaw' in name:
        assert torch.equal(loss.loss.cum_samples, toolbox.cum_samples)


def test_the_length_of_the_steps_is_no_part_of_what_seesaw_counts():
    _, pred, arguments = CASES['seesaw']
    weights = torch.tensor([1.0, 2.0, 1.0, 2.0])
    counts = []
    for scale in (1.0, 0.5):
        loss = InfoBatchLoss(dict(SEESAW))
        loss.begin_batch(weights * scale, scale=scale)
        loss(pred, *arguments)
        counts.append(loss.loss.cum_samples)
    assert torch.equal(*counts) and counts[0].sum() == weights.sum()


@pytest.mark.parametrize('name', [name for name in CASES if name not in COUNTED])
def test_the_loss_is_a_sum_of_its_samples_times_their_weights(name):
    """Each sample's part, from a batch in which it alone has a weight, times the weights."""
    parts = torch.stack([evaluate(wrapper(name, row), name)[0].sum() for row in torch.eye(B)])
    weights = torch.tensor([1.0, 2.0, 1.5, 3.0])
    value, gradient = evaluate(wrapper(name, weights), name)
    assert torch.allclose(value.sum(), (parts * weights).sum(), rtol=1e-5)
    for row in range(B):
        alone = evaluate(wrapper(name, torch.eye(B)[row]), name)[1]
        others = torch.arange(B) != row
        assert (alone[others] == 0).all()
        assert (alone[row] != 0).any()
        assert torch.allclose(gradient[row], alone[row] * weights[row], rtol=1e-4, atol=1e-7)


MEANS = [name for name in CASES if 'mask' not in name and 'kl' not in name]


@pytest.mark.parametrize('name', MEANS)
def test_the_scores_average_to_the_loss_of_the_batch(name):
    loss = wrapper(name, torch.ones(B))
    value, _ = evaluate(loss, name)
    assert torch.allclose(loss.end_batch().mean(), value, rtol=1e-4)


@pytest.mark.parametrize('name', ['masked patches', 'masked pixels', 'masked cosine'])
def test_the_score_of_a_masked_sample_is_its_loss_alone(name):
    config, pred, arguments = CASES[name]
    loss = wrapper(name, torch.ones(B))
    evaluate(loss, name)
    toolbox = MODELS.build(config)
    alone = torch.stack(
        [toolbox(pred[row : row + 1], *(a[row : row + 1] for a in arguments)) for row in range(B)]
    )
    assert torch.allclose(loss.end_batch(), alone, rtol=1e-5)


@pytest.mark.parametrize('uniform', [False, True])
@pytest.mark.parametrize(
    'name', ['ohem, ignored', 'tversky', 'huasdorff', 'dice', 'silog', 'binary lovasz']
)
def test_an_image_without_a_valid_pixel_has_no_score_and_harms_no_other(name, uniform):
    config, pred, (target,) = CASES.get(name, (BINARY_LOVASZ, randn(B, H, W), [labels(high=2)]))
    target = target.clone()
    target[1] = 0 if name == 'silog' else 255
    loss = InfoBatchLoss(config)
    loss.begin_batch(torch.ones(B) if uniform else torch.full((B,), 2.0), uniform)
    value = loss(pred, target)
    assert value.isfinite()
    assert loss.end_batch().isfinite().tolist() == [True, False, True, True]


def test_with_one_channel_dice_has_a_score_of_an_image_that_is_all_foreground():
    pred, target = randn(B, 1, H, W), labels(high=2)
    target[1], target[2] = 1, 255
    loss = InfoBatchLoss(CASES['dice'][0])
    loss.begin_batch(torch.ones(B))
    loss(pred, target)
    assert loss.end_batch().isfinite().tolist() == [True, True, False, True]


def test_a_batch_without_any_valid_pixel_costs_nothing():
    loss = InfoBatchLoss(ohem())
    loss.begin_batch(torch.full((B,), 2.0))
    assert loss(pixels(), torch.full((B, H, W), 255)) == 0
    assert loss.end_batch().isnan().all()


@pytest.mark.parametrize('uniform', [False, True])
def test_a_loss_that_counts_its_samples_counts_them_once(uniform):
    loss = InfoBatchLoss(SEESAW)
    loss.begin_batch(torch.ones(B), uniform)
    loss(randn(B, C), torch.tensor([0, 1, 1, 2]))
    assert loss.loss.cum_samples.tolist() == [1, 2, 1]


@pytest.mark.parametrize('uniform', [False, True])
@every
def test_it_waits_for_the_device_no_more_often_than_the_toolboxs_loss(name, uniform):
    if name in ('tversky', 'huasdorff', 'lovasz'):
        pytest.skip('it is evaluated for each image')
    with waits() as theirs:
        evaluate(MODELS.build(CASES[name][0]), name)
    loss = wrapper(name, torch.tensor([1.0, 2.0, 1.5, 3.0]), uniform)
    with waits() as ours:
        evaluate(loss, name)
        loss.end_batch()
    assert len(ours) <= len(theirs)


# ------------------------------------------------------- losses over the batch


def lovasz(**kwargs):
    return dict(type='mmseg.LovaszLoss', reduction='none', **kwargs)


def test_a_loss_that_ranks_the_pixels_of_a_batch_is_refused_with_both_ways_out():
    with pytest.raises(ValueError, match=r'whole batch.*set per_image=True and reduction') as error:
        InfoBatchLoss(lovasz())
    assert '--infobatch-options per_image=True' in str(error.value)


@pytest.mark.parametrize('uniform', [False, True])
def test_asked_for_it_is_evaluated_image_by_image(uniform):
    loss = InfoBatchLoss(lovasz(), per_image=True)
    weights = torch.ones(B) if uniform else torch.tensor([1.0, 2.0, 1.5, 3.0])
    loss.begin_batch(weights, uniform)
    value = loss(pixels(), labels(ignore=0.2), weight=None, ignore_index=255)
    alone = MODELS.build(lovasz())
    images = torch.stack(
        [
            alone(pixels()[row : row + 1], labels(ignore=0.2)[row : row + 1], ignore_index=255)
            for row in range(B)
        ]
    )
    assert torch.allclose(value, (images * weights).mean())
    assert torch.allclose(loss.end_batch(), images)
    assert 'per_image=True' in repr(loss)


class Clipped(nn.Module):
    """A loss of one's own that is 0 without a valid pixel."""

    def forward(self, pred, target, weight=None, ignore_index=255):
        return F.cross_entropy(pred, target, ignore_index=ignore_index).nan_to_num()


@pytest.mark.parametrize('ignore_index', [255, 1])
@pytest.mark.parametrize(
    'loss', [lovasz(), dict(type='mmseg.CrossEntropyLoss'), Clipped()], ids=['lovasz', 'ce', 'own']
)
def test_evaluated_image_by_image_one_without_a_valid_pixel_has_no_score(loss, ignore_index):
    wrapped = InfoBatchLoss(loss, per_image=True)
    target = labels()
    target[1] = ignore_index
    wrapped.begin_batch(torch.ones(B), True)
    wrapped(pixels(), target, weight=None, ignore_index=ignore_index)
    assert wrapped.end_batch().isfinite().tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    'config, reason',
    [
        (dict(type='mmpretrain.CrossCorrelationLoss'), 'compares all samples'),
        (dict(type='mmpretrain.SwAVLoss', feat_dim=4), 'assigns all samples'),
        (dict(type='mmpretrain.CAELoss', lambd=2), 'merges the masked patches'),
    ],
)
@pytest.mark.parametrize('per_image', [False, True])
def test_losses_of_no_single_sample_are_refused_whatever_is_asked_for(config, reason, per_image):
    with pytest.raises(TypeError, match=f'{reason}.*no sample has a loss of its own'):
        InfoBatchLoss(config, per_image=per_image)


# ------------------------------------------------------------- a user's own loss


class WithOverride(nn.Module):
    """As OpenMMLab's losses: a map with 'none', of which its value is the mean."""

    reduction = 'mean'

    def __init__(self, power=1):
        super().__init__()
        self.power = power

    def forward(self, pred, target, avg_factor=None, reduction_override=None):
        values = F.cross_entropy(pred, target, reduction='none')
        if (reduction_override or self.reduction) == 'none':
            return values
        return (values**self.power).sum() / (avg_factor or values.numel())


class WithoutOverride(nn.Module):
    def forward(self, pred, target):
        return F.cross_entropy(pred, target)


@pytest.mark.parametrize('avg_factor', [None, 7])
@pytest.mark.parametrize('uniform', [False, True])
def test_a_users_loss_of_the_same_convention_is_weighted(avg_factor, uniform):
    loss, target = InfoBatchLoss(WithOverride()), torch.tensor([0, 1, 1, 2])
    weights = torch.ones(B) if uniform else torch.tensor([1.0, 2.0, 1.5, 3.0])
    for _ in range(2):
        loss.begin_batch(weights, uniform)
        value = loss(randn(B, C), target, avg_factor=avg_factor)
        values = F.cross_entropy(randn(B, C), target, reduction='none')
        assert torch.allclose(value, (values * weights).sum() / (avg_factor or B))


def test_a_users_loss_that_does_not_keep_the_convention_is_found_out_in_the_first_batch():
    loss = InfoBatchLoss(WithOverride(power=2))
    loss.begin_batch(torch.ones(B), True)
    with pytest.raises(ValueError, match='so it is neither a mean over samples.*per_image=True'):
        loss(randn(B, C), torch.tensor([0, 1, 1, 2]))


def test_a_users_loss_without_the_convention_is_refused_with_both_ways_out():
    with pytest.raises(TypeError, match='has no reduction_override') as error:
        InfoBatchLoss(WithoutOverride())
    assert "dict(type='InfoBatchLoss', loss=..., per_image=True)" in str(error.value)
    loss = InfoBatchLoss(WithoutOverride(), per_image=True)
    loss.begin_batch(torch.tensor([1.0, 2.0, 1.5, 3.0]))
    target = torch.tensor([0, 1, 1, 2])
    values = F.cross_entropy(randn(B, C), target, reduction='none')
    assert torch.allclose(
        loss(randn(B, C), target), (values * torch.tensor([1.0, 2.0, 1.5, 3.0])).mean()
    )


def test_per_image_has_to_be_a_flag():
    with pytest.raises(TypeError, match="per_image has to be True or False, but is 'yes'"):
        InfoBatchLoss(WithoutOverride(), per_image='yes')
