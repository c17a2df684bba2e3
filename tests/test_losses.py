"""The loss wrapper, around the real losses of both toolboxes, in every mode that they have.

The oracle calls the wrapped loss, in float64, on one image at a time with the reduction 'sum': that
gives the parts. What the wrapped loss divides by follows from its own sum and mean of the batch.
"""

import importlib
import warnings
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from small_runner import randn, seeded, waits

from mm_infobatch import InfoBatchLoss

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    importlib.import_module('mmseg.models')
    importlib.import_module('mmpretrain.models')

pytestmark = [
    pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore`` is False'),
]

B, C, H, W = 4, 3, 5, 6
CLASS_WEIGHT = [0.3, 1.7, 0.9]


def rand(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed))


def classes(*shape, ignore=None, high=C, seed=1):
    """Class indices; with ``ignore``, a tenth to nearly all of an image is ignored."""
    labels = torch.randint(high, shape, generator=seeded(seed))
    if ignore is not None:
        share = torch.linspace(0.1, 0.8, shape[0]).view(-1, *[1] * (len(shape) - 1))
        labels[rand(*shape, seed=seed + 1) < share] = ignore
        if len(shape) == 1:
            labels[1], labels[0], labels[2] = ignore, 1, 0
    return labels


def one_hot(labels, num_classes=C):
    return torch.movedim(F.one_hot(labels, num_classes), -1, 1)


class Case:
    """A wrapped loss, and what a head calls it with.

    Args:
        loss: The config of the wrapped loss.
        pred, target: A batch.
        valid: Which positions count, bool [B, ...]; None for all.
        crashes: The exception that a toolbox's own loss may raise here instead.
        kwargs: What else the loss is called with; tensors have a row (or B * H * W rows) an image.
    """

    def __init__(self, loss, pred, target, valid=None, crashes=(), **kwargs):
        self.loss, self.pred, self.target, self.kwargs = loss, pred, target, kwargs
        self.valid, self.crashes = valid, crashes

    def wrapped(self, **changes):
        return MODELS.build({**self.loss, **changes})

    def wrapper(self, **changes):
        return InfoBatchLoss({**self.loss, **changes})

    def without(self, *names):
        """The same, called without these."""
        kwargs = {key: value for key, value in self.kwargs.items() if key not in names}
        return Case(self.loss, self.pred, self.target, self.valid, self.crashes, **kwargs)

    def but(self, index):
        """The same batch without one image."""
        rows = torch.tensor([row for row in range(len(self.pred)) if row != index])

        def of_rows(value):
            if not isinstance(value, torch.Tensor) or not value.ndim:
                return value
            return value.view(B, -1, *value.shape[1:])[rows].flatten(0, 1)

        kwargs = {key: of_rows(value) for key, value in self.kwargs.items()}
        return Case(self.loss, self.pred[rows], self.target[rows], **kwargs)

    def image(self, index):
        """The same batch, cut down to one image."""
        kwargs = {}
        for key, value in self.kwargs.items():
            if isinstance(value, torch.Tensor) and value.ndim:
                value = value.view(B, -1, *value.shape[1:])[index]
                if len(self.kwargs[key]) == B:
                    value = value[:1]
            kwargs[key] = value
        return self.pred[index : index + 1], self.target[index : index + 1], kwargs


def seg(**loss):
    return dict(type='mmseg.CrossEntropyLoss', **loss)


def cls(**loss):
    return dict(type='mmpretrain.CrossEntropyLoss', **loss)


MAP, SCORES = randn(B, C, H, W), randn(B, C) * 2
LABELS, IGNORED = classes(B, H, W), classes(B, H, W, ignore=255)
PIXELS = rand(B, H, W, seed=7) + 0.1
ROWS = rand(B, seed=8) + 0.1
BINARY, BINARY_IGNORED = classes(B, H, W, high=2), classes(B, H, W, high=2, ignore=255)
LABEL = classes(B)
SOFT = rand(B, C, seed=9).softmax(1)
MULTI = (rand(B, C, seed=10) > 0.4).long()
FOCAL = dict(type='mmseg.FocalLoss')


def seg_cases():
    for name, avg in (('', False), (', avg_non_ignore', True)):
        loss = seg(avg_non_ignore=avg)
        yield 'softmax' + name, Case(loss, MAP, LABELS)
        yield (
            'softmax, ignored pixels' + name,
            Case(loss, MAP, IGNORED, IGNORED != 255, ignore_index=255),
        )
        yield (
            'softmax, a class is ignored' + name,
            Case(loss, MAP, LABELS, LABELS != 1, ignore_index=1),
        )
        yield (
            'softmax, the default ignore_index' + name,
            Case(loss, MAP, torch.where(IGNORED == 255, -100, IGNORED), IGNORED != 255),
        )
        yield (
            'softmax, pixel weights' + name,
            Case(loss, MAP, IGNORED, IGNORED != 255, weight=PIXELS, ignore_index=255),
        )
        yield (
            'softmax, avg_factor' + name,
            Case(
                loss, MAP, IGNORED, IGNORED != 255, weight=PIXELS, avg_factor=17.0, ignore_index=255
            ),
        )
        yield (
            'softmax, avg_factor is a tensor' + name,
            Case(loss, MAP, LABELS, avg_factor=torch.tensor(17.0)),
        )
        # Where it counts the class weights, onedl's loss masks what it has already masked if
        # avg_non_ignore is set, and stock's looks up the weight of class 255.
        yield (
            'softmax, class_weight' + name,
            Case(
                seg(class_weight=CLASS_WEIGHT, avg_non_ignore=avg), MAP, LABELS, crashes=IndexError
            ),
        )
        yield (
            'softmax, class_weight, ignored pixels' + name,
            Case(
                seg(class_weight=CLASS_WEIGHT, avg_non_ignore=avg),
                MAP,
                IGNORED,
                IGNORED != 255,
                crashes=IndexError,
                ignore_index=255,
            ),
        )
        yield (
            'softmax, class_weight, a class is ignored' + name,
            Case(
                seg(class_weight=CLASS_WEIGHT, avg_non_ignore=avg),
                MAP,
                LABELS,
                LABELS != 1,
                crashes=IndexError,
                ignore_index=1,
            ),
        )
        yield (
            'softmax, class_weight, avg_factor' + name,
            Case(
                seg(class_weight=CLASS_WEIGHT, avg_non_ignore=avg),
                MAP,
                IGNORED,
                IGNORED != 255,
                weight=PIXELS,
                avg_factor=17.0,
                ignore_index=255,
            ),
        )
        yield 'softmax, soft labels' + name, Case(loss, MAP, MAP.flip(1).softmax(1))
        yield (
            'softmax, no pixels' + name,
            Case(
                loss,
                SCORES,
                classes(B, ignore=255),
                classes(B, ignore=255) != 255,
                ignore_index=255,
            ),
        )
        loss = seg(use_sigmoid=True, avg_non_ignore=avg)
        yield 'sigmoid' + name, Case(loss, MAP, LABELS)
        yield (
            'sigmoid, ignored pixels' + name,
            Case(loss, MAP, IGNORED, IGNORED != 255, ignore_index=255),
        )
        yield (
            'sigmoid, negative labels' + name,
            Case(loss, MAP, torch.where(IGNORED == 255, -1, IGNORED), IGNORED != 255),
        )
        yield (
            'sigmoid, pixel weights' + name,
            Case(loss, MAP, IGNORED, IGNORED != 255, weight=PIXELS, ignore_index=255),
        )
        yield (
            'sigmoid, avg_factor' + name,
            Case(
                loss, MAP, IGNORED, IGNORED != 255, weight=PIXELS, avg_factor=17.0, ignore_index=255
            ),
        )
        yield (
            'sigmoid, class_weight' + name,
            Case(
                seg(
                    use_sigmoid=True, class_weight=[[[w]] for w in CLASS_WEIGHT], avg_non_ignore=avg
                ),
                MAP,
                IGNORED,
                IGNORED != 255,
                ignore_index=255,
            ),
        )
        yield 'sigmoid, soft labels' + name, Case(loss, MAP, MAP.flip(1).sigmoid())
        yield (
            'sigmoid, one channel' + name,
            Case(loss, MAP[:, :1], BINARY_IGNORED, BINARY_IGNORED != 255, ignore_index=255),
        )
        yield (
            'sigmoid, one channel, pixel weights' + name,
            Case(
                loss,
                MAP[:, :1],
                BINARY_IGNORED,
                BINARY_IGNORED != 255,
                weight=PIXELS,
                ignore_index=255,
            ),
        )
        yield (
            'sigmoid, no pixels' + name,
            Case(
                loss,
                SCORES,
                classes(B, ignore=255),
                classes(B, ignore=255) != 255,
                ignore_index=255,
            ),
        )
    one_hots = one_hot(LABELS)
    weights = PIXELS.view(-1)
    yield 'focal, one-hot', Case(FOCAL, MAP, one_hots)
    yield 'focal, one-hot, weights', Case(FOCAL, MAP, one_hots, weight=weights)
    yield 'focal, one-hot, avg_factor', Case(FOCAL, MAP, one_hots, weight=weights, avg_factor=17.0)
    yield (
        'focal, one-hot, settings',
        Case(
            dict(FOCAL, gamma=1.5, alpha=[0.2, 0.5, 0.7], class_weight=CLASS_WEIGHT), MAP, one_hots
        ),
    )
    yield 'focal, soft labels', Case(FOCAL, MAP, MAP.flip(1).softmax(1))
    # Without a GPU it takes one column of one-hot labels for all of them.
    yield 'focal, indices', Case(FOCAL, MAP, LABELS, crashes=(RuntimeError, ValueError))
    yield (
        'focal, indices, one channel',
        Case(FOCAL, MAP[:, :1], BINARY, crashes=(RuntimeError, ValueError)),
    )
    yield 'focal, no pixels', Case(FOCAL, SCORES, one_hot(LABEL))


def cls_cases():
    hard = torch.tensor([0, 2, -100, 1])
    yield 'softmax', Case(cls(), SCORES, LABEL)
    yield 'softmax, the default ignore_index', Case(cls(), SCORES, hard, hard != -100)
    yield 'softmax, weights', Case(cls(), SCORES, LABEL, weight=ROWS)
    yield 'softmax, avg_factor', Case(cls(), SCORES, LABEL, weight=ROWS, avg_factor=3.0)
    yield 'softmax, avg_factor is a number of samples', Case(cls(), SCORES, LABEL, avg_factor=B)
    yield (
        'softmax, avg_factor is a tensor',
        Case(cls(), SCORES, LABEL, avg_factor=torch.tensor(3.0)),
    )
    yield 'softmax, class_weight', Case(cls(class_weight=CLASS_WEIGHT), SCORES, LABEL)
    yield 'softmax, probabilities', Case(cls(), SCORES, SOFT)
    yield 'softmax, a map', Case(cls(), MAP, LABELS)
    yield 'soft', Case(cls(use_soft=True), SCORES, SOFT)
    yield 'soft, weights', Case(cls(use_soft=True), SCORES, SOFT, weight=ROWS, avg_factor=3)
    yield 'soft, class_weight', Case(cls(use_soft=True, class_weight=CLASS_WEIGHT), SCORES, SOFT)
    yield 'sigmoid', Case(cls(use_sigmoid=True), SCORES, MULTI)
    yield 'sigmoid, weights', Case(cls(use_sigmoid=True), SCORES, MULTI, weight=ROWS, avg_factor=3)
    yield (
        'sigmoid, class_weight and pos_weight',
        Case(
            cls(use_sigmoid=True, class_weight=CLASS_WEIGHT, pos_weight=[2.0, 0.5, 1.1]),
            SCORES,
            MULTI,
        ),
    )
    for mode in ('original', 'classy_vision', 'multi_label'):
        loss = dict(
            type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, num_classes=C, mode=mode
        )
        if mode == 'multi_label':
            loss['use_sigmoid'] = True
            yield (
                'label smooth, multi_label, pos_weight',
                Case(dict(loss, pos_weight=[2.0, 0.5, 1.1]), SCORES, MULTI),
            )
            yield (
                'label smooth, multi_label, softmax',
                Case(dict(loss, use_sigmoid=False), SCORES, MULTI),
            )
            target = MULTI
        else:
            yield f'label smooth, {mode}, one-hot', Case(loss, SCORES, one_hot(LABEL))
            yield (
                f'label smooth, {mode}, sigmoid',
                Case(dict(loss, use_sigmoid=True), SCORES, LABEL),
            )
            yield f'label smooth, {mode}, mixed labels', Case(loss, SCORES, SOFT)
            yield (
                f'label smooth, {mode}, num_classes unknown',
                Case(dict(loss, num_classes=None), SCORES, LABEL),
            )
            target = LABEL
        yield f'label smooth, {mode}', Case(loss, SCORES, target)
        yield (
            f'label smooth, {mode}, weights',
            Case(loss, SCORES, target, weight=ROWS, avg_factor=3.0),
        )
        yield (
            f'label smooth, {mode}, class_weight',
            Case(dict(loss, class_weight=CLASS_WEIGHT), SCORES, target),
        )
    focal = dict(type='mmpretrain.FocalLoss')
    yield 'focal', Case(focal, SCORES, MULTI)
    yield 'focal, indices', Case(focal, SCORES, LABEL)
    yield 'focal, columns of indices', Case(focal, SCORES, LABEL[:, None])
    yield (
        'focal, settings',
        Case(dict(focal, gamma=1.5, alpha=0.6), SCORES, MULTI, weight=ROWS, avg_factor=3.0),
    )


CASES = {
    **{f'mmseg {name}': case for name, case in seg_cases()},
    **{f'mmpretrain {name}': case for name, case in cls_cases()},
}


def double(value):
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if floating else value


def skip_if_the_toolbox_cannot(case, **changes):
    """Some modes crash in the toolbox itself; there is nothing to be equal to."""
    try:
        with torch.no_grad():
            case.wrapped(**changes)(case.pred, case.target, **case.kwargs)
    except case.crashes as error:
        pytest.skip(f'{case.loss["type"]} itself cannot do it: {error!s:.80}')


def call(loss, case, weights=None, reduction_override=None):
    """The value and the gradient for the logits.

    Returns:
        tuple[Tensor, Tensor]: Both.
    """
    pred = case.pred.clone().requires_grad_()
    if weights is not None:
        loss.begin_batch(weights)
    value = loss(
        pred,
        case.target,
        **case.kwargs,
        **({} if reduction_override is None else dict(reduction_override=reduction_override)),
    )
    value.sum().backward()
    return value.detach(), pred.grad


def in_float64(loss, *args, **kwargs):
    """Call a toolbox's loss on doubles; the toolboxes turn targets of sigmoids to floats."""
    original = F.binary_cross_entropy_with_logits

    def cast(pred, target, **settings):
        return original(pred, target.to(pred), **settings)

    with mock.patch.object(F, 'binary_cross_entropy_with_logits', cast), torch.no_grad():
        value = loss(*map(double, args), **{key: double(kwargs[key]) for key in kwargs})
    assert value.dtype == torch.float64
    return value


def sums_of_images(case, **changes):
    """The part of each image, float64 [B]: its sum, by the wrapped loss."""
    loss, images = case.wrapped(**changes), [case.without('avg_factor').image(i) for i in range(B)]
    return torch.stack(
        [
            in_float64(loss, pred, target, reduction_override='sum', **kwargs)
            for pred, target, kwargs in images
        ]
    )


def divisor_of(case, **changes):
    """What the wrapped loss divides the sum of the batch by, float64."""
    loss, args = case.wrapped(**changes), (case.pred, case.target)
    mean = in_float64(loss, *args, reduction_override='mean', **case.kwargs)
    return (
        in_float64(loss, *args, reduction_override='sum', **case.without('avg_factor').kwargs)
        / mean
    )


def counts_of(case, **changes):
    """What each image adds to that divisor, float64 [B]; 0 where it is none of the batch."""
    whole = divisor_of(case, **changes)
    return torch.stack([whole - divisor_of(case.but(i), **changes) for i in range(B)])


def weighted_divisor(case, weights, **changes):
    """That divisor, where each image counts as what it stands for: (w * V).sum() * B / w.sum()."""
    divisor, counts = divisor_of(case, **changes), counts_of(case, **changes)
    if not torch.allclose(counts.sum(), divisor, rtol=1e-6):
        return divisor  # avg_factor, the same for any batch
    weights = weights.double()
    return (weights * counts).sum() * B / weights.sum()


def is_counted(case):
    """Whether some images add more to the divisor than others."""
    counts = counts_of(case)
    return not torch.allclose(counts, counts[0].expand(B), rtol=1e-6)


def each(*names, but='?'):
    """Cases by a part of their names, all of them without one; but not those."""
    chosen = [
        name
        for name in CASES
        if but not in name and (not names or any(part in name for part in names))
    ]
    assert chosen
    return pytest.mark.parametrize('case', [pytest.param(CASES[name], id=name) for name in chosen])


# ----------------------------------------------------------- weights of one


@each()
def test_with_weights_of_one_it_is_the_wrapped_loss_bit_for_bit(case):
    skip_if_the_toolbox_cannot(case)
    value, gradient = call(case.wrapped(), case)
    ours, our_gradient = call(case.wrapper(), case, torch.ones(B))
    assert torch.equal(ours, value) and ours.dtype == value.dtype and ours.shape == value.shape
    assert torch.equal(our_gradient, gradient)


@each()
def test_with_another_loss_weight_it_is_the_wrapped_loss_bit_for_bit(case):
    skip_if_the_toolbox_cannot(case)
    value, gradient = call(case.wrapped(loss_weight=0.4), case)
    ours, our_gradient = call(case.wrapper(loss_weight=0.4), case, torch.ones(B))
    assert torch.equal(ours, value)
    assert torch.equal(our_gradient, gradient)


@each()
def test_with_reduction_sum_it_is_the_wrapped_loss(case):
    case = case.without('avg_factor')
    skip_if_the_toolbox_cannot(case, reduction='sum')
    for setting, override in ((dict(reduction='sum'), None), ({}, 'sum')):
        value, gradient = call(case.wrapped(**setting), case, None, override)
        ours, our_gradient = call(case.wrapper(**setting), case, torch.ones(B), override)
        assert torch.equal(ours, value)
        assert torch.equal(our_gradient, gradient)


@each('mmseg softmax', 'mmpretrain softmax', 'mmpretrain focal')
def test_an_override_to_mean_is_the_wrapped_losss_mean(case):
    skip_if_the_toolbox_cannot(case)
    value, _ = call(case.wrapped(reduction='sum'), case, None, 'mean')
    assert torch.equal(call(case.wrapper(reduction='sum'), case, torch.ones(B), 'mean')[0], value)


@pytest.mark.parametrize(
    'loss, pred, target',
    [(seg(), MAP, LABELS), (cls(), SCORES, LABEL), (cls(use_sigmoid=True), SCORES, MULTI)],
)
def test_avg_factor_with_sum_is_refused_as_by_the_wrapped_loss(loss, pred, target):
    wrapper = InfoBatchLoss(dict(loss, reduction='sum'))
    wrapper.begin_batch(torch.ones(B))
    with pytest.raises(ValueError, match='avg_factor can not be used with reduction="sum"'):
        wrapper(pred, target, avg_factor=3)


def crowd_of_pixels(seed):
    """A batch as large as a real one, with an ignored border."""
    labels = classes(2, 64, 96, ignore=255, seed=seed)
    return randn(2, C, 64, 96, seed=seed), labels


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(avg_non_ignore=True),
        dict(use_sigmoid=True),
        dict(use_sigmoid=True, avg_non_ignore=True),
        dict(class_weight=CLASS_WEIGHT),
    ],
    ids=str,
)
def test_the_wrapped_loss_of_large_maps_is_the_toolboxs_bit_for_bit(settings):
    # Float32 sums of many numbers depend on the order in which they are taken.
    for seed in range(3):
        pred, labels = crowd_of_pixels(seed)
        case = Case(seg(**settings), pred, labels, crashes=IndexError, ignore_index=255)
        skip_if_the_toolbox_cannot(case)
        value, gradient = call(case.wrapped(), case)
        ours, our_gradient = call(case.wrapper(), case, torch.ones(2))
        assert torch.equal(ours, value)
        assert torch.equal(our_gradient, gradient)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_a_focal_loss_is_bit_for_bit_on_large_maps_too(reduction):
    for seed in range(3):
        pred, labels = crowd_of_pixels(seed)
        target = one_hot(labels.clamp_max(C - 1))
        case = Case(dict(FOCAL, reduction=reduction), pred, target)
        value, _ = call(case.wrapped(), case)
        assert torch.equal(call(case.wrapper(), case, torch.ones(2))[0], value)


@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_class_weights_of_ignored_pixels_do_not_count_even_where_the_toolbox_crashes(
    avg_non_ignore,
):
    # Stock mmseg cannot do this at all, onedl's not with avg_non_ignore. What both aim at is the
    # mean that torch has: over the class weights of the valid pixels.
    wrapper = InfoBatchLoss(seg(class_weight=CLASS_WEIGHT, avg_non_ignore=avg_non_ignore))
    wrapper.begin_batch(torch.ones(B))
    weight = torch.tensor(CLASS_WEIGHT)
    assert torch.allclose(
        wrapper(MAP, IGNORED, ignore_index=255),
        F.cross_entropy(MAP, IGNORED, weight, ignore_index=255),
        rtol=1e-6,
    )


def test_with_no_valid_pixel_at_all_it_is_the_wrapped_loss():
    for avg_non_ignore in (False, True):
        case = Case(
            seg(avg_non_ignore=avg_non_ignore), MAP, torch.full_like(LABELS, 255), ignore_index=255
        )
        value, gradient = call(case.wrapped(), case)
        ours, our_gradient = call(case.wrapper(), case, torch.ones(B))
        assert torch.equal(ours, value) and torch.equal(our_gradient, gradient)
        assert float(ours) == 0


# ------------------------------------------------------------ other weights


@pytest.mark.parametrize('loss_weight', [1.0, 0.4])
@each()
def test_a_weighted_batch_is_the_weighted_sum_of_its_images_over_that_divisor(case, loss_weight):
    skip_if_the_toolbox_cannot(case)
    weights = rand(B, seed=3) * 2 + 0.1
    parts = sums_of_images(case, loss_weight=loss_weight)
    divisor = weighted_divisor(case, weights, loss_weight=loss_weight)
    expected = (weights.double() * parts).sum() / divisor
    ours, _ = call(case.wrapper(loss_weight=loss_weight), case, weights)
    assert torch.allclose(ours.double(), expected, rtol=2e-6, atol=0)
    plain = parts.sum() / divisor  # control: the weights matter
    assert not torch.allclose(ours.double(), plain, rtol=1e-3, atol=0)


@each()
def test_a_weighted_sum_is_not_divided(case):
    case = case.without('avg_factor')
    skip_if_the_toolbox_cannot(case, reduction='sum')
    weights = rand(B, seed=3) * 2 + 0.1
    expected = (weights.double() * sums_of_images(case)).sum()
    ours, _ = call(case.wrapper(reduction='sum'), case, weights)
    assert torch.allclose(ours.double(), expected, rtol=2e-6, atol=0)


@each()
def test_the_gradient_of_an_image_grows_with_its_weight(case):
    skip_if_the_toolbox_cannot(case)
    _, plain = call(case.wrapper(), case, torch.ones(B))
    weights = rand(B, seed=4) * 2 + 0.1
    _, weighted = call(case.wrapper(), case, weights)
    by_image = weights.view(-1, *[1] * (plain.ndim - 1))
    scale = (divisor_of(case) / weighted_divisor(case, weights)).float()
    assert torch.allclose(weighted, plain * by_image * scale, rtol=1e-5, atol=1e-9)
    assert float(plain.abs().sum()) > 0
    if is_counted(case):
        return
    # Powers of two leave nothing to round.
    weights = torch.tensor([1.0, 2.0, 0.5, 4.0])
    _, weighted = call(case.wrapper(), case, weights)
    assert torch.equal(weighted, plain * weights.view_as(by_image))


def test_an_image_with_weight_two_counts_as_if_it_were_there_twice():
    # What unbiasedness rests on.
    wrapper = InfoBatchLoss(seg(reduction='sum'))
    wrapper.begin_batch(torch.tensor([1.0, 2.0, 1.0, 1.0]))
    twice = [0, 1, 1, 2, 3]
    assert torch.allclose(
        wrapper(MAP, LABELS), MODELS.build(seg(reduction='sum'))(MAP[twice], LABELS[twice])
    )


@pytest.mark.parametrize('name', [n for n, c in CASES.items() if 'avg_factor' not in c.kwargs])
def test_an_image_of_weight_w_is_w_images_of_the_batch(name):
    """The toolbox's own mean over a batch that has each image as often as its weight says, times
    the mean weight, as the batch is that much smaller."""
    case, weights = CASES[name], torch.tensor([1, 3, 2, 1])
    skip_if_the_toolbox_cannot(case)
    times = torch.arange(B).repeat_interleave(weights)

    def repeated(value):
        if not isinstance(value, torch.Tensor) or not value.ndim:
            return value
        return value.view(B, -1, *value.shape[1:])[times].flatten(0, 1)

    kwargs = {key: repeated(value) for key, value in case.kwargs.items()}
    own = case.wrapped()(case.pred[times], case.target[times], **kwargs)
    ours, _ = call(case.wrapper(), case, weights.float())
    assert torch.allclose(ours, own * weights.float().mean(), rtol=1e-5)


COUNTS = {
    'valid pixels': lambda case: (case.target != 255).sum(),
    'valid pixels, as a number': lambda case: int((case.target != 255).sum()),
    'weights of pixels': lambda case: case.kwargs['weight'].sum(),
}


@pytest.mark.parametrize('name', COUNTS)
def test_an_avg_factor_that_a_head_counts_in_the_batch_is_counted_by_weight(name):
    weights = torch.tensor([1.0, 3.0, 2.0, 1.0])
    case = Case(seg(), MAP, IGNORED, weight=PIXELS * (IGNORED != 255), ignore_index=255)
    case.kwargs['avg_factor'] = COUNTS[name](case)
    counts = case.kwargs['weight'] if 'weights' in name else (IGNORED != 255).float()
    expected = (weights * counts.sum((1, 2))).sum() * B / weights.sum()
    ours, _ = call(case.wrapper(), case, weights)
    case.kwargs['avg_factor'] = expected
    assert torch.allclose(ours, (weights * sums_of_images(case).float()).sum() / expected)
    assert not torch.allclose(expected, counts.sum(), rtol=0.02)  # control


@pytest.mark.parametrize('name', ['mmseg softmax, ignored pixels', 'mmpretrain softmax'])
def test_weights_are_not_rounded_to_the_precision_of_the_loss(name):
    """In bfloat16 this weight would be 1, 0.36 % off in each batch of a pass."""
    case, weight = CASES[name], 1.0036
    assert torch.tensor(weight).bfloat16() == 1
    case = Case(case.loss, case.pred.bfloat16(), case.target, **case.kwargs)
    values = case.wrapped()(case.pred, case.target, **case.kwargs, reduction_override='none')
    assert values.dtype == torch.bfloat16
    wrapper = case.wrapper()
    wrapper.begin_batch(torch.full((B,), weight))
    ours = wrapper(case.pred, case.target, **case.kwargs)
    expected = weight * values.double().sum() / values.numel()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_divisor_does_not_follow_the_weights():
    wrapper = InfoBatchLoss(cls())
    wrapper.begin_batch(torch.full((B,), 2.0))
    assert torch.allclose(wrapper(SCORES, LABEL), 2 * F.cross_entropy(SCORES, LABEL))


def test_a_counted_divisor_does_not_follow_weights_that_are_all_the_same():
    wrapper = InfoBatchLoss(seg(avg_non_ignore=True))
    wrapper.begin_batch(torch.full((B,), 2.0))
    own = MODELS.build(seg(avg_non_ignore=True))(MAP, IGNORED, ignore_index=255)
    assert torch.allclose(wrapper(MAP, IGNORED, ignore_index=255), 2 * own)


# ------------------------------------------------------------------- scores


@pytest.mark.parametrize('loss_weight', [1.0, 0.4])
@each('mmseg', but='no pixels')
def test_the_score_of_an_image_is_the_mean_over_its_valid_pixels(case, loss_weight):
    skip_if_the_toolbox_cannot(case)
    valid = torch.ones(B, H, W).bool() if case.valid is None else case.valid
    count = valid.sum((1, 2))
    softmax = 'CrossEntropy' in case.loss['type'] and not case.loss.get('use_sigmoid')
    if not softmax:
        count = count * case.pred.shape[1]  # a value for each class
    expected = sums_of_images(case, loss_weight=loss_weight) / count
    wrapper = case.wrapper(loss_weight=loss_weight)
    call(wrapper, case, rand(B, seed=5) + 0.5)  # the weights are not in the scores
    scores = wrapper.end_batch()
    assert scores.dtype == torch.float32 and not scores.requires_grad
    assert torch.allclose(scores.double(), expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize('loss_weight', [1.0, 0.4])
@each('mmpretrain', 'no pixels')
def test_the_scores_of_a_classification_average_to_the_loss_of_the_batch(case, loss_weight):
    skip_if_the_toolbox_cannot(case)
    wrapper = case.wrapper(loss_weight=loss_weight)
    value, _ = call(wrapper, case, torch.ones(B))
    scores = wrapper.end_batch()
    valid = torch.ones(B).bool() if case.valid is None else case.valid
    assert torch.equal(scores.isnan(), ~valid)
    assert torch.allclose(scores[valid].sum() / B, value, rtol=1e-5)
    parts = sums_of_images(case, loss_weight=loss_weight)
    expected = parts * (B / divisor_of(case, loss_weight=loss_weight))
    assert torch.allclose(scores[valid].double(), expected[valid], rtol=2e-6, atol=0)


@pytest.mark.parametrize('channels', [1, C])
@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(avg_non_ignore=True),
        dict(use_sigmoid=True),
        dict(use_sigmoid=True, avg_non_ignore=True),
    ],
    ids=str,
)
def test_an_image_without_a_valid_pixel_has_no_score_and_harms_no_other(settings, channels):
    labels = BINARY_IGNORED.clone() if settings.get('use_sigmoid') else IGNORED % channels
    labels[IGNORED == 255] = 255
    labels[2] = 255
    case = Case(seg(**settings), MAP[:, :channels], labels, ignore_index=255)
    wrapper = case.wrapper()
    value, gradient = call(wrapper, case, torch.ones(B))
    scores = wrapper.end_batch()
    assert scores.isnan().tolist() == [False, False, True, False]
    assert value.isfinite() and gradient.isfinite().all() and not gradient[2].any()
    assert torch.equal(value, call(case.wrapped(), case)[0])


class FocalOfIndices(type(MODELS.build(FOCAL))):
    """What mmseg's FocalLoss does with indices on a GPU, and means to do without one."""

    def forward(
        self,
        pred,
        target,
        weight=None,
        avg_factor=None,
        reduction_override=None,
        ignore_index=255,
        **kwargs,
    ):
        valid = (target != ignore_index)[:, None]
        target = one_hot(torch.where(valid[:, 0], target, 0), pred.shape[1] + 1)[:, :-1]
        values = super().forward(pred, target, weight, reduction_override='none') * valid
        reduction = reduction_override or self.reduction
        return dict(none=lambda: values, mean=values.mean, sum=values.sum)[reduction]()


@pytest.mark.parametrize('ignore_index', [255, 1])
def test_the_scores_of_a_focal_loss_of_indices_leave_out_what_it_ignores(ignore_index):
    labels = IGNORED.clone()
    labels[2] = ignore_index
    valid = labels != ignore_index
    labels[valid] %= C
    wrapper = InfoBatchLoss(FocalOfIndices())
    wrapper.begin_batch(torch.ones(B))
    kwargs = {} if ignore_index == 255 else dict(ignore_index=ignore_index)
    value = wrapper(MAP, labels, **kwargs)
    values = FocalOfIndices(reduction='none')(MAP, labels, **kwargs)
    assert torch.allclose(value, values.mean())
    scores = wrapper.end_batch()
    assert scores.isnan().tolist() == [False, False, True, False]
    expected = values.sum((1, 2, 3)) / (C * valid.sum((1, 2)))
    assert torch.allclose(scores[valid.any(2).any(1)], expected[valid.any(2).any(1)], rtol=1e-5)


def test_score_false_weighs_and_does_not_score():
    case = CASES['mmpretrain softmax']
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    silent = InfoBatchLoss(case.loss, score=False)
    assert torch.equal(call(silent, case, weights)[0], call(case.wrapper(), case, weights)[0])
    assert silent.end_batch() is None and silent.score is False


@each('mmseg softmax, ignored pixels', 'mmpretrain softmax, weights')
def test_two_calls_in_a_step_are_summed(case):
    wrapper = case.wrapper()
    call(wrapper, case, torch.ones(B))
    one = wrapper.end_batch()
    other_case = Case(case.loss, case.pred.flip(0), case.target, **case.kwargs)
    call(wrapper, other_case, torch.ones(B))
    other = wrapper.end_batch()
    wrapper.begin_batch(torch.ones(B))
    call(wrapper, case)
    call(wrapper, other_case)
    assert torch.equal(wrapper.end_batch(), one + other)


def test_what_a_head_adds_to_its_value_in_place_is_no_part_of_it():
    """mmseg's heads do so where two losses have one name."""
    head = MODELS.build(
        dict(
            type='mmseg.FCNHead',
            in_channels=C,
            channels=2,
            num_classes=C,
            loss_decode=[
                dict(type='InfoBatchLoss', loss=seg()),
                dict(type='InfoBatchLoss', loss=dict(type='mmseg.DiceLoss', loss_name='loss_ce')),
            ],
        )
    )
    samples = [mock.Mock(**{'gt_sem_seg.data': label[None]}) for label in LABELS]
    for loss in head.loss_decode:
        loss.begin_batch(torch.ones(B), True)
    value = head.loss([randn(B, C, H, W)], samples, None)['loss_ce']
    assert torch.allclose(value, sum(loss.trained for loss in head.loss_decode))


def test_scores_are_handed_out_once_and_a_new_batch_begins_without_any():
    case = CASES['mmpretrain softmax']
    wrapper = case.wrapper()
    call(wrapper, case, torch.ones(B))
    assert wrapper.end_batch() is not None
    assert wrapper.end_batch() is None
    call(wrapper, case, torch.ones(B))  # a step that failed before its end
    wrapper.begin_batch(torch.ones(B))
    assert wrapper.end_batch() is None


def test_a_nan_loss_is_a_nan_score_of_that_sample_alone():
    scores = SCORES.clone()
    scores[1] = float('nan')
    wrapper = InfoBatchLoss(cls())
    wrapper.begin_batch(torch.ones(B))
    wrapper(scores, LABEL)
    assert wrapper.end_batch().isnan().tolist() == [False, True, False, False]


# ------------------------------------------------------------- passing through


def untouched(wrapper, case, **kwargs):
    """Whether the wrapper is the wrapped loss here, and keeps no score."""
    ours = wrapper(case.pred, case.target, **case.kwargs, **kwargs)
    theirs = case.wrapped()(case.pred, case.target, **case.kwargs, **kwargs)
    return torch.equal(ours, theirs) and wrapper.end_batch() is None


@each('mmseg softmax, ignored', 'mmpretrain softmax, weights', 'mmseg focal, one-hot, weights')
def test_a_call_without_reduction_is_that_of_the_wrapped_loss_and_not_recorded(case):
    wrapper = case.wrapper()
    wrapper.begin_batch(torch.full((B,), 3.0))
    assert untouched(wrapper, case, reduction_override='none')


def test_a_call_without_reduction_may_have_any_number_of_rows():
    # OHEM's pixel sampler calls the loss a second time; others call it for a part of the pixels.
    wrapper = InfoBatchLoss(seg())
    wrapper.begin_batch(torch.full((7,), 3.0))
    assert wrapper(MAP, LABELS, reduction_override='none').shape == (B, H, W)
    assert wrapper.end_batch() is None


@each('mmseg softmax, ignored', 'mmpretrain softmax, weights')
def test_in_evaluation_it_is_the_wrapped_loss(case):
    wrapper = case.wrapper().eval()
    wrapper.begin_batch(torch.full((B,), 3.0))
    with torch.no_grad():
        assert untouched(wrapper, case)


@each('mmseg softmax, ignored', 'mmpretrain softmax, weights')
def test_without_weights_it_is_the_wrapped_loss(case):
    wrapper = case.wrapper()
    assert untouched(wrapper, case)
    call(wrapper, case, torch.full((B,), 3.0))
    wrapper.end_batch()
    assert untouched(wrapper, case)  # between two steps


@pytest.mark.parametrize(
    'name, function',
    [
        ('mmseg softmax, ignored pixels, avg_non_ignore', 'cross_entropy'),
        ('mmseg sigmoid, ignored pixels', 'binary_cross_entropy_with_logits'),
        ('mmseg focal, one-hot', 'binary_cross_entropy_with_logits'),
        ('mmpretrain softmax', 'cross_entropy'),
        ('mmpretrain sigmoid', 'binary_cross_entropy_with_logits'),
        ('mmpretrain label smooth, original', 'log_softmax'),
        ('mmpretrain focal', 'binary_cross_entropy_with_logits'),
    ],
)
def test_the_wrapped_loss_is_evaluated_once(monkeypatch, name, function):
    case, calls = CASES[name], []
    original = getattr(F, function)

    def counted(*args, **kwargs):
        calls.append(function)
        return original(*args, **kwargs)

    monkeypatch.setattr(F, function, counted)
    wrapper = case.wrapper()
    wrapper.loss.register_forward_hook(lambda *_: calls.append('forward'))
    call(wrapper, case, torch.ones(B))
    assert sorted(calls) == sorted([function, 'forward'])


@pytest.mark.parametrize('arguments', ['positional', 'keywords', 'all keywords'])
def test_arguments_may_be_given_in_any_way_the_wrapped_loss_takes(arguments):
    wrapper, wrapped = InfoBatchLoss(seg()), MODELS.build(seg())
    calls = {
        'positional': ((MAP, IGNORED, PIXELS, 17.0, None, 255), {}),
        'keywords': ((MAP, IGNORED), dict(weight=PIXELS, avg_factor=17.0, ignore_index=255)),
        'all keywords': (
            (),
            dict(ignore_index=255, avg_factor=17.0, label=IGNORED, weight=PIXELS, cls_score=MAP),
        ),
    }
    args, kwargs = calls[arguments]
    wrapper.begin_batch(torch.ones(B))
    assert torch.equal(wrapper(*args, **kwargs), wrapped(*args, **kwargs))
    assert wrapper.end_batch() is not None


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize('count', [1, 3, 5, 2 * B])
@each('mmseg softmax, ignored pixels', 'mmpretrain softmax', 'mmseg focal, one-hot')
def test_a_batch_of_another_size_is_refused(case, count):
    wrapper = case.wrapper()
    wrapper.begin_batch(torch.ones(count))
    with pytest.raises(ValueError, match=f'this iteration trains {count} samples'):
        wrapper(case.pred, case.target, **case.kwargs)


def test_a_mask_loss_is_refused_with_the_setting_to_change():
    with pytest.raises(ValueError, match='use_mask=True.*set use_mask=False'):
        InfoBatchLoss(seg(use_mask=True))


@pytest.mark.parametrize('loss', [None, 'CrossEntropyLoss', 1, F.cross_entropy])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(TypeError, match='neither a config nor a module'):
        InfoBatchLoss(loss)


def test_a_wrapped_loss_is_not_wrapped_again():
    with pytest.raises(TypeError, match='weight each sample twice'):
        InfoBatchLoss(dict(type='InfoBatchLoss', loss=cls()))


@pytest.mark.parametrize('score', [None, 'no', 0.5])
def test_a_score_that_is_no_flag_is_refused(score):
    with pytest.raises(TypeError, match=f'score has to be True or False, but is {score!r}'):
        InfoBatchLoss(cls(), score=score)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction='median'"):
        InfoBatchLoss(cls(reduction='median'))


# --------------------------------------------------------- what heads look at


def test_a_config_builds_it_in_the_scope_of_a_toolbox():
    for scope, module in (('mmseg', 'mmseg.models'), ('mmpretrain', 'mmpretrain.models')):
        registry = importlib.import_module(f'{scope}.registry').MODELS
        wrapper = registry.build(
            dict(type='InfoBatchLoss', loss=dict(type=f'{scope}.CrossEntropyLoss'))
        )
        assert isinstance(wrapper, InfoBatchLoss)
        assert type(wrapper.loss).__module__.startswith(module)


def test_a_module_may_be_wrapped_as_it_is():
    loss = MODELS.build(cls(loss_weight=0.4))
    assert InfoBatchLoss(loss).loss is loss


def test_a_users_subclass_of_a_toolboxs_loss_follows_its_toolbox():

    class Mine(type(MODELS.build(seg()))):
        pass

    wrapper = InfoBatchLoss(Mine(avg_non_ignore=True))
    wrapper.begin_batch(torch.ones(B))
    theirs = MODELS.build(seg(avg_non_ignore=True))(MAP, IGNORED, ignore_index=255)
    assert torch.equal(wrapper(MAP, IGNORED, ignore_index=255), theirs)


@pytest.mark.parametrize(
    'loss, name',
    [(seg(), 'loss_ce'), (seg(loss_name='loss_mine'), 'loss_mine'), (FOCAL, 'loss_focal')],
)
def test_it_is_logged_under_the_name_of_the_wrapped_loss(loss, name):
    wrapper = InfoBatchLoss(loss)
    assert wrapper.loss_name == name
    assert wrapper.loss_weight == 1.0
    assert InfoBatchLoss(dict(loss, loss_weight=0.4)).loss_weight == 0.4


def test_a_loss_without_a_name_has_none_behind_the_wrapper_either():
    assert not hasattr(MODELS.build(cls()), 'loss_name')
    assert not hasattr(InfoBatchLoss(cls()), 'loss_name')


def test_nothing_is_in_the_state_dict():
    wrapper = InfoBatchLoss(seg(class_weight=CLASS_WEIGHT))
    wrapper.begin_batch(torch.ones(B))
    wrapper(MAP, LABELS)
    assert len(wrapper.state_dict()) == 0 and not list(wrapper.parameters())


def test_its_repr_shows_the_wrapped_loss():
    assert 'CrossEntropyLoss' in repr(InfoBatchLoss(cls())) and 'score=True' in repr(
        InfoBatchLoss(cls())
    )


# ------------------------------------------------------------ mixed precision


# ------------------------------------------------------------------- no waits


def waits_of(loss, case, weights=None):
    if weights is not None:
        loss.begin_batch(weights)
    with waits() as found:
        loss(case.pred, case.target, **case.kwargs)
        if weights is not None:
            loss.end_batch()
    return found


@each()
def test_it_waits_for_the_device_no_more_often_than_the_wrapped_loss(case):
    skip_if_the_toolbox_cannot(case)
    theirs = waits_of(case.wrapped(), case)
    assert len(waits_of(case.wrapper(), case, torch.ones(B))) <= len(theirs)


@pytest.mark.parametrize(
    'name',
    [
        'mmseg softmax',
        'mmseg softmax, ignored pixels',
        'mmseg softmax, pixel weights',
        'mmseg softmax, ignored pixels, avg_non_ignore',
        'mmseg softmax, pixel weights, avg_non_ignore',
        'mmseg softmax, avg_factor',
        'mmseg softmax, class_weight, avg_factor',
        'mmseg focal, one-hot',
        'mmseg sigmoid, soft labels',
        'mmseg sigmoid, soft labels, avg_non_ignore',
        'mmpretrain softmax',
        'mmpretrain softmax, weights',
        'mmpretrain softmax, class_weight',
        'mmpretrain softmax, avg_factor is a tensor',
        'mmpretrain soft, weights',
        'mmpretrain sigmoid',
        'mmpretrain label smooth, original, one-hot',
        'mmpretrain label smooth, multi_label',
        'mmpretrain focal',
    ],
)
def test_where_the_toolbox_gives_a_map_without_a_wait_there_is_none(name):
    # The others wait inside the toolbox: it selects valid pixels, or looks at the greatest label.
    # mmseg's weights of classes are added up over the valid pixels, which are selected by a mask.
    case = CASES[name]
    assert waits_of(case.wrapper(), case, torch.ones(B)) == []
