"""InfoBatch switched on in any config: what changes, what stays, what is refused and why."""

import copy
import functools
import json
import re
from pathlib import Path

import pytest
import toolbox_runs as runs
import torch
import torch.nn.functional as F
from convert_configs import classification, segmentation, wrapped
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

import sweep_configs
from mm_infobatch import CannotConvert, convert
from mm_infobatch.policies import TargetSaving

ROOT = Path(__file__).resolve().parent.parent


BOTH = pytest.mark.parametrize('make', [segmentation, classification], ids=['mmseg', 'mmpretrain'])


def differences(old, new, path=()):
    """The paths at which two configs differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in {**old, **new}
            for found in differences(old.get(key), new.get(key), path + (key,))
        ]
    return [] if old == new else ['.'.join(path)]


# ---------------------------------------------------------------- what changes


@BOTH
def test_only_sampler_loop_hook_import_and_losses_change(make):
    cfg = make()
    changed = set(differences(cfg.to_dict(), convert(cfg).to_dict()))
    losses = (
        {'model.decode_head.loss_decode', 'model.auxiliary_head.loss_decode'}
        if make is segmentation
        else {'model.head.loss'}
    )
    assert {path.rsplit('.', 1)[0] for path in changed if '.loss' in path} == losses
    assert {path for path in changed if '.loss' not in path} <= {
        'train_dataloader.sampler.type',
        'train_dataloader.sampler.delta',
        'train_dataloader.sampler.policy',
        'train_cfg.type',
        'train_cfg.by_epoch',
        'custom_hooks',
        'custom_imports',
    }


@BOTH
def test_the_given_config_is_not_changed_and_shares_nothing_with_the_result(make):
    cfg = make()
    before = copy.deepcopy(cfg.to_dict())
    converted = convert(cfg)
    converted.train_dataloader.dataset.pipeline.append('x')
    converted.optim_wrapper.optimizer.lr = 1e9
    converted.model.backbone.depth = 0
    assert cfg.to_dict() == before


@BOTH
def test_converting_twice_changes_nothing(make):
    once = convert(make(), prune_ratio=0.3, delta=0.9)
    assert convert(once).to_dict() == once.to_dict()
    assert convert(once, prune_ratio=0.3, delta=0.9).to_dict() == once.to_dict()
    assert convert(once, delta=0.8).train_dataloader.sampler == dict(
        once.train_dataloader.sampler, delta=0.8
    )


@BOTH
def test_a_config_by_hand_and_a_converted_one_are_the_same(make):
    cfg = make()
    by_hand, converted = runs.switch_on(cfg).to_dict(), convert(cfg).to_dict()
    assert converted['train_dataloader']['sampler'].pop('shuffle') is True  # as is the default
    assert converted['custom_hooks'][-1].pop('step_length') == 'capped'
    assert converted == by_hand


NotSGD = type('SGD', (torch.optim.Adam,), {})  # a user's, of the same name


@pytest.mark.parametrize(
    'optim_wrapper, step_length',
    [
        (dict(optimizer=dict(type='SGD', lr=0.1)), 'capped'),
        (dict(type='AmpOptimWrapper', optimizer=dict(type=torch.optim.SGD, lr=0.1)), 'capped'),
        (dict(optimizer=dict(type='AdamW', lr=0.1)), None),
        (dict(optimizer=dict(type='mmpretrain.Lamb', lr=0.1)), None),
        (dict(constructor='Several', one=dict(optimizer=dict(type='SGD', lr=0.1))), None),
        (dict(optimizer=dict(type=NotSGD, lr=0.1)), None),
        (None, None),
    ],
)
def test_steps_are_capped_where_sgd_takes_them(optim_wrapper, step_length):
    """Unless the option, or a hook of the config, says something else."""
    cfg = classification()
    cfg.optim_wrapper = optim_wrapper
    hook = dict(type='InfoBatchHook')
    expected = hook if step_length is None else dict(hook, step_length=step_length)
    assert convert(cfg).custom_hooks == [expected]
    assert convert(cfg, step_length='paper').custom_hooks == [dict(hook, step_length='paper')]
    cfg.custom_hooks = [hook]
    assert convert(cfg).custom_hooks == [hook]


def test_the_optimizer_of_a_strategy_is_not_taken_for_sgd():
    cfg = classification()
    cfg.strategy = dict(type='DeepSpeedStrategy')
    assert convert(cfg).custom_hooks == [dict(type='InfoBatchHook')]
    cfg.strategy = dict(type='DDPStrategy')
    assert convert(cfg).custom_hooks == [dict(type='InfoBatchHook', step_length='capped')]


def test_a_train_cfg_without_a_type_gets_the_loop_that_it_meant():
    train_cfg = convert(classification()).train_cfg
    assert train_cfg == dict(type='InfoBatchEpochLoop', max_epochs=5, val_interval=1)
    cfg = segmentation()
    del cfg.train_cfg['type']
    cfg.train_cfg.update(by_epoch=False, fast_forward_on_resume=True)
    assert convert(cfg).train_cfg == dict(type='InfoBatchIterLoop', max_iters=18, val_interval=18)
    assert convert(cfg, budget='iterations').train_cfg.budget == 'iterations'


def test_an_endless_sampler_never_made_a_short_batch_and_so_it_stays():
    cfg = segmentation()
    del cfg.train_dataloader['drop_last']
    assert 'drop_last' not in convert(cfg).train_dataloader
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=False, seed=3)
    dataloader = convert(cfg).train_dataloader
    assert dataloader.drop_last is True
    assert (dataloader.sampler.shuffle, dataloader.sampler.seed) == (False, 3)
    cfg.train_dataloader.drop_last = False  # which an endless sampler never made short batches of
    assert convert(cfg).train_dataloader.drop_last is True


@pytest.mark.parametrize(
    'imports, expected',
    [
        (None, ['mm_infobatch']),
        (dict(imports='my.package'), ['my.package', 'mm_infobatch']),
        (
            dict(imports=['mine', 'mm_infobatch'], allow_failed_imports=True),
            ['mine', 'mm_infobatch'],
        ),
    ],
)
def test_the_package_is_imported_with_what_was_imported(imports, expected):
    cfg = segmentation()
    cfg.custom_imports = copy.deepcopy(imports)
    after = convert(cfg).custom_imports
    assert after['imports'] == expected
    assert after.get('allow_failed_imports') == (imports or {'allow_failed_imports': False}).get(
        'allow_failed_imports'
    )


def test_what_a_training_may_have_stays():
    dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='ClassBalancedDataset',
            oversample_thr=0.1,
            dataset=dict(
                type='ConcatDataset', datasets=[segmentation().train_dataloader.dataset] * 2
            ),
        ),
    )
    cfg = segmentation(
        optim_wrapper=dict(
            type='AmpOptimWrapper',
            accumulative_counts=4,
            loss_scale='dynamic',
            optimizer=dict(type='SGD', lr=0.05, momentum=0.9),
            clip_grad=dict(max_norm=1),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=1e-4)],
        sync_bn='torch',
        find_unused_parameters=True,
        compile=dict(backend='inductor'),
        auto_scale_lr=dict(enable=False, base_batch_size=16),
    )
    cfg.train_dataloader.dataset = dataset
    converted = convert(cfg)
    for key in (
        'optim_wrapper',
        'sync_bn',
        'find_unused_parameters',
        'compile',
        'auto_scale_lr',
        'param_scheduler',
        'default_hooks',
    ):
        assert converted[key] == cfg[key], key
    assert converted.train_dataloader.dataset == dataset
    hook = dict(type='InfoBatchHook', step_length='capped')
    assert converted.custom_hooks == [*cfg.custom_hooks, hook]


# ------------------------------------------------------------- finding losses

CE = dict(type='CrossEntropyLoss', loss_weight=1.0)


def test_losses_in_lists_and_heads_in_lists_are_found():
    dice = dict(type='DiceLoss', loss_weight=3.0)
    cfg = segmentation()
    cfg.model.decode_head.loss_decode = [CE, dice]
    cfg.model.auxiliary_head = [dict(cfg.model.auxiliary_head, loss_decode=(CE, dice))] * 2
    model = convert(cfg).model
    assert model.decode_head.loss_decode == [wrapped(CE), wrapped(dice)]
    assert [head.loss_decode for head in model.auxiliary_head] == [[wrapped(CE), wrapped(dice)]] * 2


def test_losses_anywhere_in_the_model_are_found():
    cfg = segmentation(**{'model.neck': dict(type='FPN', levels=[dict(deep=dict(extra=CE))])})
    assert convert(cfg).model.neck.levels[0].deep.extra == wrapped(CE)


def test_a_loss_of_another_scope_is_found():
    other = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1)
    cfg = segmentation(**{'model.decode_head.loss_decode': other})
    cfg.model.decode_head.loss_decode = other
    assert convert(cfg).model.decode_head.loss_decode == wrapped(other)
    head = dict(
        type='LinearClsHead',
        _scope_='mmpretrain',
        num_classes=3,
        in_channels=8,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    )
    cfg.model.extra_head = head
    assert convert(cfg).model.extra_head.loss == wrapped(head['loss'])


def test_a_loss_that_is_a_class_is_found():
    import mmseg.models

    cfg = segmentation().to_dict()
    cfg['model']['decode_head']['loss_decode'] = dict(type=mmseg.models.CrossEntropyLoss)
    assert convert(Config(cfg)).model.decode_head.loss_decode == wrapped(
        dict(type=mmseg.models.CrossEntropyLoss)
    )


def test_the_loss_that_a_head_has_by_default_is_written_out():
    cfg = classification()
    del cfg.model.head['loss']
    assert convert(cfg).model.head.loss == wrapped(CE)
    cfg = segmentation()
    del cfg.model.decode_head['loss_decode']  # a default of UPerHead's base class
    assert convert(cfg).model.decode_head.loss_decode.loss.type == 'CrossEntropyLoss'
    cfg.model.decode_head.type = 'EncHead'
    assert convert(cfg).model.decode_head.loss_se_decode == wrapped(
        dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.2)
    )


def test_a_default_that_a_head_does_not_take_is_not_written():
    path = next(p for p in sweep_configs.shipped_configs('mmseg') if 'knet' in p.parts)
    model = convert(Config.fromfile(str(path))).model
    assert 'loss_decode' not in model.decode_head
    assert model.decode_head.kernel_generate_head.loss_decode.type == 'InfoBatchLoss'


@MODELS.register_module()
class FocalOfAUser(nn.Module):
    """A loss that neither its name nor its module gives away."""

    reduction = 'mean'

    def forward(self, pred, target, reduction_override=None, **kwargs):
        values = F.cross_entropy(pred, target, reduction='none')
        return values if reduction_override == 'none' else values.mean()


def test_a_registered_loss_of_any_name_is_found_by_the_parameter_that_takes_it():
    cfg = classification()
    cfg.model.head.loss = dict(type='FocalOfAUser')
    assert convert(cfg).model.head.loss == wrapped(dict(type='FocalOfAUser'))


def test_a_loss_that_a_hook_puts_in_later_is_wrapped_too():
    recipe = dict(action_epoch=2, loss=CE, batch_augments=None)
    cfg = classification()
    cfg.custom_hooks = [dict(type='SwitchRecipeHook', schedule=[recipe])]
    after = convert(cfg).custom_hooks[0].schedule[0]
    assert after == dict(recipe, loss=wrapped(CE))


# -------------------------------------------------------------------- options


def test_options_are_written_where_they_belong():
    cfg = convert(segmentation(), prune_ratio=0.3, delta=0.8, budget='iterations')
    assert cfg.train_dataloader.sampler.policy == dict(type='SoftPruning', prune_ratio=0.3)
    assert cfg.train_dataloader.sampler.delta == 0.8 and cfg.train_cfg.budget == 'iterations'
    assert 'track' not in cfg.train_dataloader.sampler
    again = convert(cfg, track=False)
    assert again.train_dataloader.sampler == dict(cfg.train_dataloader.sampler, track=False)
    policy = dict(type='SoftPruning', prune_ratio=0.1)
    assert convert(segmentation(), policy=policy).train_dataloader.sampler.policy == policy


def test_the_score_may_come_from_some_of_the_losses():
    dice = dict(type='DiceLoss')
    cfg = segmentation()
    cfg.model.decode_head.loss_decode = [CE, dice]
    for score in ('CrossEntropyLoss', ['CrossEntropyLoss']):
        decoded = convert(cfg, score=score).model.decode_head.loss_decode
        assert decoded == [wrapped(CE), wrapped(dice, score=False)]


def test_a_loss_over_the_batch_is_evaluated_by_image_only_where_it_is_asked_for():
    lovasz = dict(type='LovaszLoss', reduction='none')
    cfg = segmentation()
    cfg.model.decode_head.loss_decode = [CE, lovasz]
    with pytest.raises(CannotConvert, match=r'model.decode_head.loss_decode.1.*per_image=True'):
        convert(cfg)
    decoded = convert(cfg, per_image=True).model.decode_head.loss_decode
    assert decoded == [wrapped(CE), wrapped(lovasz, per_image=True)]


WRONG_OPTIONS = [
    (dict(prune_ratio=1.5), ValueError, r'prune_ratio=1.5 lies outside \[0, 1\)'),
    (dict(prune_ratio='50%'), TypeError, "prune_ratio has to be a number .* but is '50%'"),
    (dict(prune_ratio=[0, 5]), TypeError, r'prune_ratio has to be a number .* but is \[0, 5\]'),
    (dict(delta=1.5), ValueError, r'delta=1.5 lies outside \[0, 1\].*write delta=0.875'),
    (dict(delta='abc'), TypeError, "delta has to be a number .* but is 'abc'"),
    (dict(delta=True), TypeError, 'delta has to be a number .* but is True'),
    (dict(policy='TargetSaving'), TypeError, "policy='TargetSaving' .*policy.type=TargetSaving"),
    (dict(policy=TargetSaving), TypeError, "write policy=dict.type='TargetSaving'."),
    (dict(policy=TargetSaving(0.4)), TypeError, 'has to be a dict with a type, one of Epsilon'),
    (dict(policy=0.5), TypeError, 'policy=0.5 has to be a dict with a type, one of EpsilonGreedy'),
    (dict(policy=dict(prune_ratio=0.5)), TypeError, 'has no type'),
    (dict(policy=dict(type='SoftPrunning')), ValueError, 'SoftPrunning.*is not in the registry'),
    (dict(policy=dict(type='TargetSaving', saving=4)), ValueError, 'saving=4 lies outside'),
    (dict(policy=dict(type='TargetSaving', save=4)), TypeError, 'does not take save, only saving'),
    (dict(policy=dict(type='torch.nn.Identity')), TypeError, 'Identity, which has no method plan'),
    (dict(prune_ratio=0.5, policy=dict(type='SoftPruning')), ValueError, 'both say what to prune'),
    (dict(budget='iters'), ValueError, "budget='iters' is neither 'passes' nor 'iterations'"),
    (dict(budget=True), ValueError, 'budget=True is neither'),
    (dict(budget=dict(x=1)), ValueError, "budget={'x': 1} is neither"),
    (dict(score=['DiceLoss']), ValueError, 'names DiceLoss, but the losses are CrossEntropyLoss'),
    (dict(score=['CrossEntropyLoss', 'Dice']), ValueError, 'names Dice, but the losses are Cross'),
    (dict(score=[]), TypeError, r'score=\[\] has to be the types of losses'),
    (dict(score=1), TypeError, 'score=1 has to be the types of losses'),
    (dict(score=''), TypeError, "score='' has to be the types of losses"),
    (dict(per_image='yes'), TypeError, "per_image has to be True or False, but is 'yes'"),
    (dict(track='no'), TypeError, "track has to be True or False, but is 'no'.*write track=False"),
    (dict(prune_ration=0.5), TypeError, 'prune_ration'),
]


@pytest.mark.parametrize('options, error, message', WRONG_OPTIONS)
def test_a_wrong_option_is_refused(options, error, message):
    """The option is blamed, and not the config."""
    with pytest.raises(error, match=message) as raised:
        convert(segmentation(), **options)
    assert not isinstance(raised.value, CannotConvert)


def test_an_option_is_refused_whatever_is_wrong_with_the_config():
    with pytest.raises(ValueError, match="budget='iters'"):
        convert(with_sampler(type='MySampler'), budget='iters')


@pytest.mark.parametrize('kind', ['DefaultSampler', 'InfiniteSampler'])
@pytest.mark.parametrize('setting', [dict(delta=0.5), dict(policy=dict(type='TargetSaving'))])
def test_a_setting_for_the_new_sampler_is_not_lost_with_the_old_one(kind, setting):
    ((key, value),) = setting.items()
    where = re.escape(f'train_dataloader.sampler.{key}={value!r} is not a setting of {kind}')
    with pytest.raises(ValueError, match=f'{where}.*--infobatch-options'):
        convert(with_sampler(type=kind, shuffle=True, **setting))


NEW_STYLE = """
from mmengine.config import read_base

with read_base():
    from .base import *

from mm_infobatch import InfoBatchSampler
from mm_infobatch.policies import TargetSaving

train_dataloader.update(
    sampler=dict(type=InfoBatchSampler, delta=1.0, policy=dict(type=TargetSaving, saving=0.2))
)
"""


@pytest.mark.parametrize('options', [dict(delta=0.5), dict(policy=dict(type='SoftPruning'))])
def test_a_sampler_that_is_named_by_its_class_is_written_so_that_it_can_be_read(tmp_path, options):
    classification().dump(tmp_path / 'base.py')
    (tmp_path / 'config.py').write_text(NEW_STYLE)
    convert(Config.fromfile(tmp_path / 'config.py'), **options).dump(tmp_path / 'out.py')
    sampler = Config.fromfile(tmp_path / 'out.py').train_dataloader.sampler
    kind = options['policy']['type'] if 'policy' in options else 'TargetSaving'
    assert sampler.policy.type.rpartition('.')[2] == kind
    assert sampler.delta == options.get('delta', 1.0)


def test_a_prune_ratio_is_for_a_policy_that_has_one():
    cfg = convert(segmentation(), policy=dict(type='TargetSaving', saving=0.4))
    with pytest.raises(ValueError, match='prune_ratio=0.3 does not fit .*, TargetSaving; set pol'):
        convert(cfg, prune_ratio=0.3)
    cfg = convert(segmentation(), policy=dict(type='RandomPruning', prune_ratio=0.1))
    policy = convert(cfg, prune_ratio=0.3).train_dataloader.sampler.policy
    assert policy == dict(type='RandomPruning', prune_ratio=0.3)


def test_a_budget_is_for_runs_by_iteration():
    with pytest.raises(ValueError, match='budget=.iterations. is for runs by iteration'):
        convert(classification(), budget='iterations')


# ------------------------------------------------------------------- refusals


def with_dataset_type(name):
    cfg = classification()
    cfg.train_dataloader.dataset.pipeline.insert(1, dict(type=name, transforms=[], num_views=[2]))
    return cfg


def with_sampler(**sampler):
    cfg = classification()
    cfg.train_dataloader.sampler = sampler
    return cfg


def without(key):
    cfg = classification()
    cfg.pop(key)
    return cfg


def with_head(**head):
    cfg = classification()
    cfg.model.head = head
    return cfg


REFUSED = {
    'repeated augmentation': (
        with_sampler(type='RepeatAugSampler', shuffle=True),
        "train_dataloader.sampler.type='RepeatAugSampler'; write sampler=",
    ),
    'a sampler of its own': (with_sampler(type='MySampler'), "sampler.type='MySampler'"),
    'unequal shares': (with_sampler(type='DefaultSampler', round_up=False), 'remove it'),
    'a batch sampler': (
        classification(**{'train_dataloader.batch_sampler': dict(type='Mine')}),
        'train_dataloader.batch_sampler=',
    ),
    'views': (with_dataset_type('MultiView'), "dataset.pipeline.1.type='MultiView'"),
    'a contrastive head': (with_head(type='ContrastiveHead', loss=CE), 'no sample has a loss'),
    'a contrastive algorithm': (classification(**{'model.type': 'MoCo'}), "model.type='MoCo'"),
    'mixing': (classification(**{'model.type': 'MixMIM'}), "backbone.*model.type='MixMIM'"),
    'tokens': (with_head(type='BEiTV1Head', embed_dims=8, num_embed=8, loss=CE), 'merges the tok'),
    'a set loss': (
        segmentation(
            **{'model.decode_head.train_cfg': dict(assigner=dict(type='mmdet.HungarianAssigner'))}
        ),
        "model.decode_head.train_cfg.assigner.type='mmdet.HungarianAssigner'",
    ),
    'a mask head': (segmentation(**{'model.decode_head.type': 'Mask2FormerHead'}), 'set loss'),
    'text': (classification(**{'model.type': 'BlipCaption'}), 'tokens of texts'),
    'no loss': (with_head(type='Sequential'), 'nothing to wrap.*register its loss in MODELS'),
    'another loop': (segmentation(**{'train_cfg.type': 'MyLoop'}), "train_cfg.type='MyLoop'"),
    'no training': (without('train_cfg'), 'no training section'),
    'no data': (without('train_dataloader'), 'no training section'),
    'dataloaders in a list': (classification(train_dataloader=[]), r'train_dataloader=\[\]; w'),
    'a sampler by its name alone': (
        classification(**{'train_dataloader.sampler': 'DefaultSampler'}),
        "train_dataloader.sampler='DefaultSampler'; write train_dataloader.sampler=dict",
    ),
    'a loop by its name alone': (classification(train_cfg='Loop'), "train_cfg='Loop'; write"),
    'a model by its name alone': (classification(model='ResNet'), "model='ResNet'; write model=d"),
    'hooks in a list': (classification(default_hooks=[1]), r'default_hooks=\[1\]; write'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_work_is_refused_with_the_reason_and_the_place(case):
    cfg, message = REFUSED[case]
    with pytest.raises(CannotConvert, match=message) as error:
        convert(cfg)
    assert error.value.reason in str(error.value) and len(str(error.value)) > len(
        error.value.reason
    )


# ---------------------------------------------------------- all shipped configs


@functools.lru_cache
def swept():
    return json.loads(json.dumps(sweep_configs.sweep()))


@pytest.mark.runs
@pytest.mark.filterwarnings('ignore')
def test_nearly_every_shipped_config_converts_and_the_others_say_why():
    groups = swept()['groups']
    assert sweep_configs.share(groups['mmseg']) >= 0.97
    assert sweep_configs.share(groups['supervised']) >= 0.95
    both = dict(
        converted=groups['supervised']['converted'],
        refused={**groups['supervised']['refused'], **groups['texts']['refused']},
    )
    assert sweep_configs.share(both) >= 0.95
    assert groups['mmseg']['converted'] > 600 and groups['supervised']['converted'] > 400


@pytest.mark.runs
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('stack', ['onedl', 'stock'])
def test_the_committed_sweep_is_that_of_the_installed_toolboxes(stack):
    committed = json.loads((ROOT / 'records' / 'sweep' / f'{stack}.json').read_text())
    if committed['versions'] != sweep_configs.versions():
        pytest.skip(f'the {stack} stack of the record is not installed')
    now = swept()
    assert now['groups'] == committed['groups']
    assert now['without_training'] == committed['without_training']


@pytest.mark.runs
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('toolbox', sweep_configs.TOOLBOXES)
def test_shipped_configs_are_not_changed_and_convert_once(toolbox):
    """One of every 25."""
    seen = 0
    for path in sweep_configs.shipped_configs(toolbox)[::25]:
        try:
            cfg = Config.fromfile(str(path))
            before = copy.deepcopy(cfg.to_dict())
            converted = convert(cfg)
        except (CannotConvert, ModuleNotFoundError):  # mmdet
            continue
        assert cfg.to_dict() == before and convert(converted).to_dict() == converted.to_dict()
        assert converted.pretty_text  # it can be written
        seen += 1
    assert seen > 10


@pytest.mark.parametrize('imports', [dict(imports=None), dict(allow_failed_imports=True)])
def test_custom_imports_without_imports_get_the_package(imports):
    given = convert(classification(custom_imports=imports)).custom_imports
    assert given == dict(imports, imports=['mm_infobatch'])
