"""Losses of a user's own that give a map: their own value, the check of every batch, no traces."""

import collections

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runner import randn
from torch import nn

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses import wrapper as wrapper_module

B, C, H, W = 4, 3, 5, 6


def labels(ignored=False):
    """Class indices, of which later images have more to ignore."""
    target = torch.arange(B * H * W).view(B, H, W) % C
    if ignored:
        for row in range(B):
            target[row].view(-1)[: 3 + 8 * row] = 255
    return target


def own_map(pred, target):
    return F.cross_entropy(pred, target, reduction='none', ignore_index=255)


class ValidMean(nn.Module):
    """The mean over the valid pixels, written by somebody who follows OpenMMLab's convention."""

    reduction = 'mean'

    def forward(self, pred, target, avg_factor=None, reduction_override=None, ignore_index=255):
        reduction = reduction_override or self.reduction
        values = F.cross_entropy(pred, target, reduction='none', ignore_index=ignore_index)
        if reduction == 'none':
            return values
        return values.sum() / (avg_factor or (target != ignore_index).sum())


class ForegroundMean(ValidMean):
    """The mean over the pixels that are of no background, which no caller can tell."""

    def forward(self, pred, target, reduction_override=None, **kwargs):
        values = own_map(pred, target) * (target > 0)
        return values if reduction_override == 'none' else values.sum() / (target > 0).sum()


def trained(loss, weights, target, uniform=False, **kwargs):
    loss.begin_batch(weights, uniform)
    return loss(randn(B, C, H, W), target, **kwargs)


# -------------------------------------------------------------- its own value


@pytest.mark.parametrize('uniform', [True, False])
def test_a_mean_over_valid_pixels_is_one_in_a_later_batch_too(uniform):
    loss = InfoBatchLoss(ValidMean())
    for ignored in (False, True, False):
        value = trained(loss, torch.ones(B), labels(ignored), uniform)
        own = ValidMean()(randn(B, C, H, W), labels(ignored))
        assert torch.allclose(value, own, rtol=1e-6)
    assert torch.equal(value, own) or not uniform


class Scaled(ValidMean):
    """A loss as small as that of a model that has learned nearly all there is."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, *args, **kwargs):
        return self.scale * super().forward(*args, **kwargs)


@pytest.mark.parametrize('scale', [1, 1e-7])
def test_its_valid_pixels_are_counted_by_weight(scale):
    loss, weights = InfoBatchLoss(Scaled(scale)), torch.tensor([1, 2, 1, 2])
    rows = torch.arange(B).repeat_interleave(weights)
    value = trained(loss, weights.float(), labels(True))
    own = Scaled(scale)(randn(B, C, H, W)[rows], labels(True)[rows])
    assert torch.allclose(value, 1.5 * own, rtol=1e-6, atol=0)


def test_a_value_that_counts_labels_is_refused_however_small_it_is():
    class Counts(Scaled):
        def forward(self, pred, target, reduction_override=None):
            values = super().forward(pred, target, reduction_override='none')
            values = values * (target == target[0]).sum()
            return values if reduction_override == 'none' else values.mean()

    loss = InfoBatchLoss(Counts(1e-7))
    loss.begin_batch(torch.ones(B), True)
    with pytest.raises(ValueError, match='depends on'):
        loss(randn(B, C, H, W).requires_grad_(), labels(True))


@pytest.mark.parametrize('hint', ['argument', 'default', 'attribute', 'none'])
def test_what_it_ignores_is_known_in_any_way_that_the_toolboxes_say_it(hint):
    class Hinted(ValidMean):
        def forward(self, pred, target, reduction_override=None, **kwargs):
            return super().forward(pred, target, None, reduction_override)

    class Default(Hinted):
        def forward(self, pred, target, reduction_override=None, ignore_index=255):
            return super().forward(pred, target, reduction_override)

    loss = (Default if hint == 'default' else Hinted)()
    if hint == 'attribute':
        loss.ignore_index = 255
    wrapper = InfoBatchLoss(loss)
    kwargs = dict(ignore_index=255) if hint == 'argument' else {}
    value = trained(wrapper, torch.ones(B), labels(True), **kwargs)
    assert torch.allclose(value, ValidMean()(randn(B, C, H, W), labels(True)))


@pytest.mark.parametrize('reduction', ['sum', 'none'])
def test_a_sum_and_a_map_are_what_they_are(reduction):
    inner = ValidMean()
    inner.reduction = reduction
    inner.forward = lambda pred, target, reduction_override=None: (
        own_map(pred, target).sum()
        if (reduction_override or inner.reduction) == 'sum'
        else own_map(pred, target)
    )
    weights = torch.tensor([1.0, 2.0, 1.5, 3.0])
    values = own_map(randn(B, C, H, W), labels()) * weights.view(-1, 1, 1)
    value = trained(InfoBatchLoss(inner), weights, labels())
    assert torch.allclose(value, values.sum() if reduction == 'sum' else values)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_an_unknown_loss_of_low_precision_is_accepted(dtype):
    class Cast(ValidMean):
        def forward(self, pred, target, reduction_override=None):
            values = own_map(pred, target).to(dtype)
            return values if reduction_override == 'none' else values.mean()

    loss = InfoBatchLoss(Cast())
    for seed in range(20):
        loss.begin_batch(torch.ones(B), seed % 2 == 0)
        loss(200 * randn(B, C, H, W, seed=seed), labels())


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_no_number_is_no_reason_to_refuse_it(value):
    loss = InfoBatchLoss(ValidMean())
    for uniform in (True, False):
        loss.begin_batch(torch.ones(B), uniform)
        pred = randn(B, C, H, W)
        pred[1, 0, 0, 0] = value
        assert not loss(pred, labels()).isfinite()
        assert loss.end_batch().isfinite().tolist() == [True, False, True, True]


# ------------------------------------------------------------------- the check


@pytest.mark.parametrize('uniform', [True, False])
def test_a_later_batch_shows_what_the_first_could_not(uniform):
    loss, foreground = InfoBatchLoss(ForegroundMean()), torch.full((B, H, W), 1)
    for _ in range(2):
        trained(loss, torch.ones(B), foreground, uniform)
    with pytest.raises(
        ValueError, match='ForegroundMean.*neither a mean over samples.*per_image=True'
    ):
        trained(loss, torch.ones(B), labels(), uniform)


def test_on_a_device_all_batches_are_checked_and_none_is_waited_for(monkeypatch):
    monkeypatch.setattr(wrapper_module, 'is_compiling', lambda: True)  # never reads, as on a device
    loss, foreground = InfoBatchLoss(ForegroundMean()), torch.full((B, H, W), 1)
    trained(loss, torch.ones(B), foreground)
    loss.check()
    for target in (foreground, labels(), foreground):
        trained(loss, torch.ones(B), target)
    own = ForegroundMean()(randn(B, C, H, W), labels())
    with pytest.raises(ValueError, match=f'its value of a batch was {own.item():.6g}'):
        loss.check()
    loss.check()  # told once


@pytest.mark.parametrize('given', ['one number', 'a tuple'])
def test_a_loss_that_ignores_the_reduction_is_refused_in_the_first_batch(given):
    class Ignoring(ValidMean):
        def forward(self, pred, target, **kwargs):
            value = own_map(pred, target).mean()
            return (value, value) if given == 'a tuple' else value

    loss = InfoBatchLoss(Ignoring())
    with pytest.raises(ValueError, match=f'Ignoring gave {given}.*per_image=True'):
        trained(loss, torch.ones(B), labels())


def test_image_by_image_a_loss_that_ignores_the_reduction_is_trained():
    class Ignoring(ValidMean):
        def forward(self, pred, target, **kwargs):
            return own_map(pred, target).mean()

    weights = torch.tensor([1.0, 2.0, 1.5, 3.0])
    value = trained(InfoBatchLoss(Ignoring(), per_image=True), weights, labels())
    images = own_map(randn(B, C, H, W), labels()).mean((1, 2))
    assert torch.allclose(value, (images * weights).mean())


def test_a_map_of_fewer_samples_is_refused():
    class OfValid(ValidMean):
        def forward(self, pred, target, reduction_override=None):
            values = own_map(pred, target)[target != 255]
            return values if reduction_override == 'none' else values.mean()

    with pytest.raises(ValueError, match='this iteration trains 4 samples'):
        trained(InfoBatchLoss(OfValid()), torch.ones(B), labels(True))


class OfClasses(nn.Module):
    """Dice over the pixels of a batch: a value for each class, or their mean."""

    def forward(self, pred, target, reduction_override=None):
        shares, labels = pred.softmax(1), F.one_hot(target, C).permute(0, 3, 1, 2)
        values = 1 - 2 * (shares * labels).sum((0, 2, 3)) / (shares + labels).sum((0, 2, 3))
        return values if reduction_override == 'none' else values.mean()


class ByContrast(ValidMean):
    """Cross entropy of each image, with the mean of the batch taken from its logits."""

    def forward(self, pred, target, reduction_override=None):
        return super().forward(pred - pred.mean(0), target, reduction_override=reduction_override)


class ByContrastWithoutGradient(ValidMean):
    """The same, and no gradient shows it."""

    def forward(self, pred, target, reduction_override=None):
        other = pred - pred.mean(0).detach()
        return super().forward(other, target, reduction_override=reduction_override)


class ByFrequency(ValidMean):
    """Cross entropy with the weight of each class taken from the labels of the batch."""

    def forward(self, pred, target, reduction_override=None):
        counts = F.one_hot(target, C).sum((0, 1, 2)).clamp(min=1)
        values = own_map(pred, target) * (target.numel() / C / counts)[target]
        return values if reduction_override == 'none' else values.mean()


def of_several(own):
    """A loss of a list of predictions, as of heads at two depths."""

    class OfSeveral(own):
        def forward(self, pred, target, reduction_override=None):
            values = [
                super(OfSeveral, self).forward(one, target, reduction_override=reduction_override)
                for one in pred
            ]
            return sum(values)

    return OfSeveral()


def target_first(own):
    """A loss that takes its target before its prediction."""

    class TargetFirst(own):
        def forward(self, target, pred, reduction_override=None):
            return super().forward(pred, target, reduction_override=reduction_override)

    return TargetFirst()


@pytest.mark.parametrize('form', ['plain', 'several', 'target first'])
@pytest.mark.parametrize('uniform', [True, False])
@pytest.mark.parametrize('own', [OfClasses, ByContrast, ByContrastWithoutGradient, ByFrequency])
def test_a_map_whose_rows_belong_to_no_single_sample_is_refused_at_any_batch_size(
    own, uniform, form
):
    make = {'plain': lambda own: own(), 'several': of_several, 'target first': target_first}
    loss, target = InfoBatchLoss(make[form](own)), labels()[:C]
    target[1] = 0  # else all images have each class as often
    loss.begin_batch(torch.ones(C), uniform)
    pred = randn(C, C, H, W).requires_grad_()
    args = {'several': ([pred, 2 * pred], target), 'target first': (target, pred)}
    with pytest.raises(ValueError, match='depends on the other samples of the batch: with'):
        loss(*args.get(form, (pred, target)))
    trained(InfoBatchLoss(ValidMean()), torch.ones(B), labels(), uniform)


class DetachedMap(ValidMean):
    """Cross entropy whose map is for a log."""

    def forward(self, pred, target, reduction_override=None):
        values = super().forward(pred, target, reduction_override=reduction_override)
        return values.detach() if reduction_override == 'none' else values


class ReversedGradient(ValidMean):
    """Cross entropy whose mean has a gradient of its own, as of a domain that is to be confused."""

    def forward(self, pred, target, reduction_override=None):
        values = super().forward(pred, target, reduction_override=reduction_override)
        return values if reduction_override == 'none' else 2 * values.detach() - values


@pytest.mark.parametrize('uniform', [True, False])
@pytest.mark.parametrize('own', [DetachedMap, ReversedGradient])
def test_a_map_of_another_gradient_than_the_loss_is_refused(own, uniform):
    with pytest.raises(ValueError, match=f'map that {own.__name__} .* has another gradient'):
        trained(InfoBatchLoss(own()), torch.ones(B), labels(True), uniform)
    trained(InfoBatchLoss(own(), per_image=True), torch.ones(B), labels(True), uniform)
    several = InfoBatchLoss(of_several(own))
    several.begin_batch(torch.ones(B), uniform)
    with pytest.raises(ValueError, match='map that OfSeveral .* has another gradient'):
        several([randn(B, C, H, W)] * 2, labels(True))


class Squares(nn.Module):
    """The mean squared difference to one-hot labels, in the precision of the prediction."""

    detach = False

    def forward(self, pred, target, reduction_override=None):
        values = (pred - F.one_hot(target, pred.shape[1]).movedim(-1, 1).to(pred)) ** 2
        if reduction_override == 'none':
            return values.detach() if self.detach else values
        return values.mean()


class DetachedSquares(Squares):
    detach = True


@pytest.mark.parametrize('classes', [3, 150])  # with 150 the value is below 0.01
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_the_gradient_is_compared_at_any_precision(dtype, classes):
    pred = 0.01 * randn(B, classes, 32, 32).to(dtype)
    target = torch.arange(B * 32 * 32).view(B, 32, 32) % classes
    for own in (Squares(), DetachedSquares()):
        loss = InfoBatchLoss(own)
        loss.begin_batch(torch.ones(B))
        if own.detach:
            with pytest.raises(ValueError, match='map that DetachedSquares .* another gradient'):
                loss(pred, target)
        else:
            loss(pred, target)


def test_a_value_that_overflows_is_no_reason_to_refuse_a_loss():
    class Overflows(ValidMean):
        def forward(self, pred, target, reduction_override=None):
            values = own_map(pred, target)
            return values if reduction_override == 'none' else values.mean() * float('inf')

    trained(InfoBatchLoss(Overflows()), torch.ones(B), labels())


class MeanOfImages(ValidMean):
    """A value for each image, 0 for one without a valid pixel."""

    def forward(self, pred, target, reduction_override=None):
        count = (target != 255).sum((1, 2)).clamp(min=1)
        values = own_map(pred, target).sum((1, 2)) / count
        return values if reduction_override == 'none' else values.mean()


class ChangesTarget(ValidMean):
    """Marks the ignored pixels, and gives them a class in place."""

    def forward(self, pred, target, reduction_override=None):
        valid = target != 255
        target[~valid] = 0
        values = F.cross_entropy(pred, target, reduction='none') * valid
        return values if reduction_override == 'none' else values.sum() / valid.sum().clamp(min=1)


@pytest.mark.parametrize('per_image', [False, True])
@pytest.mark.parametrize('uniform', [True, False])
@pytest.mark.parametrize('own', [MeanOfImages, ChangesTarget])
def test_an_image_without_a_valid_pixel_has_no_score_whatever_the_map(own, uniform, per_image):
    loss, pred = InfoBatchLoss(own(), per_image=per_image), randn(B, C, H, W)
    for _ in range(2):  # the first batch is also checked
        target = labels(True)
        target[3] = 255
        alone = torch.stack([own()(pred[[row]], target[[row]]) for row in range(B)])
        together = own()(pred, target.clone())
        value = trained(loss, torch.ones(B), target, uniform)
        assert torch.allclose(value, alone.mean() if per_image else together)
        scores = loss.end_batch()
        assert torch.allclose(scores[:3], alone[:3]) and scores[3].isnan()
        if own is MeanOfImages:
            first = InfoBatchLoss(target_first(own), per_image=per_image)
            first.begin_batch(torch.ones(B), uniform)
            assert torch.equal(first(target, pred.clone().requires_grad_()), value)
            assert torch.equal(first.end_batch().nan_to_num(-1), scores.nan_to_num(-1))


class NeedsTwoClasses(ValidMean):
    """Cannot be evaluated on a batch of one label."""

    def forward(self, pred, target, reduction_override=None):
        assert len(target.unique()) > 1
        return super().forward(pred, target, reduction_override=reduction_override)


def test_a_loss_that_cannot_be_evaluated_on_copies_of_a_sample_is_trained():
    target = labels()
    target[0] = 1
    value = trained(InfoBatchLoss(NeedsTwoClasses()), torch.ones(B), target)
    assert torch.allclose(value, ValidMean()(randn(B, C, H, W), target))


def test_a_loss_whose_arguments_have_to_be_named_is_trained():
    class Named(ValidMean):
        def forward(self, *, pred, target, reduction_override=None):
            return super().forward(pred, target, reduction_override=reduction_override)

    loss, pred = InfoBatchLoss(Named()), randn(B, C, H, W)
    loss.begin_batch(torch.ones(B))
    value = loss(pred=pred, target=labels(True))
    assert torch.allclose(value, ValidMean()(pred, labels(True)))


def test_a_loss_that_is_put_into_a_wrapper_is_taken_apart_as_what_it_is():
    loss = InfoBatchLoss(dict(type='mmseg.CrossEntropyLoss'))
    loss.loss = ValidMean()
    target = labels(True)
    assert trained(loss, torch.ones(B), target) == ValidMean()(randn(B, C, H, W), target)
    loss.loss = OfClasses()
    loss.begin_batch(torch.ones(C))
    with pytest.raises(ValueError, match='depends on the other samples'):
        loss(randn(C, C, H, W), labels()[:C])


# ----------------------------------------------------------------- no traces


class Counting(ValidMean):
    """A loss with a state in every form: a buffer, its place, an attribute, a part, and what is
    changed in place: a parameter, a tensor that is no buffer, numbers in containers."""

    def __init__(self):
        super().__init__()
        self.register_buffer('seen', torch.zeros(C))
        self.register_buffer('average', torch.zeros(()))
        self.calls = 0
        self.part = nn.BatchNorm1d(C, affine=False)
        self.centers = nn.Parameter(torch.zeros(C), requires_grad=False)
        self.plain, self.array = torch.zeros(C), np.zeros(C)
        self.history, self.by_name = [], dict(first=[0], rest=collections.deque(maxlen=9))

    def forward(self, pred, target, reduction_override=None):
        self.seen += F.one_hot(target, C).sum((0, 1, 2))
        self.average = 0.9 * self.average + pred.detach().mean()
        self.calls += 1
        self.part(pred.flatten(2))
        self.centers.data += pred.detach().mean((0, 2, 3))
        self.plain += 1
        self.array += 1
        self.history.append(self.calls)
        self.by_name['first'][0] += 1
        self.by_name['rest'].append(self.calls)
        values = own_map(pred, target) * self.calls
        return values if reduction_override == 'none' else values.mean()


@pytest.mark.parametrize('uniform', [True, False])
def test_its_state_is_that_of_a_loss_that_was_evaluated_once_a_batch(uniform):
    loss, alone = InfoBatchLoss(Counting()), Counting()
    for seed in range(3):
        loss.begin_batch(torch.ones(B), uniform)
        value = loss(randn(B, C, H, W, seed=seed), labels())
        assert torch.allclose(value, alone(randn(B, C, H, W, seed=seed), labels()))
    assert loss.loss.calls == alone.calls == 3
    ours, theirs = loss.loss.state_dict(), alone.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(loss.loss.plain, alone.plain) and alone.plain[0] == 3
    assert loss.loss.array.tolist() == alone.array.tolist() == [3, 3, 3]
    assert loss.loss.history == alone.history == [1, 2, 3]
    assert loss.loss.by_name == alone.by_name == dict(first=[3], rest=collections.deque([1, 2, 3]))


class Drawing(ValidMean):
    """A loss of pixels drawn at random."""

    def forward(self, pred, target, reduction_override=None):
        values = own_map(pred, target) * (torch.rand(target.shape) < 0.5)
        return values if reduction_override == 'none' else values.mean()


@pytest.mark.parametrize('uniform', [True, False])
def test_it_draws_the_random_numbers_of_a_loss_that_was_evaluated_once_a_batch(uniform):
    results = []
    for loss in (Drawing(), InfoBatchLoss(Drawing())):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for _ in range(2):
                if isinstance(loss, InfoBatchLoss):
                    loss.begin_batch(torch.ones(B), uniform)
                results.append(loss(randn(B, C, H, W), labels()))
            results.append(torch.rand(3))
    first, again, after, ours, ours_again, ours_after = results
    assert torch.allclose(ours, first) and torch.allclose(ours_again, again)
    assert torch.equal(after, ours_after) and not torch.equal(first, again)


def test_the_evaluation_beside_has_no_gradient():
    class Spying(ValidMean):
        graphs = 0

        def forward(self, pred, target, reduction_override=None):
            Spying.graphs += torch.is_grad_enabled()
            return super().forward(pred, target, None, reduction_override)

    for uniform in (True, False):
        pred = randn(B, C, H, W).requires_grad_()
        loss = InfoBatchLoss(Spying())
        trained(loss, torch.ones(B), labels(), uniform)  # the first batch is checked with one
        Spying.graphs = 0
        loss.begin_batch(torch.ones(B), uniform)
        loss(pred, labels()).backward()
        assert pred.grad.abs().sum() > 0
        assert Spying.graphs == 1


class Proxies(ValidMean):
    """A loss with the weights of the classes, as ArcFace's."""

    beside = []  # whether they could get a gradient where nothing else could

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(randn(C, C, seed=1))

    def forward(self, pred, target, reduction_override=None):
        if not torch.is_grad_enabled():
            self.beside.append(self.weight.requires_grad)
        pred = F.linear(pred.movedim(1, -1), self.weight).movedim(-1, 1).float()
        return super().forward(pred, target, reduction_override=reduction_override)


@pytest.mark.parametrize('uniform', [True, False])
def test_under_autocast_the_evaluation_beside_takes_no_gradient_from_its_parameters(uniform):
    loss, alone = InfoBatchLoss(Proxies()), Proxies()
    Proxies.beside.clear()
    for seed in range(2):
        with torch.autocast('cpu', torch.bfloat16):
            loss.begin_batch(torch.ones(B), uniform)
            ours, own = (each(randn(B, C, H, W, seed=seed), labels()) for each in (loss, alone))
        (ours + own).backward()
        torch.testing.assert_close(loss.loss.weight.grad, alone.weight.grad, rtol=1e-2, atol=1e-4)
    assert Proxies.beside and not any(Proxies.beside)


def test_an_error_in_the_evaluation_beside_leaves_the_loss_as_it_was():
    class Failing(Counting):
        def forward(self, pred, target, reduction_override=None):
            self.calls += 1
            raise RuntimeError('on purpose')

    loss = InfoBatchLoss(Failing())
    with pytest.raises(RuntimeError, match='on purpose'):
        trained(loss, torch.ones(B), labels())
    assert loss.loss.calls == 0 and loss.loss.seen.sum() == 0
