"""Which losses are taken for the toolboxes' own, and what is trained of every other one.

Each changed loss is compared with itself: with its own value of the batch where nothing is pruned,
and elsewhere with its own value of a batch that has each sample as often as its weight says.
"""

import copy
import functools
import importlib
import pickle
import sys
import warnings

import pytest
import toolbox_runs as runs
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from small_runner import randn

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses.trust import MODULES, UNKNOWN, Kind, kind_of

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    importlib.import_module('mmseg.models.losses.kldiv_loss')  # mmseg.models leaves it out

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

B, C, H, W = 4, 3, 5, 6
SEG = importlib.import_module('mmseg.models.losses.cross_entropy_loss')
CLS = importlib.import_module('mmpretrain.models.losses.cross_entropy_loss')
SMOOTH = importlib.import_module('mmpretrain.models.losses.label_smooth_loss')
RECONSTRUCTION = importlib.import_module('mmpretrain.models.losses.reconstruction_loss')


def pixels():
    """Labels of which from a tenth to nearly all of an image are ignored."""
    labels = torch.arange(B * H * W).view(B, H, W) % C
    for row in range(B):
        labels[row].view(-1)[: 3 + 8 * row] = 255
    return labels


MAPS = (randn(B, C, H, W), pixels(), dict(ignore_index=255))
ROWS = (randn(B, C) * 2, torch.tensor([0, 2, 1, 1]), {})


def evaluate(loss, batch, times=None):
    """The value and the gradient for the prediction, each sample as often as ``times`` says."""
    pred, target, kwargs = batch
    rows = torch.arange(B).repeat_interleave(torch.ones(B).long() if times is None else times)
    pred = pred.clone().requires_grad_()
    value = loss(pred[rows], target[rows], **kwargs)
    value.sum().backward()
    return value.detach(), pred.grad


def assert_is_itself(loss, batch):
    """Trained as what it is, in passes that prune nothing and in those that prune."""
    own, own_gradient = evaluate(loss, batch)
    wrapper = InfoBatchLoss(loss)
    for uniform in (True, False):
        wrapper.begin_batch(torch.ones(B), uniform)
        value, gradient = evaluate(wrapper, batch)
        assert torch.equal(value, own) or (not uniform and torch.allclose(value, own, rtol=1e-5))
        assert torch.allclose(gradient, own_gradient, rtol=1e-4, atol=1e-7)
        assert wrapper.end_batch().isfinite().all()
    weights = torch.tensor([1, 2, 1, 2])
    wrapper.begin_batch(weights.float())
    value, gradient = evaluate(wrapper, batch)
    expected, expected_gradient = evaluate(loss, batch, weights)
    assert torch.allclose(value, 1.5 * expected, rtol=1e-5)
    assert torch.allclose(gradient, 1.5 * expected_gradient, rtol=1e-4, atol=1e-7)


# ------------------------------------------------------------ the reported loss


class Smoothed(SEG.CrossEntropyLoss):
    """Label smoothing of 0.1, and the mean over the valid pixels."""

    def forward(
        self, cls_score, label, weight=None, avg_factor=None, reduction_override=None,
        ignore_index=-100, **kwargs,
    ):  # fmt: skip
        reduction = reduction_override or self.reduction
        loss = F.cross_entropy(
            cls_score, label, reduction=reduction, ignore_index=ignore_index, label_smoothing=0.1
        )
        return self.loss_weight * loss


@pytest.mark.parametrize('loss_weight', [1.0, 0.4])
def test_a_subclass_with_a_forward_of_its_own_is_trained_as_what_it_is(loss_weight):
    loss = Smoothed(loss_weight=loss_weight)
    assert_is_itself(loss, MAPS)
    # control: its base class is another loss, and so is the mean over all pixels
    assert not torch.allclose(evaluate(loss, MAPS)[0], evaluate(SEG.CrossEntropyLoss(), MAPS)[0])


def test_its_scores_are_means_over_the_valid_pixels():
    wrapper = InfoBatchLoss(Smoothed())
    wrapper.begin_batch(torch.tensor([1.0, 2.0, 1.0, 2.0]))
    evaluate(wrapper, MAPS)
    pred, labels, _ = MAPS
    expected = [
        F.cross_entropy(pred[i : i + 1], labels[i : i + 1], ignore_index=255, label_smoothing=0.1)
        for i in range(B)
    ]
    assert torch.allclose(wrapper.end_batch(), torch.stack(expected), rtol=1e-5)


# ---------------------------------------------------------------- changed losses


def doubled(function):
    @functools.wraps(function)
    def changed(*args, **kwargs):
        return 2 * function(*args, **kwargs)

    return changed


def named_like_the_toolboxs(module):
    """A class of the toolbox's name in another module, which may claim to be the toolbox's."""

    def forward(self, cls_score, label, reduction_override=None, ignore_index=-100, **kwargs):
        return F.cross_entropy(
            cls_score, label, reduction=reduction_override or 'mean', ignore_index=ignore_index
        )

    cls = type('CrossEntropyLoss', (torch.nn.Module,), dict(forward=forward, reduction='mean'))
    cls.__module__ = module
    return cls()


class Mixin:
    def forward(self, *args, **kwargs):
        return 2 * super().forward(*args, **kwargs)


class Called(CLS.CrossEntropyLoss):
    def __call__(self, *args, **kwargs):
        return 2 * super().__call__(*args, **kwargs)


class Growing(CLS.CrossEntropyLoss):
    """A factor that would grow, were it not for the test."""

    loss_weight = property(lambda self: 3.0, lambda self, value: None)


class MoreSmoothing(SMOOTH.LabelSmoothLoss):
    def original_smooth_label(self, label):
        return super().original_smooth_label(label) ** 2


class OtherOneHot(SMOOTH.LabelSmoothLoss):
    def generate_one_hot_like_label(self, label):
        return 2 * super().generate_one_hot_like_label(label)


def with_attribute(loss, name, value):
    setattr(loss, name, value)
    return loss


def with_forward_hook(loss):
    loss.register_forward_hook(lambda module, args, value: 2 * value)
    return loss


def with_pre_hook(loss):
    loss.register_forward_pre_hook(lambda module, args: (2 * args[0], *args[1:]))
    return loss


def smoothing(cls=SMOOTH.LabelSmoothLoss):
    return cls(label_smooth_val=0.1, num_classes=C)


CHANGED = {
    'another criterion': lambda: with_attribute(
        SEG.CrossEntropyLoss(), 'cls_criterion', doubled(SEG.cross_entropy)
    ),
    'a partial': lambda: with_attribute(
        SEG.CrossEntropyLoss(), 'cls_criterion', functools.partial(doubled(SEG.cross_entropy))
    ),
    'the other criterion of the toolbox': lambda: with_attribute(
        SEG.CrossEntropyLoss(), 'cls_criterion', SEG.binary_cross_entropy
    ),
    'settings that do not fit the criterion': lambda: with_attribute(
        SEG.CrossEntropyLoss(avg_non_ignore=True), 'use_sigmoid', True
    ),
    'a forward of the instance': lambda: with_attribute(
        SEG.CrossEntropyLoss(), 'forward', doubled(SEG.CrossEntropyLoss().forward)
    ),
    'a mixin': lambda: type('Mixed', (Mixin, SEG.CrossEntropyLoss), {})(),
    'a decorated forward': lambda: type(
        'Decorated',
        (SEG.CrossEntropyLoss,),
        dict(forward=doubled(SEG.CrossEntropyLoss.forward)),
    )(),
    'a forward hook': lambda: with_forward_hook(SEG.CrossEntropyLoss()),
    'a pre-hook': lambda: with_pre_hook(SEG.CrossEntropyLoss()),
    'a class of the same name': lambda: named_like_the_toolboxs('mmseg_ext.losses'),
    'a class that claims the module': lambda: named_like_the_toolboxs(SEG.__name__),
}
CHANGED_ROWS = {
    'a call of its own': Called,
    'a property instead of a setting': Growing,
    'a method that forward calls': lambda: smoothing(MoreSmoothing),
    'another method that forward calls': lambda: smoothing(OtherOneHot),
    'a method of the instance': lambda: with_attribute(
        smoothing(), 'smooth_label', lambda label: label * 0.5
    ),
    'a part': lambda: with_attribute(smoothing(), 'ce', Called(use_soft=True)),
    'a criterion of a part': lambda: with_attribute(
        smoothing(), 'ce', with_attribute(CLS.CrossEntropyLoss(), 'cls_criterion', doubled(
            CLS.soft_cross_entropy))
    ),
}  # fmt: skip


@pytest.mark.filterwarnings('ignore:.*label_smoothing')
@pytest.mark.parametrize('change', CHANGED)
def test_a_changed_loss_of_pixels_is_trained_as_what_it_is(change):
    assert_is_itself(CHANGED[change](), MAPS)


@pytest.mark.parametrize('change', CHANGED_ROWS)
def test_a_changed_loss_of_images_is_trained_as_what_it_is(change):
    loss = CHANGED_ROWS[change]()
    assert_is_itself(loss, ROWS)
    assert kind_of(loss) == UNKNOWN


def test_a_toolboxs_class_whose_forward_was_replaced_is_unknown(monkeypatch):
    for replacement in (doubled(SEG.CrossEntropyLoss.forward), lambda self, *args: 0):
        monkeypatch.setattr(SEG.CrossEntropyLoss, 'forward', replacement)
        assert kind_of(SEG.CrossEntropyLoss()) == UNKNOWN
    monkeypatch.undo()
    assert kind_of(SEG.CrossEntropyLoss()) == ('mmseg', 'CrossEntropyLoss')


def test_a_toolboxs_criterion_that_was_replaced_is_unknown(monkeypatch):
    monkeypatch.setattr(SEG, 'cross_entropy', doubled(SEG.cross_entropy))
    assert kind_of(SEG.CrossEntropyLoss()) == UNKNOWN


def test_a_change_in_the_middle_of_a_run_is_seen_when_the_next_pass_begins():
    wrapper = InfoBatchLoss(SEG.CrossEntropyLoss(avg_non_ignore=True))
    wrapper.loss.forward = doubled(wrapper.loss.forward)
    wrapper.begin_pass()
    wrapper.begin_batch(torch.ones(B))
    own, _ = evaluate(wrapper.loss, MAPS)
    assert torch.allclose(evaluate(wrapper, MAPS)[0], own, rtol=1e-5)


def test_a_hook_that_changes_nothing_leaves_a_loss_what_it_is():
    wrapper, seen = InfoBatchLoss(SEG.CrossEntropyLoss()), []
    wrapper.loss.register_forward_hook(lambda module, args, value: seen.append(value))
    wrapper.begin_batch(torch.ones(B))
    value, _ = evaluate(wrapper, MAPS)
    assert torch.equal(value, evaluate(SEG.CrossEntropyLoss(), MAPS)[0]) and len(seen) == 1


def test_a_loss_of_a_formula_that_is_changed_is_no_longer_of_that_formula():
    class Squared(RECONSTRUCTION.PixelReconstructionLoss):
        def forward(self, pred, target, mask=None):
            return super().forward(pred, target, mask) ** 2

    with pytest.raises(TypeError, match='Squared: it needs a value for each sample'):
        InfoBatchLoss(Squared('L2'))
    part = RECONSTRUCTION.PixelReconstructionLoss('L2')
    part.penalty = torch.nn.MSELoss()  # a mean, of which no formula can be made
    with pytest.raises(TypeError, match='PixelReconstructionLoss: it needs a value'):
        InfoBatchLoss(part)


def test_a_loss_of_images_one_by_one_that_is_changed_is_no_longer_one():
    class Rooted(type(MODELS.build(dict(type='mmseg.TverskyLoss')))):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs).sqrt()

    with pytest.raises(TypeError, match='Rooted: it needs a value for each sample'):
        InfoBatchLoss(Rooted())


def test_a_refused_loss_that_gives_values_of_its_samples_is_no_longer_refused():
    class Fixed(type(MODELS.build(dict(type='mmpretrain.CrossCorrelationLoss')))):
        reduction = 'mean'

        def forward(self, pred, target, reduction_override=None):
            return F.cross_entropy(pred, target, reduction=reduction_override or self.reduction)

    assert_is_itself(Fixed(), ROWS)
    with pytest.raises(TypeError, match='compares all samples'):
        InfoBatchLoss(type('Sub', (Fixed.__mro__[1],), {})())


# ------------------------------------------------------- what stays trusted


class Named(SEG.CrossEntropyLoss):
    """All that does not change what ``forward`` computes."""

    def __init__(self, name, **kwargs):
        super().__init__(**kwargs)
        self.name, self.listeners = name, [print]
        self.report = print

    @property
    def loss_name(self):
        return self.name

    def extra_repr(self):
        return self.name

    def halved(self):
        return self.loss_weight / 2


class Reporting:
    def report(self):
        return type(self).__name__


TRUSTED = {
    'a subclass': lambda: Named('loss_mine', avg_non_ignore=True),
    'a subclass of a subclass': lambda: type('Sub', (Named,), {})('loss_sub'),
    'beside a class without a forward': lambda: type(
        'Mixed', (Reporting, SEG.CrossEntropyLoss), {}
    )(),
    'a copy': lambda: copy.deepcopy(Named('loss_copy')),
    'a shallow copy': lambda: copy.copy(Named('loss_copy')),
    'another class': lambda: with_attribute(
        SEG.CrossEntropyLoss(), 'cls_criterion', SEG.cross_entropy
    ),
}


@pytest.mark.parametrize('name', TRUSTED)
def test_a_loss_that_runs_the_toolboxs_code_is_the_toolboxs(name):
    loss = TRUSTED[name]()
    assert kind_of(loss) == Kind('mmseg', 'CrossEntropyLoss')
    settings = dict(avg_non_ignore=loss.avg_non_ignore)
    value, gradient = evaluate(SEG.CrossEntropyLoss(**settings), MAPS)
    wrapper = InfoBatchLoss(loss)
    wrapper.begin_batch(torch.ones(B))
    assert all(map(torch.equal, evaluate(wrapper, MAPS), (value, gradient)))


def test_a_pickled_loss_is_what_it_was():
    loss = pickle.loads(pickle.dumps(smoothing()))
    assert kind_of(loss) == Kind('mmpretrain', 'LabelSmoothLoss')


SETTINGS = {
    'KLDivLoss': {},
    'LovaszLoss': dict(per_image=True),
    'RegressionLoss': dict(loss_type='L1Loss'),
    'LabelSmoothLoss': dict(label_smooth_val=0.1),
    'PixelReconstructionLoss': dict(criterion='L1'),
    'SwAVLoss': dict(feat_dim=4),
    'CAELoss': dict(lambd=2),
}


@pytest.mark.parametrize(
    'toolbox, name', [(toolbox, name) for toolbox in MODULES for name in MODULES[toolbox]]
)
def test_each_loss_of_the_toolboxes_is_known(toolbox, name):
    full = f'{toolbox}.{name}'
    if MODELS.get(full) is None:
        pytest.skip(f'this version of {toolbox} has no {name}')
    loss = MODELS.build(dict(type=full, **SETTINGS.get(name, {})))
    if name in ('SwAVLoss', 'CAELoss', 'CrossCorrelationLoss'):
        with pytest.raises(TypeError, match='so no sample has a loss of its own'):
            InfoBatchLoss(loss)
    else:
        assert kind_of(loss) == (toolbox, name)
        assert kind_of(type('Sub', (type(loss),), {})(**SETTINGS.get(name, {}))) == (toolbox, name)


def test_the_table_of_losses_has_all_that_the_toolboxes_register():
    """Those of the toolboxes' folders of losses; what is left is no loss."""
    for toolbox in MODULES:
        folder = f'{toolbox}.models.losses'
        registered = {
            name
            for module, content in list(sys.modules.items())
            if module.startswith(f'{folder}.')
            for name, cls in vars(content).items()
            if isinstance(cls, type) and cls.__module__ == module and name.endswith('Loss')
        }
        assert registered and registered <= set(MODULES[toolbox])
