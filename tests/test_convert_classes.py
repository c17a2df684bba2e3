"""What a part of a config is: decided by its class, so that a user's own class is what it does."""

import importlib

import pytest
import toolbox_runs as runs
from convert_configs import classification, segmentation, wrapped
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS, LOOPS, MODELS, TASK_UTILS, TRANSFORMS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmseg.registry import MODELS as SEG_MODELS
from torch import nn

from mm_infobatch import (
    CannotConvert,
    InfoBatchEpochLoop,
    InfoBatchHook,
    InfoBatchIterLoop,
    InfoBatchLoss,
    InfoBatchSampler,
    convert,
)
from mm_infobatch.convert.registered import overridden
from mm_infobatch.losses.whole_batch import REASONS, TEXT

# runs has imported the toolboxes, without their warnings.
seg = importlib.import_module('mmseg.models')
pretrain = importlib.import_module('mmpretrain.models')
MultiView = importlib.import_module('mmpretrain.datasets.transforms').MultiView
HungarianAssigner = importlib.import_module('mmseg.models.assigners').HungarianAssigner
pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
CE = dict(type='CrossEntropyLoss', loss_weight=1.0)


def reason_of(cfg, **options):
    with pytest.raises(CannotConvert) as error:
        convert(cfg, **options)
    return str(error.value)


def named(name, *bases, **members):
    """A class of a user's own."""
    return type(name, bases, dict(members, __module__='users_package.models'))


# ---------------------------------------------------------------- models of texts

PREFIXES = ('Blip', 'ChineseCLIP', 'CLIP', 'Flamingo', 'Llava', 'MiniGPT4', 'OFA', 'Otter', 'RAM')


@pytest.mark.parametrize('prefix', PREFIXES)
def test_a_users_model_is_not_a_model_of_texts_for_its_name(prefix):
    name = f'{prefix}EncoderDecoder'
    SEG_MODELS.register_module(name, force=True, module=named(name, seg.EncoderDecoder))
    cfg = segmentation(**{'model.type': name})
    assert convert(cfg).model.decode_head.loss_decode.type == 'InfoBatchLoss'


def test_every_model_of_texts_is_refused_for_what_is_registered():
    """Without transformers mmpretrain registers a function under each name."""
    texts = {
        name
        for name, found in PRETRAIN_MODELS.module_dict.items()
        if found.__module__ == 'mmpretrain.utils.dependency'
        or (
            found.__module__.startswith('mmpretrain.models.multimodal')
            and issubclass(found, pretrain.multimodal.BaseModel)
        )
    }
    assert {'BlipCaption', 'Flamingo', 'CLIP', 'RAM', 'Llava'} <= texts
    for name in sorted(texts):
        assert reason_of(classification(**{'model.type': name})).startswith(TEXT), name
        assert TEXT in reason_of(segmentation(**{'model.type': f'mmpretrain.{name}'}))


# ------------------------------------------------------------ heads, assigners, views

HEADS = sorted(REASONS.keys() - {'BaseAssigner', 'HungarianAssigner', 'MaskHungarianAssigner'})


@pytest.mark.parametrize('name', HEADS)
def test_a_users_head_of_the_same_name_is_no_relative(name, monkeypatch):
    mine = named(name, seg.UPerHead)
    monkeypatch.setitem(SEG_MODELS.module_dict, f'Their{name}', mine)
    kinds = [mine, f'Their{name}']
    if name not in SEG_MODELS.module_dict:
        monkeypatch.setitem(SEG_MODELS.module_dict, name, mine)
        kinds.append(name)
    for kind in kinds:
        cfg = segmentation()
        cfg.model.decode_head.type = kind
        assert convert(cfg).model.decode_head.loss_decode.type == 'InfoBatchLoss'


@pytest.mark.parametrize('name', HEADS)
def test_a_relative_of_a_head_is_refused_whatever_its_name(name):
    toolbox = seg if hasattr(seg, name) else pretrain
    base = getattr(toolbox, name)
    SEG_MODELS.register_module('Innocent', force=True, module=named('Innocent', base))
    cfg = segmentation(**{'model.decode_head.type': 'Innocent'})
    message = reason_of(cfg)
    assert message.startswith(REASONS[name]) and "model.decode_head.type='Innocent'" in message


def test_a_head_that_is_not_installed_is_refused_by_its_exact_name():
    cfg = segmentation(**{'model.decode_head.type': 'mmdet.MaskFormerHead'})
    assert reason_of(cfg).startswith(REASONS['MaskFormerHead'])
    cfg.model.decode_head.type = 'mmdet.MaskFormerHeadOfMine'
    convert(cfg)  # nobody knows what it is; building the model will tell


@TASK_UTILS.register_module()
class LabelAssigner:
    """Assigns labels to the pixels of one image; no objects."""


def test_an_assigner_is_one_by_its_class_and_not_by_the_parameter_that_takes_it():
    cfg = segmentation(**{'model.decode_head.assigner': dict(type='LabelAssigner')})
    assert convert(cfg).model.decode_head.assigner == dict(type='LabelAssigner')
    TASK_UTILS.register_module('MyMatcher', True, named('MyMatcher', HungarianAssigner))
    for kind in ('MyMatcher', 'HungarianAssigner', 'mmdet.HungarianAssigner'):
        cfg = segmentation(**{'model.decode_head.train_cfg': dict(matcher=dict(type=kind))})
        assert f'decode_head.train_cfg.matcher.type={kind!r}' in reason_of(cfg)


def test_views_are_made_by_mmpretrains_multi_view_and_its_relatives():
    cfg = classification()
    cfg.train_dataloader.dataset.pipeline.insert(1, dict(type=named('MultiView', object)))
    convert(cfg)
    TRANSFORMS.register_module('Crops', True, named('Crops', MultiView))
    cfg.train_dataloader.dataset.pipeline[1] = dict(type='Crops')
    assert "train_dataloader.dataset.pipeline.1.type='Crops'" in reason_of(cfg)


# --------------------------------------------------------------------- samplers


@DATA_SAMPLERS.register_module()
class OddFirst(InfoBatchSampler):
    """A user's sampler of InfoBatch's kind, with an argument of its own."""

    def __init__(self, dataset, first=1, **kwargs):
        super().__init__(dataset, **kwargs)
        self.first = first


@DATA_SAMPLERS.register_module()
class Balanced(DefaultSampler):
    """Hands out other samples than its base class."""

    def __iter__(self):
        return iter([0] * len(self))


@DATA_SAMPLERS.register_module()
class Described(DefaultSampler):
    """Hands out the same samples as its base class."""

    def describe(self):
        return 'mine'


@DATA_SAMPLERS.register_module()
class DescribedEndless(InfiniteSampler):
    pass


@DATA_SAMPLERS.register_module()
class HalfOfThem(InfiniteSampler):
    def _indices_of_rank(self):
        yield from range(self.size // 2)


DATA_SAMPLERS.register_module('TheirSampler', module=named('DefaultSampler', object))


def with_sampler(**sampler):
    cfg = segmentation()
    cfg.train_dataloader.sampler = sampler
    return cfg


@pytest.mark.parametrize('kind', ['OddFirst', OddFirst])
def test_a_sampler_that_inherits_from_ours_is_kept_and_takes_the_options(kind):
    mine = dict(type=kind, first=3, delta=0.7)
    assert convert(with_sampler(**mine)).train_dataloader.sampler == mine
    after = convert(with_sampler(**mine), prune_ratio=0.2, delta=0.9).train_dataloader.sampler
    policy = dict(type='SoftPruning', prune_ratio=0.2)
    assert after == dict(type=kind, first=3, delta=0.9, policy=policy)


@pytest.mark.parametrize(
    'kind, changed',
    [
        ('Balanced', 'overrides __iter__ of DefaultSampler'),
        ('HalfOfThem', 'overrides _indices_of_rank of InfiniteSampler'),
        (named('Mixed', named('Mixin', object, __len__=len), DefaultSampler), 'overrides __len__'),
        (named('DefaultSampler', object), "sampler.type='DefaultSampler'; write"),
        ('TheirSampler', "sampler.type='TheirSampler'; write"),
        ('NobodysSampler', "sampler.type='NobodysSampler'; write"),
    ],
)
def test_a_sampler_that_hands_out_something_else_is_refused(kind, changed):
    message = reason_of(with_sampler(type=kind, shuffle=True))
    assert message.startswith('its sampler does more than shuffle') and changed in message
    assert 'subclass of InfoBatchSampler' in message


@pytest.mark.parametrize(
    'kind, endless',
    [
        ('DefaultSampler', False),
        ('mmengine.DefaultSampler', False),
        (DefaultSampler, False),
        ('Described', False),
        ('InfiniteSampler', True),
        ('mmengine.InfiniteSampler', True),
        ('mmengine.dataset.InfiniteSampler', True),
        (InfiniteSampler, True),
        ('DescribedEndless', True),
    ],
)
@pytest.mark.parametrize('drop_last', [None, False, True])
def test_batches_of_an_endless_sampler_stay_full_and_others_stay_as_they_are(
    kind, endless, drop_last
):
    """BatchSampler never comes to the end of an endless sampler, so drop_last means nothing."""
    cfg = with_sampler(type=kind, shuffle=False, seed=3)
    del cfg.train_dataloader['drop_last']
    if drop_last is not None:
        cfg.train_dataloader.drop_last = drop_last
    after = convert(cfg).train_dataloader
    assert after.get('drop_last') is (True if endless else drop_last)
    assert (after.sampler.type, after.sampler.shuffle, after.sampler.seed) == (
        'InfoBatchSampler',
        False,
        3,
    )


def test_a_sampler_of_ours_leaves_drop_last_as_it_is():
    cfg = with_sampler(type='InfoBatchSampler')
    cfg.train_dataloader.drop_last = False
    assert convert(cfg).train_dataloader.drop_last is False


@pytest.mark.parametrize('shuffle', [None, False, True])
def test_pytorchs_own_sampler_shuffles_as_the_dataloader_says(shuffle):
    """mmengine hands shuffle on to the DataLoader, which takes it only without a sampler."""
    cfg = with_sampler()
    cfg.train_dataloader.sampler = None
    if shuffle is not None:
        cfg.train_dataloader.shuffle = shuffle
    after = convert(cfg).train_dataloader
    assert after.sampler.shuffle is bool(shuffle) and 'shuffle' not in after


# ------------------------------------------------------------------------ loops


@LOOPS.register_module()
class MyIterLoop(InfoBatchIterLoop):
    """A user's loop of InfoBatch's kind, which trains by hand."""

    steps = 0

    def run_iter(self, data_batch):
        type(self).steps += 1
        super().run_iter(data_batch)


@LOOPS.register_module()
class MyEpochLoop(InfoBatchEpochLoop):
    pass


@LOOPS.register_module()
class TwiceLoop(IterBasedTrainLoop):
    """Trains on each batch twice."""

    def run_iter(self, data_batch):
        super().run_iter(data_batch)
        super().run_iter(data_batch)


@LOOPS.register_module()
class SameIterLoop(IterBasedTrainLoop):
    """Trains as its base class does."""

    def describe(self):
        return 'mine'


@LOOPS.register_module()
class SameEpochLoop(EpochBasedTrainLoop):
    pass


@pytest.mark.parametrize(
    'train_cfg',
    [
        dict(type='MyIterLoop', max_iters=18),
        dict(type=MyIterLoop, max_iters=18, budget='passes'),
        dict(type='MyEpochLoop', max_epochs=3, val_begin=2),
        dict(type='InfoBatchIterLoop', max_iters=18),
        dict(type=InfoBatchEpochLoop, max_epochs=3),
    ],
)
def test_a_loop_that_inherits_from_ours_is_kept(train_cfg):
    cfg = segmentation()
    cfg.train_cfg = train_cfg
    assert convert(cfg).train_cfg == train_cfg
    if 'max_iters' in train_cfg:
        after = convert(cfg, budget='iterations').train_cfg
        assert after == dict(train_cfg, budget='iterations')
    else:
        with pytest.raises(ValueError, match='budget=.iterations. is for runs by iteration'):
            convert(cfg, budget='iterations')


@pytest.mark.parametrize(
    'kind, part',
    [
        ('TwiceLoop', 'overrides run_iter of IterBasedTrainLoop'),
        (named('IterBasedTrainLoop', object), "train_cfg.type='IterBasedTrainLoop'; write"),
        (named('Eager', EpochBasedTrainLoop, __init__=print), 'overrides __init__ of EpochBased'),
        ('NobodysLoop', "train_cfg.type='NobodysLoop'; write"),
    ],
)
def test_a_loop_that_trains_otherwise_is_refused(kind, part):
    cfg = segmentation()
    cfg.train_cfg = dict(type=kind, max_iters=18)
    message = reason_of(cfg)
    assert part in message and 'subclass of InfoBatchIterLoop or InfoBatchEpochLoop' in message


ITER = dict(max_iters=18, val_interval=9)
EPOCH = dict(max_epochs=3, val_begin=2)


@pytest.mark.parametrize(
    'train_cfg, expected',
    [
        (dict(by_epoch=False, **ITER), ITER),
        (dict(by_epoch=True, **EPOCH), EPOCH),
        (dict(type='IterBasedTrainLoop', by_epoch=False, **ITER), ITER),
        (dict(type='EpochBasedTrainLoop', by_epoch=True, **EPOCH), EPOCH),
        (dict(type='mmengine.IterBasedTrainLoop', **ITER), ITER),
        (dict(type='mmengine.runner.loops.EpochBasedTrainLoop', **EPOCH), EPOCH),
        (dict(type=IterBasedTrainLoop, fast_forward_on_resume=True, **ITER), ITER),
        (dict(type=EpochBasedTrainLoop, **EPOCH), EPOCH),
        (dict(type='SameIterLoop', fast_forward_on_resume=False, **ITER), ITER),
        (dict(type='SameEpochLoop', **EPOCH), EPOCH),
        (ITER, ITER),
        (EPOCH, EPOCH),
        (dict(ITER, val_begin=True), dict(ITER, val_begin=1)),
        (dict(by_epoch=False, val_begin=False, **ITER), dict(ITER, val_begin=0)),
        (dict(by_epoch=True, val_interval=True, **EPOCH), dict(EPOCH, val_interval=1)),
    ],
)
def test_every_spelling_of_mmengines_loops_is_converted(train_cfg, expected):
    cfg = segmentation()
    cfg.train_cfg = train_cfg
    loop = 'InfoBatchIterLoop' if 'max_iters' in train_cfg else 'InfoBatchEpochLoop'
    after = convert(cfg).train_cfg.to_dict()
    assert after == dict(expected, type=loop)
    assert not any(isinstance(value, bool) for value in after.values())  # True == 1


@pytest.mark.default_cases('train_cfg0')
@pytest.mark.parametrize(
    'train_cfg',
    [
        dict(type='IterBasedTrainLoop', fast_forward_on_resume=True, val_begin=True, max_iters=12),
        dict(by_epoch=False, fast_forward_on_resume=False, max_iters=12),
        dict(type=SameIterLoop, max_iters=12, val_interval=6),
    ],
)
def test_what_is_left_of_mmengines_loop_does_not_keep_a_run_from_training(train_cfg, tmp_path):
    data = runs.write_segmentation_data(tmp_path / 'data', num_images=6)
    cfg = runs.segmentation_config(data, tmp_path / 'run', 12, val_interval=6)
    cfg.train_cfg = dict(dict(val_interval=6), **train_cfg)
    assert 3 < len(runs.train(convert(cfg)).rows) <= 12


def test_what_a_class_overrides_is_found_whoever_overrides_it():
    assert overridden(named('A', IterBasedTrainLoop, more=1), IterBasedTrainLoop) == []
    mixin = named('Mixin', object, run=print)
    assert overridden(named('B', mixin, IterBasedTrainLoop), IterBasedTrainLoop) == ['run']
    assert overridden(named('C', IterBasedTrainLoop, iter=3), IterBasedTrainLoop) == ['iter']


# ------------------------------------------------------------------------ hooks


@HOOKS.register_module()
class MyInfoBatchHook(InfoBatchHook):
    pass


HOOKS.register_module('TheirHook', module=named('InfoBatchHook', Hook))


@pytest.mark.parametrize('kind', ['MyInfoBatchHook', MyInfoBatchHook, InfoBatchHook])
@pytest.mark.parametrize('key', ['custom_hooks', 'default_hooks', 'object'])
def test_a_hook_that_inherits_from_ours_is_not_added_to(kind, key):
    cfg = segmentation()
    if key == 'default_hooks':
        cfg.default_hooks.infobatch = dict(type=kind)
    elif key == 'custom_hooks':
        cfg.custom_hooks = [dict(type=kind)]
    else:
        cfg.custom_hooks = [MyInfoBatchHook()]
    after = convert(cfg)
    assert len(after.get('custom_hooks', [])) == (0 if key == 'default_hooks' else 1)


def test_a_hook_of_the_same_name_is_another_hook():
    cfg = segmentation(custom_hooks=[dict(type='TheirHook')])
    hook = dict(type='InfoBatchHook', step_length='capped')
    assert convert(cfg).custom_hooks == [*cfg.custom_hooks, hook]


# ----------------------------------------------------------------------- losses


@MODELS.register_module()
class MyInfoBatchLoss(InfoBatchLoss):
    """A user's wrapper that builds its loss itself."""

    def __init__(self, smooth=0.1):
        loss = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=smooth)
        super().__init__(loss, score=False)


@MODELS.register_module()
class HeadWithLoss(seg.FCNHead):
    """A head whose name ends as those of losses do."""


@MODELS.register_module()
class Criteria(nn.Module):
    """A loss that adds up others, and does not follow OpenMMLab's convention."""

    def __init__(self, parts):
        super().__init__()
        self.parts = nn.ModuleList(MODELS.build(part) for part in parts)

    def forward(self, pred, target, **kwargs):
        return sum(part(pred, target, **kwargs) for part in self.parts)


@MODELS.register_module()
class CriteriaLoss(Criteria):
    pass


@MODELS.register_module()
class OddHead(nn.Module):
    """A head of a user's own, in a module named as those of losses."""

    __module__ = 'users_package.losses.heads'

    def __init__(self, objective=None):
        super().__init__()

    def loss(self, feats, samples):
        return {}

    def predict(self, feats, samples):
        return samples


def test_a_loss_that_inherits_from_ours_is_kept():
    cfg = segmentation()
    mine = dict(type='MyInfoBatchLoss', smooth=0.2)
    cfg.model.decode_head.loss_decode = mine
    cfg.model.auxiliary_head.loss_decode = dict(type=MyInfoBatchLoss)
    cfg.model.decode_head.extra = CE
    model = convert(cfg).model
    assert model.decode_head.loss_decode == mine
    assert model.auxiliary_head.loss_decode == dict(type=MyInfoBatchLoss)
    assert model.decode_head.extra == wrapped(CE)


def test_a_head_is_no_loss_for_its_name_its_module_or_its_parameter():
    cfg = segmentation()
    cfg.model.auxiliary_head.type = 'HeadWithLoss'
    cfg.model.decode_head.loss_branch = dict(type='FCNHead', loss_decode=CE)
    cfg.model.neck = dict(type='OddHead', objective=CE)
    cfg.model.losses = dict(type='mmpretrain.GlobalAveragePooling')
    cfg.model.loss_head = dict(type=OddHead)
    cfg.model.last = dict(type=named('HeadWithoutLoss', OddHead))
    model = convert(cfg).model
    assert model.auxiliary_head.loss_decode.type == 'InfoBatchLoss'
    assert model.auxiliary_head.type == 'HeadWithLoss'
    assert model.decode_head.loss_branch == dict(type='FCNHead', loss_decode=wrapped(CE))
    assert model.neck == dict(type='OddHead', objective=wrapped(CE))
    for name in ('losses', 'loss_head', 'last'):
        assert model[name] == cfg.model[name]


@pytest.mark.parametrize('kind', ['Criteria', 'CriteriaLoss'])
def test_of_a_loss_that_adds_up_others_those_are_wrapped(kind):
    dice = dict(type='DiceLoss')
    cfg = segmentation()
    cfg.model.decode_head.loss_decode = dict(type=kind, parts=[CE, dice])
    after = convert(cfg).model.decode_head.loss_decode
    assert after == dict(type=kind, parts=[wrapped(CE), wrapped(dice)])


# ------------------------------------------------------------------------- runs


@pytest.mark.parametrize('toolbox', ['mmseg', 'mmpretrain'])
def test_a_config_of_users_classes_trains_by_the_flag(toolbox, tmp_path):
    if toolbox == 'mmseg':
        data = runs.write_segmentation_data(tmp_path / 'data', num_images=16)
        cfg = runs.segmentation_config(data, tmp_path / 'run', max_iters=32)
        SEG_MODELS.register_module(
            'CLIPSegmentor', True, named('CLIPSegmentor', seg.EncoderDecoder)
        )
        cfg.model.type = 'CLIPSegmentor'
        cfg.train_cfg.type = 'MyIterLoop'
    else:
        data = runs.write_classification_data(tmp_path / 'data', num_images=24)
        cfg = runs.classification_config(data, tmp_path / 'run', max_epochs=4)
        cfg.train_cfg = dict(type='MyEpochLoop', max_epochs=4)
    cfg.train_dataloader.sampler = dict(type='OddFirst', delta=1.0)
    cfg.custom_hooks = [dict(type='MyInfoBatchHook')]
    MyIterLoop.steps = 0
    recorder = runs.train(convert(cfg))
    plans = [plan for _, plan in recorder.passes]
    assert len(plans) == 4 and sum(plan.pruned for plan in plans) > 0
    assert max(max(weights) for weights in recorder.column('weights')) > 1
    assert MyIterLoop.steps == (len(recorder.rows) if toolbox == 'mmseg' else 0)
    assert type(recorder.runner.train_loop.sampler) is OddFirst
