"""Mistakes in a config that has InfoBatch on are named before mmengine prints the whole config."""

import pytest
import toolbox_runs as runs
from launch import run_cold
from mmengine.registry import DATA_SAMPLERS
from warm_start import ROOT, run_tool

from mm_infobatch import InfoBatchHook, InfoBatchSampler
from mm_infobatch.convert import check_config

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
SAMPLER, LOSS = 'train_dataloader.sampler', 'model.decode_head.loss_decode'


def segmentation():
    return runs.switch_on(runs.segmentation_config('data', 'work'))


def classification():
    return runs.switch_on(runs.classification_config('data', 'work'))


CONFIGS = [
    segmentation(),
    classification(),
    runs.segmentation_config('data', 'work'),
    runs.classification_config('data', 'work'),
]


@pytest.mark.parametrize('cfg', CONFIGS, ids=['mmseg', 'mmpretrain', 'mmseg, off', 'off'])
def test_a_config_that_works_is_not_changed(cfg):
    before = cfg.to_dict()
    check_config(cfg)
    assert cfg.to_dict() == before


def test_a_sampler_alone_works_with_any_loop():
    cfg = runs.classification_config('data', 'work')
    cfg.train_dataloader.sampler = segmentation().train_dataloader.sampler
    check_config(cfg)
    cfg.train_dataloader.sampler.delta = 2
    with pytest.raises(ValueError, match='delta=2'):
        check_config(cfg)


PARTS = [
    ('train_cfg.type', 'IterBasedTrainLoop', "without InfoBatchIterLoop.*cfg.type='IterBasedTrain"),
    (
        'train_cfg.type',
        'InfoBatchLoop',
        "without InfoBatchIterLoop.*cfg.type='InfoBatchLoop'",
    ),
    (SAMPLER, dict(type='DefaultSampler'), 'without InfoBatchSampler.*_delete_=True'),
    (SAMPLER, 'InfoBatchSampler', "sampler='InfoBatchSampler'; write train_dataloader.sampler=d"),
    ('train_cfg', 'InfoBatchIterLoop', "train_cfg='InfoBatchIterLoop'; write train_cfg=dict"),
    (SAMPLER, dict(type='InfoBatchSamplr'), "sampler.type='InfoBatchSamplr'"),
    ('custom_hooks', dict(type='InfoBatchHook'), 'custom_hooks=.*; write custom_hooks=.dict'),
    ('custom_hooks', [], 'without InfoBatchHook.*0 InfoBatchHook.*custom_hooks='),
    ('custom_hooks', [dict(type='InfobatchHook')], 'without InfoBatchHook.*0 InfoBatchHook'),
    ('custom_hooks', [dict(type='InfoBatchHook')] * 2, '2 InfoBatchHook'),
]
SETTINGS = [
    ('train_cfg.budget', 'iters', "train_cfg.budget='iters' is neither 'passes' nor 'iterations'"),
    ('train_cfg.max_iters', '5', "train_cfg.max_iters='5' has to be an integer of at least 1"),
    ('train_cfg.val_interval', 0, 'train_cfg.val_interval=0 has to be an integer of at least 1'),
    ('train_cfg.val_begin', 1.5, 'train_cfg.val_begin=1.5 has to be an integer of at least 0'),
    ('train_cfg.max_iter', 5, "InfoBatchIterLoop does not take 'max_iter'; it takes max_iters"),
    ('train_cfg', dict(type='InfoBatchIterLoop'), 'train_cfg: InfoBatch.*Loop needs max_'),
    ('train_cfg.by_epoch', False, 'by_epoch=False and type=.*mmengine takes only one.*_delete_=T'),
    (f'{SAMPLER}.delta', 2, r'delta=2 lies outside \[0, 1\]'),
    (
        f'{SAMPLER}.round_up',
        True,
        "does not take 'round_up'; .*merged in: .*_delete_=True",
    ),
    (f'{SAMPLER}.policy', 'TargetSaving', "policy='TargetSaving' has to be a dict.*TargetSaving"),
    (f'{SAMPLER}.policy.type', 'Saving', "'Saving' is not in the registry of pruning policies"),
    (f'{SAMPLER}.policy.type', 'TargetSaving', 'does not take prune_ratio.*_delete_=True'),
    (f'{SAMPLER}.policy.prune_ratio', 2, 'prune_ratio=2'),
    ('custom_hooks.0.interval', 3, "InfoBatchHook does not take 'interval'; it takes by"),
    ('custom_hooks.0.unweighted', 'model.head', "unweighted='model.head' has to be a list"),
    (f'{LOSS}.use_sigmoid', False, f"{LOSS}: .*'use_sigmoid'; .*_delete_=True, type='InfoBatchL"),
    (f'{LOSS}.per_image', 1, f'{LOSS}: .*per_image has to be True or False, but is 1'),
    (f'{LOSS}.loss.loss_weigth', 1, f"{LOSS}: .*'loss_weigth'"),
    (f'{LOSS}.loss.type', 'CrossLoss', f'{LOSS}: .*CrossLoss is not in the'),
    (f'{LOSS}.loss', [dict(type='DiceLoss')], f'{LOSS}: .*is neither a config nor a module'),
]


@pytest.mark.parametrize('key, value, message', PARTS + SETTINGS)
def test_a_mistake_is_named(key, value, message):
    cfg = segmentation()
    runs.put(cfg, key, value)
    with pytest.raises((TypeError, ValueError), match=message):
        check_config(cfg)


@pytest.mark.parametrize('value', [True, False])
def test_by_epoch_beside_a_type_is_named_with_the_line_to_write(value):
    cfg = classification()
    cfg.train_cfg.by_epoch = value
    with pytest.raises(ValueError, match='_delete_=True, type=.InfoBatchEpochLoop., max_epochs'):
        check_config(cfg)


@DATA_SAMPLERS.register_module()
class LooksIntoTheDataset(InfoBatchSampler):
    def __init__(self, dataset, **kwargs):
        dataset.get_cat_ids(0)
        super().__init__(dataset, **kwargs)


def test_a_users_sampler_is_not_built_without_its_dataset_and_a_hook_may_be_an_object():
    cfg = segmentation()
    cfg.train_dataloader.sampler.type = 'LooksIntoTheDataset'
    cfg.custom_hooks = [InfoBatchHook()]
    check_config(cfg)
    cfg.train_dataloader.sampler.policy.type = 'Saving'
    with pytest.raises(ValueError, match='not in the registry of pruning policies'):
        check_config(cfg)


# ------------------------------------------------------------------ last and alone


def messages(run, tmp_path, cfg, *arguments):
    """What tools/train.py prints and the exit status, without what toolboxes say of themselves."""
    for key in ('work_dir', 'experiment_name'):
        cfg.pop(key, None)
    cfg.dump(str(tmp_path / 'mine.py'))
    tool = ROOT / 'tools' / 'train.py'
    status, printed = run(tool, 'mine.py', *arguments, cwd=tmp_path)
    return status, [line for line in printed.splitlines() if 'OneDL' not in line]


@pytest.mark.default_cases('options0-*')
@pytest.mark.parametrize(
    'options, message',
    [
        (['policy=TargetSaving'], "--infobatch-options: policy='TargetSaving' has to be a dict"),
        (['budget=iters'], "--infobatch-options: budget='iters' is neither 'passes' nor 'iter"),
        (['delta'], "--infobatch-options: 'delta' is not a pair; write key=value"),
        (['policy=X', 'policy.saving=1'], '--infobatch-options {'),
    ],
)
def test_a_wrong_option_is_the_only_thing_that_is_printed(options, message, tmp_path):
    cfg = runs.segmentation_config('data', 'work')
    status, lines = messages(
        run_tool, tmp_path, cfg, '--infobatch', '--infobatch-options', *options
    )
    assert status == 2 and f'train: error: {message}' in lines[-1]
    assert len(lines) <= 15 and not any('Config:' in line for line in lines)  # argparse's usage


@pytest.mark.default_cases('flag0')
@pytest.mark.parametrize('flag', [[], ['--infobatch']])
def test_a_mistake_in_the_config_is_the_only_thing_that_is_printed(flag, tmp_path):
    cfg = segmentation()
    cfg.model.decode_head.loss_decode.update(use_sigmoid=False, loss_weight=1.0)
    status, lines = messages(run_cold, tmp_path, cfg, *flag)
    assert status == 2 and len(lines) == 1
    assert "does not take 'loss_weight', 'use_sigmoid'" in lines[0] and '_delete_=True' in lines[0]
    assert '--infobatch-options' not in lines[0]
