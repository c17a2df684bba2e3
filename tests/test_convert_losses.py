"""Losses of a user's own are tried when a config is converted, and not first by its run."""

import pytest
import toolbox_runs as runs
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

from mm_infobatch import CannotConvert, InfoBatchHook, convert

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
CE = dict(type='CrossEntropyLoss', loss_weight=1.0)


def segmentation(loss=None, **changes):
    cfg = runs.segmentation_config('data', 'work')
    cfg.merge_from_dict(changes)
    if loss is not None:
        cfg.model.decode_head.loss_decode = loss
    return cfg


def classification(loss):
    cfg = runs.classification_config('data', 'work')
    cfg.model.head.loss = loss
    return cfg


def head_of(toolbox, kind):
    loss = dict(type=kind)
    return segmentation(loss) if toolbox == 'mmseg' else classification(loss)


def loss_of(cfg):
    model = cfg.model
    return model.decode_head.loss_decode if 'decode_head' in model else model.head.loss


class Own(nn.Module):
    """The loss of a user, for pixels or images; ``values`` has one number for each."""

    loss_name, reduction = 'loss_own', 'mean'

    def values(self, pred, target):
        return F.cross_entropy(pred, target, reduction='none', ignore_index=255)

    def forward(self, pred, target, reduction_override=None, **kwargs):
        values = self.values(pred, target)
        return values if reduction_override == 'none' else values.mean()


@MODELS.register_module()
class Fine(Own):
    pass


@MODELS.register_module()
class FineWithoutIgnored(Own):
    """Cannot be given ignored pixels: the target would be out of bounds."""

    def values(self, pred, target):
        return F.cross_entropy(pred, target, reduction='none')


@MODELS.register_module()
class FineForSoftTargets(Own):
    """Takes only targets with a value for each class, and nothing else."""

    def values(self, pred, target):
        return F.binary_cross_entropy_with_logits(pred, target, reduction='none')

    def forward(self, pred, target, reduction_override=None):
        return super().forward(pred, target, reduction_override)


@MODELS.register_module()
class HalvesWhatItIsGiven(Own):
    """With ``avg_factor`` it is not what it is without."""

    def forward(self, pred, target, reduction_override=None, avg_factor=None, **kwargs):
        value = super().forward(pred, target, reduction_override)
        return value if avg_factor is None or reduction_override == 'none' else value / 2


@MODELS.register_module()
class DrawsNumbers(Own):
    """Draws random numbers."""

    def values(self, pred, target):
        return super().values(F.dropout(pred, 0.5), target)


@MODELS.register_module()
class FineWithoutKwargs(Own):
    def forward(self, pred, target, reduction_override=None):
        return super().forward(pred, target, reduction_override)


@MODELS.register_module()
class OnADevice(Own):
    """Can be tried neither here nor anywhere without its device."""

    def forward(self, pred, target, reduction_override=None, **kwargs):
        raise RuntimeError('no kernel image is available')


@MODELS.register_module()
class Ignores(Own):
    """Takes ``reduction_override`` and does nothing with it."""

    def forward(self, pred, target, reduction_override=None, **kwargs):
        return self.values(pred, target).mean()


@MODELS.register_module()
class MeanOfImages(Own):
    """The mean of the images' means over valid pixels, which only ignored pixels show."""

    def forward(self, pred, target, reduction_override=None, **kwargs):
        values = self.values(pred, target)
        if reduction_override == 'none':
            return values
        valid = (target != 255).flatten(1) if target.ndim > 1 else (target != 255)[:, None]
        return (values.view(len(values), -1).sum(1) / valid.sum(1)).mean()


@MODELS.register_module()
class ComparesSamples(Own):
    """Has a value for each sample, which depends on the other samples."""

    def values(self, pred, target):
        values = super().values(pred, target)
        return values * pred.softmax(0).flatten(1).mean(1).view(-1, *[1] * (values.ndim - 1))


@MODELS.register_module()
class ComparesWithoutGradient(Own):
    """Depends on the other samples, but no gradient of theirs shows it."""

    def values(self, pred, target):
        values = super().values(pred, target)
        return values * values.detach() / values.detach().mean()


@MODELS.register_module()
class CountsLabels(Own):
    """Depends on the labels of the other samples."""

    def values(self, pred, target):
        values, valid = super().values(pred, target), target != 255
        counts = F.one_hot(target[valid], pred.shape[1]).sum(0)
        return values / counts[target * valid].clamp(min=1)


@MODELS.register_module()
class OneNumberLoss(Own):
    """Has one number, and no convention."""

    def forward(self, pred, target, **kwargs):
        return self.values(pred, target).mean()


@MODELS.register_module()
class ReturnsTwo(Own):
    def forward(self, pred, target, reduction_override=None, **kwargs):
        return self.values(pred, target).mean(), 0


@MODELS.register_module()
class HeadOfAUser(nn.Module):
    pass


BOTH = pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
FINE = ('Fine', 'FineWithoutIgnored', 'FineWithoutKwargs', 'FineForSoftTargets')


@BOTH
@pytest.mark.parametrize('per_image', [False, True])
@pytest.mark.parametrize('kind', [*FINE, 'OnADevice'])
def test_a_mean_over_samples_is_wrapped_as_it_is(toolbox, kind, per_image):
    after = loss_of(convert(head_of(toolbox, kind), per_image=per_image))
    assert after == dict(type='InfoBatchLoss', loss=dict(type=kind))


def test_a_loss_is_tried_with_what_its_head_gives_it():
    """mmpretrain's heads give avg_factor too; what a user's head gives is not known."""
    loss = dict(type='HalvesWhatItIsGiven')
    assert 'per_image' not in loss_of(convert(segmentation(loss)))
    cfg = classification(loss)
    with pytest.raises(CannotConvert, match='HalvesWhatItIsGiven is not a mean over samples'):
        convert(cfg)
    cfg.model.head.type = 'HeadOfAUser'
    assert 'per_image' not in loss_of(convert(cfg))


@BOTH
@pytest.mark.parametrize(
    'kind',
    ['Ignores', 'ComparesSamples', 'ComparesWithoutGradient', 'CountsLabels', 'OneNumberLoss'],
)
def test_a_loss_that_is_no_mean_over_samples_needs_per_image(toolbox, kind):
    cfg = head_of(toolbox, kind)
    where = 'model.decode_head.loss_decode' if toolbox == 'mmseg' else 'model.head.loss'
    with pytest.raises(CannotConvert, match=f'{kind} is not a mean over samples.*{where}: ') as one:
        convert(cfg)
    assert 'per_image=True' in str(one.value)
    after = loss_of(convert(cfg, per_image=True))
    assert after == dict(type='InfoBatchLoss', loss=dict(type=kind), per_image=True)


def test_a_batch_without_ignored_pixels_would_not_show_it():
    cfg = segmentation(dict(type='MeanOfImages'))
    with pytest.raises(CannotConvert, match='MeanOfImages is not a mean over samples'):
        convert(cfg)
    assert loss_of(convert(cfg, per_image=True)).per_image is True
    # with the labels that this head ignores, not with 255
    cfg.model.decode_head.ignore_index = 3
    assert 'per_image' not in loss_of(convert(cfg))
    # images have no ignored pixels
    assert 'per_image' not in loss_of(convert(classification(dict(type='MeanOfImages'))))


@pytest.mark.parametrize(
    'kind, reason', [('ReturnsTwo', 'returns a tuple'), ('mmpretrain.SwAVLoss', 'prototypes')]
)
def test_a_loss_that_cannot_be_wrapped_at_all_is_not_recommended_per_image(kind, reason):
    loss = dict(type=kind, **({} if kind == 'ReturnsTwo' else dict(feat_dim=4, num_prototypes=4)))
    for per_image in (False, True):
        with pytest.raises(CannotConvert, match=reason) as error:
            convert(segmentation(loss), per_image=per_image)
        assert 'cannot be wrapped' in str(error.value) and 'per_image=True' not in str(error.value)


def test_a_loss_evaluated_per_image_trains(tmp_path):
    data = runs.write_segmentation_data(tmp_path / 'data', num_images=8)
    cfg = runs.segmentation_config(data, tmp_path / 'run', max_iters=12)
    cfg.model.decode_head.loss_decode = dict(type='Ignores')
    rows = runs.train(convert(cfg, per_image=True, delta=1.0)).rows
    assert len(rows) < 12 and all(row['loss']['decode.loss_own'] > 0 for row in rows)


def test_trying_losses_leaves_the_random_numbers_of_others_alone():
    before = torch.random.get_rng_state()
    convert(segmentation(dict(type='DrawsNumbers')), per_image=True)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    'loss, part',
    [
        (dict(type='CrossEntropyLoss', loss_weigth=0.4), 'loss_weigth'),
        (dict(type='CrossEntropyLoss', use_sigmoid=True, use_mask=True), 'use_sigmoid'),
        (dict(type='DiceLoss', loss_weight=1.0, avg_non_ignore=True), 'avg_non_ignore'),
        (
            dict(type='InfoBatchLoss', loss=dict(type='CrossEntropyLos')),
            'EntropyLos is not in',
        ),
        (dict(type='InfoBatchLoss', loss=dict(loss_weight=1.0)), 'type'),
        (dict(type='InfoBatchLoss', loss=dict(CE, scor=False)), 'scor'),
        (
            dict(type='InfoBatchLoss', loss=CE, scor=False),
            "does not take 'scor'; it takes loss",
        ),
        (dict(type='InfoBatchLoss', loss=CE, score=1), 'score has to be True or False'),
        (
            dict(type='InfoBatchLoss', loss=CE, use_sigmoid=False, loss_weight=1.0),
            "does not take 'loss_weight', 'use_sigmoid'; .*_delete_=True, type='InfoBatchLoss'",
        ),
    ],
)
def test_a_loss_that_cannot_be_built_is_named_by_its_path(loss, part):
    with pytest.raises(CannotConvert, match=f'model.decode_head.loss_decode.*{part}') as error:
        convert(segmentation(loss))
    assert 'cannot be built' in error.value.reason


# -------------------------------------------------- a config that has InfoBatch on


def test_a_misspelt_loss_is_named_and_not_taken_for_none():
    with pytest.raises(CannotConvert, match="model.head.loss.type='CrossEntropLoss' is not regis"):
        convert(classification(dict(type='CrossEntropLoss')))


@pytest.mark.parametrize('given', [{}, dict(loss=None)], ids=['left out', 'None'])
def test_the_loss_that_a_regression_head_builds_for_none_is_wrapped(given):
    with MODELS.switch_scope_and_registry('mmpretrain') as registry:
        if registry.get('LinearRegressionHead') is None:
            pytest.skip('this mmpretrain has no LinearRegressionHead')
    cfg = classification(None)
    cfg.model.head = dict(type='LinearRegressionHead', num_classes=1, in_channels=32, **given)
    head = convert(cfg).model.head
    assert head.loss.type == 'InfoBatchLoss'
    with MODELS.switch_scope_and_registry('mmpretrain') as registry:
        ours, stock = registry.build(head), registry.build(cfg.model.head)
    assert type(ours.loss_module.loss) is type(stock.loss_module)
    for name in ('loss_type', 'loss_weight', 'reduction'):
        assert getattr(ours.loss_module, name, None) == getattr(stock.loss_module, name, None)


def test_score_is_set_in_losses_that_are_wrapped_already():
    dice = dict(type='DiceLoss')
    once = convert(segmentation([CE, dice]))
    for cfg in (once, convert(once, score='DiceLoss')):
        decoded = convert(cfg, score='CrossEntropyLoss').model.decode_head.loss_decode
        assert [loss.get('score', True) for loss in decoded] == [True, False]
    with pytest.raises(
        ValueError, match='names DiceLos, but the losses are CrossEntropyLoss, Dice'
    ):
        convert(once, score=['CrossEntropyLoss', 'DiceLos'])


@pytest.mark.parametrize('kind', ['InfoBatchHook', InfoBatchHook])
def test_a_loss_that_the_hook_leaves_unweighted_is_not_wrapped(kind):
    for names in (['model.auxiliary_head.loss_decode'], ['model.auxiliary_head']):
        hook = dict(type=kind, unweighted=names)
        for hooks in ([hook], [InfoBatchHook(unweighted=names)]):
            model = convert(segmentation(custom_hooks=hooks)).model
            assert model.auxiliary_head.loss_decode.type == 'CrossEntropyLoss'
            assert model.decode_head.loss_decode.type == 'InfoBatchLoss'
    cfg = classification(CE)
    cfg.custom_hooks = [dict(type=kind, unweighted=['model.head.loss_module'])]
    with pytest.raises(CannotConvert, match='nothing to wrap'):
        convert(cfg)


def test_per_image_is_set_in_losses_that_are_wrapped_already():
    cfg = segmentation(dict(type='InfoBatchLoss', loss=dict(type='Ignores'), score=False))
    with pytest.raises(CannotConvert, match='per_image was not asked for'):
        convert(cfg)
    after = loss_of(convert(cfg, per_image=True))
    assert (
        after
        == dict(loss_of(cfg), per_image=True)
        == loss_of(convert(convert(cfg, per_image=True)))
    )
