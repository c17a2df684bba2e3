"""Models whose loss belongs to no single sample are refused when training starts, as by convert."""

import importlib

import pytest
import shrink_mmpretrain as shrunk
import toolbox_runs as runs
import torch
from mmengine.registry import MODELS, TRANSFORMS
from torch import nn

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses import whole_batch
from mm_infobatch.losses.whole_batch import REASONS, check_whole_batch

# runs has imported the toolboxes, without their warnings.
seg = importlib.import_module('mmseg.models')
assigners = importlib.import_module('mmseg.models.assigners')
pretrain = importlib.import_module('mmpretrain.models')
pytestmark = pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step:UserWarning')
ASSIGNERS = [name for name in REASONS if name.endswith('Assigner')]


@TRANSFORMS.register_module()
class TwoViews:
    """A user's own transform that makes two views."""

    def __call__(self, results):
        return dict(results, img=[results['img'], results['img'][:, ::-1].copy()])


def by_hand(name, tmp_path, options):
    """A shipped config of self-supervision, shrunk, with InfoBatch written into it by hand."""
    cfg = shrunk.shrink(
        shrunk.shipped(name),
        shrunk.write_folders(tmp_path / 'data'),
        tmp_path,
        options,
    )
    cfg.model.head.loss = runs.wrapped(cfg.model.head.loss)
    cfg.train_dataloader.sampler = dict(type='InfoBatchSampler', delta=1.0)
    cfg.train_cfg = dict(type='InfoBatchEpochLoop', max_epochs=2)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='InfoBatchHook')]
    return cfg


def siamese(tmp_path, views):
    layers = dict(in_channels=32, hid_channels=8, out_channels=8)
    cfg = by_hand(
        'simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py',
        tmp_path,
        {
            'model.backbone': dict(
                type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, out_indices=(3,)
            ),
            'model.neck': dict(type='NonLinearNeck', with_avg_pool=True, **layers),
            'model.head.predictor': dict(
                type='NonLinearNeck', with_avg_pool=False, **dict(layers, in_channels=8)
            ),
        },
    )
    cfg.train_dataloader.dataset.pipeline.insert(1, views)
    return cfg


def test_a_run_by_hand_of_a_siamese_model_is_refused_with_the_reason(tmp_path):
    runner, recorder = runs.build(siamese(tmp_path, dict(type='TwoViews')))
    with pytest.raises(ValueError) as error:
        runner.train()
    message = str(error.value)
    assert message.startswith('model.head is a LatentPredictHead, which cannot be trained')
    assert REASONS['LatentPredictHead'] in message and 'train it without InfoBatch' in message
    assert not recorder.rows


@pytest.mark.parametrize('nested', [False, True])
def test_a_run_by_hand_on_several_views_is_refused_for_its_pipeline(tmp_path, nested):
    views = dict(type='MultiView', num_views=2, transforms=[[dict(type='RandomFlip', prob=0.5)]])
    cfg = siamese(tmp_path, views)
    if nested:  # in a wrapper that is no Dataset of PyTorch
        repeated = dict(type='RepeatDataset', times=1, dataset=cfg.train_dataloader.dataset)
        cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[repeated])
    runner, recorder = runs.build(cfg)
    with pytest.raises(ValueError, match='pipeline of CustomDataset has a MultiView.*contrastive'):
        runner.train()
    assert not recorder.rows


def test_a_run_by_hand_of_masked_images_is_accepted(tmp_path):
    """MAE and MixMIM have the same loss; a head of MAE's reads the rows of single images."""
    cfg = by_hand('mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', tmp_path, shrunk.MAE_HEAD)
    watch = shrunk.train(cfg)
    assert torch.isfinite(watch.runner.train_loop.sampler.scores.values).all()
    assert watch.rows[-1]['pruned'] > 0


# ------------------------------------------------------------- every class, by its name


def toolbox_class(name):
    """The class of that name; mmdet, which is not installed, may have one that mmseg has not."""
    for at in (seg, pretrain, assigners):
        if hasattr(at, name):
            return getattr(at, name)
    return type(name, (), dict(__module__='mmdet.models'))


def part_of(cls, **attributes):
    """A part of a model of that class that nobody has initialized, with a wrapped loss."""
    part = cls.__new__(cls)
    nn.Module.__init__(part)
    vars(part).update(attributes)
    with_loss = InfoBatchLoss(MODELS.build(dict(type='mmpretrain.CrossEntropyLoss')))
    part.add_module('loss_module', with_loss)
    return part


def model_of(**parts):
    model = nn.Module()
    for name, part in parts.items():
        model.add_module(name, part)
    return model


def reason_for(model, unweighted=()):
    with pytest.raises(ValueError) as error:
        check_whole_batch(model, unweighted)
    return str(error.value)


@pytest.mark.parametrize('name', sorted(REASONS.keys() - set(ASSIGNERS)))
def test_every_head_that_convert_refuses_is_refused_by_name(name):
    cls = toolbox_class(name)
    message = reason_for(model_of(neck=nn.Identity(), head=part_of(cls)))
    assert message.startswith(f'model.head is a {name}, which') and REASONS[name] in message
    mine = type('Innocent', (cls,), dict(__module__='users_package.models'))
    message = reason_for(model_of(heads=nn.ModuleList([part_of(mine)])))
    assert message.startswith('model.heads.0 is a Innocent, a ') and REASONS[name] in message
    check_whole_batch(model_of(head=part_of(type(name, (nn.Module,), {}))))  # a user's own


@pytest.mark.parametrize('name', ASSIGNERS)
def test_every_assigner_that_convert_refuses_is_refused_by_name(name):
    base = toolbox_class(name)
    cls = type('Mine', (base,), dict(__module__='users', assign=len))
    message = reason_for(model_of(head=part_of(nn.Module, assigner=object.__new__(cls))))
    assert message.startswith('model.head has a Mine, a ') and REASONS[name] in message


def test_a_model_of_texts_is_refused_by_its_package():
    module = 'mmpretrain.models.multimodal.blip.blip_caption'
    cls = type('BlipCaption', (nn.Module,), dict(__module__=module))
    assert whole_batch.TEXT in reason_for(part_of(cls))
    check_whole_batch(model_of(teacher=part_of(cls)))  # as convert: its loss is not the model's


def test_a_head_may_stay_that_is_named_as_one_without_weights():
    head = part_of(pretrain.ContrastiveHead)
    head.loss_module = head.loss_module.loss
    model = model_of(aux=head, head=part_of(pretrain.LinearClsHead))
    assert 'unweighted=' in reason_for(model)
    for name in ('model.aux', 'model.aux.loss', 'model.aux.loss_module'):
        check_whole_batch(model, [name])
    reason_for(model, ['model.head'])
    reason_for(model_of(aux=part_of(pretrain.ContrastiveHead)), ['model.aux'])  # it is wrapped
