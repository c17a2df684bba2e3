"""What cannot work is refused at the start: with what was given, why, and the line to change."""

import inspect
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import toolbox_runs as runs
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, TRANSFORMS, DefaultScope
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, IterableDataset

from mm_infobatch import InfoBatchLoss, InfoBatchSampler, convert
from mm_infobatch.policies import KAKURENBO, SoftPruning
from mm_infobatch.training.check_data import check_dataloader
from mm_infobatch.training.label_probability import other_score_warning
from mm_infobatch.training.sample_idx import check_samples

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


def assert_refused(cfg, *parts, error=ValueError, trained=0, change=None):
    """It is refused with a message that has these parts, before so many iterations."""
    runner, recorder = runs.build(cfg)
    if change is not None:
        change(runner)
    with pytest.raises(error) as info:
        runner.train()
    message = str(info.value)
    missing = [part for part in parts if part not in message]
    assert not missing, f'{missing} not in {message!r}'
    assert len(recorder.rows) == trained


def test_the_controls_train(either):
    assert runs.train(either).rows


# ----------------------------------------------------------------- loops and samplers


def test_our_hook_with_the_stock_iteration_loop_is_refused(seg):
    seg.train_cfg.type = 'IterBasedTrainLoop'
    assert_refused(
        seg,
        'IterBasedTrainLoop',
        'loop that knows passes',
        "train_cfg=dict(type='InfoBatchIterLoop')",
        "type='InfoBatchSampler'",
    )


def test_our_hook_with_the_stock_epoch_loop_is_refused(cls):
    cls.train_cfg = dict(by_epoch=True, max_epochs=3)
    assert_refused(
        cls,
        'EpochBasedTrainLoop',
        'loop that knows passes',
        "train_cfg=dict(type='InfoBatchEpochLoop')",
        'by_epoch',
    )


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
def test_our_loops_with_a_stock_sampler_are_refused(either, sampler):
    either.train_dataloader.sampler = dict(type=sampler, shuffle=True)
    assert_refused(
        either,
        'train_dataloader.sampler',
        sampler,
        "sampler=dict(_delete_=True, type='InfoBatchSampler')",
    )


def test_our_loops_without_our_hook_are_refused(either):
    either.custom_hooks = []
    assert_refused(
        either,
        either.train_cfg.type,
        'InfoBatchHook',
        'there are 0',
        "custom_hooks=[dict(type='InfoBatchHook')]",
    )


def test_our_hook_twice_is_refused(either):
    either.custom_hooks = [dict(type='InfoBatchHook')] * 2
    assert_refused(either, 'InfoBatchHook', 'there are 2')


def test_our_hook_behind_the_checkpoint_hook_is_refused(either):
    either.custom_hooks = [dict(type='InfoBatchHook', priority='LOWEST')]
    assert_refused(
        either,
        'priority',
        'LOWEST',
        'CheckpointHook',
        'state of the iteration before',
        "custom_hooks=[dict(type='InfoBatchHook')]",
    )


# ------------------------------------------------------------------------------ losses


def test_a_model_without_our_loss_is_refused(either):
    for name, key in (
        ('decode_head', 'loss_decode'),
        ('auxiliary_head', 'loss_decode'),
        ('head', 'loss'),
    ):
        if name in either.model:
            either.model[name][key] = either.model[name][key].loss
    assert_refused(
        either,
        either.model.type,
        'is an InfoBatchLoss',
        'weighted or scored',
        "type='InfoBatchLoss', loss=dict(...)",
    )


def test_losses_of_which_none_gives_scores_are_refused(seg):
    seg.model.decode_head.loss_decode.score = False
    seg.model.auxiliary_head.loss_decode.score = False
    assert_refused(seg, 'score=False', 'no sample would get a score', 'remove it')


def test_a_plain_loss_that_a_hook_puts_in_later_is_refused_at_the_start(cls):
    recipe = dict(action_epoch=3, loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1))
    cls.custom_hooks += [dict(type='SwitchRecipeHook', schedule=[recipe])]
    assert_refused(cls, 'LabelSmoothLoss', 'at epoch 3', "loss=dict(type='InfoBatchLoss'")
    recipe['loss'] = dict(type='InfoBatchLoss', loss=recipe['loss'])
    cls.custom_hooks[-1] = dict(type='SwitchRecipeHook', schedule=[recipe])
    runner, recorder = runs.build(cls)
    runner.hooks.remove(recorder)  # which knows one loss
    runner.train()
    assert type(runner.model.head.loss_module.loss).__name__ == 'LabelSmoothLoss'


def test_a_loss_that_the_model_never_calls_is_refused(cls):
    cls.model.head.loss = cls.model.head.loss.loss
    cls.custom_hooks[0].unweighted = ['model.head.loss']

    def add_unused(runner):
        loss = dict(type='mmpretrain.CrossEntropyLoss')
        runner.model.add_module('unused', InfoBatchLoss(loss))

    assert_refused(
        cls,
        'never called an InfoBatchLoss',
        'wrap a loss that the model uses',
        "type='InfoBatchLoss'",
        change=add_unused,
    )


def test_a_loss_over_the_whole_batch_is_refused(seg_data, tmp_path):
    cfg = runs.segmentation_config(seg_data, tmp_path, 6)
    cfg.model.decode_head.loss_decode = dict(type='LovaszLoss', reduction='none')
    with pytest.raises(ValueError, match=r'LovaszLoss\(per_image=False\).*set per_image=True'):
        runs.train(runs.switch_on(cfg))


class TwoViews(torch.nn.Module):
    """Hands the model each image twice, as repeated augmentation does."""

    def __init__(self, preprocessor):
        super().__init__()
        self.preprocessor = preprocessor

    def forward(self, data, training=False):
        data = self.preprocessor(data, training)
        return dict(inputs=data['inputs'].repeat(2, 1, 1, 1), data_samples=data['data_samples'] * 2)


def test_a_loss_that_gets_another_batch_than_was_planned_is_refused(cls):

    def twice(runner):
        runner.model.data_preprocessor = TwoViews(runner.model.data_preprocessor)

    assert_refused(
        cls,
        'InfoBatchLoss(CrossEntropyLoss)',
        '(8,)',
        'trains 4 samples',
        'leave this loss unwrapped or remove what changes the batch',
        change=twice,
    )


# ------------------------------------------------------------------- the order of samples


class NextLoader(Hook):
    """Trains other batches from the second epoch on."""

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            loader = dict(runner.cfg.train_dataloader, batch_size=2)
            runner.train_loop.dataloader = runner.build_dataloader(loader, seed=runner.seed)


class NextBatches(Hook):
    """Changes how the samples of the dataset make batches from the second epoch on."""

    def __init__(self, **changes):
        self.changes = changes

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            for name, value in self.changes.items():
                setattr(runner.train_loop.dataloader.batch_sampler, name, value)


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(batch_size=8), 'batch_sampler.batch_size by 8'),
        (dict(drop_last=True), 'batch_sampler.drop_last by True'),
        (dict(sampler=[0, 1, 2, 3]), 'batch_sampler.sampler'),
    ],
)
def test_a_sampler_or_batch_size_that_a_hook_puts_in_later_is_refused(cls, changes, words):
    assert_refused(
        cls,
        f'a hook has replaced train_loop.dataloader.{words}',
        'a run of its own, with load_from=CHECKPOINT',
        trained=2,
        change=lambda runner: runner.register_hook(NextBatches(**changes)),
    )


def test_a_dataloader_that_a_hook_puts_in_later_is_refused(cls):
    assert_refused(
        cls,
        'a hook has replaced train_loop.dataloader',
        'train_loop.dataloader.dataset.pipeline',
        trained=2,
        change=lambda runner: runner.register_hook(NextLoader()),
    )


def test_what_stands_for_a_dataloader_in_a_simulated_training_is_refused():
    """As in mmpretrain's vis_scheduler.py, which the schedule without InfoBatch serves."""
    batches = type('FakeDataloader', (list,), dict(dataset=None))(range(3))
    with pytest.raises(ValueError, match=r'FakeDataloader; .* the config without InfoBatch'):
        check_dataloader(batches, 'InfoBatchEpochLoop')


@DATA_SAMPLERS.register_module()
class Regrouping(BatchSampler):
    """Stands for those that group images by their aspect ratio."""


def test_a_batch_sampler_that_may_regroup_is_refused(either):
    either.train_dataloader.batch_sampler = dict(type='Regrouping', drop_last=False)
    assert_refused(
        either, 'Regrouping', 'order of the sampler', 'remove train_dataloader.batch_sampler'
    )


@DATA_SAMPLERS.register_module()
class Ascending(InfoBatchSampler):
    """Hands out the samples of its plan in another order."""

    def __iter__(self):
        return iter(sorted(super().__iter__()))


def test_a_sampler_with_an_order_of_its_own_is_refused(either):
    either.train_dataloader.sampler.type = 'Ascending'
    assert_refused(
        either, 'Ascending overrides __iter__', 'get the weights of those', 'sampler.policy'
    )


@pytest.mark.skipif(
    'in_order' not in inspect.signature(DataLoader.__init__).parameters,
    reason='this torch has no in_order',
)
def test_batches_out_of_order_are_refused(either):
    either.train_dataloader.update(num_workers=2, persistent_workers=True, in_order=False)
    assert_refused(
        either,
        'in_order=False',
        'weights would reach other samples',
        'remove train_dataloader.in_order',
    )


@DATASETS.register_module()
class Stream(IterableDataset):
    """Samples without an index."""

    def __iter__(self):
        yield from range(8)


@DATASETS.register_module()
class StreamOfKnownLength(Stream):
    def __len__(self):
        return 8


@pytest.mark.parametrize('dataset', ['Stream', 'StreamOfKnownLength'])
def test_an_iterable_data_set_is_refused(either, dataset):
    either.train_dataloader.dataset = dict(type=dataset)
    assert_refused(
        either,
        dataset,
        'iterable',
        'index',
        'use a map-style dataset',
        'train_dataloader',
        error=(ValueError, TypeError),
    )


def test_a_data_set_that_hands_out_another_sample_stops_the_run(cls, tmp_path):
    """As mmengine's do, at random, when a file cannot be read."""
    data = runs.write_classification_data(tmp_path / 'data', num_images=8)
    (tmp_path / 'data' / 'train' / 'class1' / '004.png').write_bytes(b'')
    cls.train_dataloader.dataset.data_root = data
    cls.train_dataloader.dataset.pipeline[0].ignore_empty = True
    runner, recorder = runs.build(cls)
    with pytest.raises(
        ValueError,
        match=r'the batch holds the samples \[.*\], but \[.*\] are due here: weights or scores '
        'would go to other samples.*'
        'a file cannot be read.*train_dataloader',
    ):
        runner.train()
    assert len(recorder.rows) < 2  # the pass has two batches


WRAPPERS = {
    'SeededDataset': lambda inner: dict(type='SeededDataset', dataset=inner),
    'RepeatDataset': lambda inner: dict(type='RepeatDataset', dataset=inner, times=2),
    'ConcatDataset': lambda inner: dict(
        type='ConcatDataset', datasets=[dict(inner, indices=[1, 2]), inner]
    ),
    'ClassBalancedDataset': lambda inner: dict(
        type='ClassBalancedDataset', dataset=inner, oversample_thr=0.9
    ),
    'KFoldDataset': lambda inner: dict(type='KFoldDataset', dataset=inner, num_splits=8, fold=1),
    'three of them': lambda inner: dict(
        type='SeededDataset',
        dataset=dict(
            type='RepeatDataset', times=2, dataset=dict(type='KFoldDataset', dataset=inner)
        ),
    ),
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_a_wrapped_data_set_that_hands_out_another_sample_stops_the_run(wrapper, cls, tmp_path):
    data = runs.write_classification_data(tmp_path / 'data', num_images=8)
    cls.train_dataloader.dataset.data_root = data
    cls.train_dataloader.dataset.pipeline[0].ignore_empty = True
    cls.train_dataloader.dataset = WRAPPERS[wrapper](cls.train_dataloader.dataset)
    assert runs.train(cls).rows  # control
    (tmp_path / 'data' / 'train' / 'class1' / '004.png').write_bytes(b'')
    runner, recorder = runs.build(cls)
    with pytest.raises(ValueError, match='the batch holds the samples.*a file cannot be read'):
        runner.train()
    assert len(recorder.rows) < -(-len(runner.train_dataloader.dataset) // 4)


@DATASETS.register_module()
class Backwards(Dataset):
    """A wrapper of one's own, as long as what it wraps, in another order."""

    def __init__(self, dataset):
        self.dataset = DATASETS.build(dataset)
        self.metainfo = self.dataset.metainfo

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[len(self) - 1 - index]


def test_a_wrapper_of_ones_own_may_have_any_order(cls):
    cls.train_dataloader.dataset = dict(type='Backwards', dataset=cls.train_dataloader.dataset)
    assert runs.train(cls).rows


class NamesNone(Dataset):
    """Its samples do not say who they are."""

    def __len__(self):
        return 3


def test_a_sample_without_a_name_leaves_the_rest_of_its_batch_checked(cls):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        named = DATASETS.build(cls.train_dataloader.dataset)
    dataset = ConcatDataset([NamesNone(), named])

    def batch(*names):
        return dict(data_samples=[SimpleNamespace(sample_idx=name) for name in names])

    check_samples(batch(None, 4), [1, 7], dataset)
    check_samples(batch(9, 4), [1, 7], dataset)
    with pytest.raises(ValueError, match=r'\[None, 3\].*\[None, 4\].*inside ConcatDataset'):
        check_samples(batch(None, 3), [1, 7], dataset)
    check_samples(batch(None, None), [1, 7], dataset)
    with pytest.raises(ValueError, match=r'\[4\].*\[None, 4\]'):
        check_samples(batch(4), [1, 7], dataset)


@DATASETS.register_module()
class RareTwice(DATASETS.get('mmpretrain.CustomDataset')):
    """Every third sample twice, so that an index is not that of the sample."""

    @property
    def places(self):
        return [i for i in range(super().__len__()) for _ in range(1 + (i % 3 == 0))]

    def __len__(self):
        return len(self.places)

    def __getitem__(self, index):
        return super().__getitem__(self.places[index])


def test_a_data_set_with_indices_of_its_own_trains(cls):
    cls.train_dataloader.dataset.type = 'RareTwice'
    recorder = runs.train(cls)
    assert sorted(recorder.by_pass('indices')[0]) == RareTwice.places.fget(
        recorder.runner.train_loop.dataloader.dataset
    )


@FUNCTIONS.register_module()
def reversed_collate(data_batch):
    """A collate function that changes the order."""
    return FUNCTIONS.get('default_collate')(data_batch[::-1])


def test_a_collate_function_that_changes_the_order_stops_the_run(cls):
    cls.train_dataloader.collate_fn = dict(type='reversed_collate')
    assert_refused(
        cls,
        'the batch holds the samples',
        'weights or scores would go to other samples',
        'a collate function',
        'collate_fn',
    )


@FUNCTIONS.register_module()
def reversed_pseudo_collate(data_batch):
    """The same for data samples in a list."""
    return FUNCTIONS.get('pseudo_collate')(data_batch[::-1])


class Reorders(Hook):
    """A hook that changes the order of a batch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for key, value in data_batch.items():
            data_batch[key] = value.flip(0) if torch.is_tensor(value) else value[::-1]


def test_a_hook_that_changes_the_order_of_a_batch_stops_the_run(either):
    assert_refused(
        either,
        'the batch holds the samples',
        'weights or scores would go to other samples',
        change=lambda runner: runner.register_hook(Reorders(), 'LOW'),
    )


@TRANSFORMS.register_module()
class WithoutOne(BaseTransform):
    """Takes an image for one that cannot be read."""

    def transform(self, results):
        return None if results['img_path'].endswith('002.png') else results


@TRANSFORMS.register_module()
class OtherPath(BaseTransform):
    """Names the file that an image was copied to."""

    def transform(self, results):
        return dict(results, img_path=results['img_path'] + '.copy')


def without_sample_idx(cfg):
    """mmseg's own ``meta_keys`` have ``img_path`` alone."""
    del cfg.train_dataloader.dataset.pipeline[-1]['meta_keys']
    return cfg


def unrecorded(cfg):
    """A runner without the recorder, which reads ``sample_idx``."""
    runner, recorder = runs.build(cfg)
    runner.hooks.remove(recorder)
    return runner


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize('fault', ['collate', 'dataset'])
def test_other_samples_stop_the_run_by_their_paths_too(seg, fault, wrapped):
    dataloader = without_sample_idx(seg).train_dataloader
    if fault == 'collate':
        dataloader.collate_fn = dict(type='reversed_pseudo_collate')
    else:
        dataloader.dataset.pipeline.insert(1, dict(type='WithoutOne'))
    if wrapped:
        dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=dataloader.dataset)
    with pytest.raises(ValueError, match=r'holds the samples .*\.png.* would go to other samples'):
        unrecorded(seg).train()


@FUNCTIONS.register_module()
def swapping_collate(data_batch):
    """Changes the order of two samples that are of different folders."""
    folders = {Path(one['data_samples'].img_path).parts[-4] for one in data_batch}
    return FUNCTIONS.get('pseudo_collate')(data_batch[:: -1 if len(folders) == 2 else 1])


@pytest.mark.parametrize('repeated', [False, True])
def test_samples_of_another_part_of_a_concatenated_dataset_stop_the_run(seg, tmp_path, repeated):
    dataloader = without_sample_idx(seg).train_dataloader
    one = dataloader.dataset
    shutil.copytree(one.data_root, tmp_path / 'other')
    other = dict(one, data_root=str(tmp_path / 'other'))
    if repeated:
        other = dict(type='RepeatDataset', times=1, dataset=other)
    dataloader.dataset = dict(type='ConcatDataset', datasets=[one, other])
    dataloader.update(batch_size=2, collate_fn=dict(type='swapping_collate'))
    with pytest.raises(ValueError, match=r'holds the samples .*\.png.* would go to other samples'):
        unrecorded(seg).train()


def test_a_path_that_the_pipeline_has_changed_is_no_other_sample(seg):
    dataset = without_sample_idx(seg).train_dataloader.dataset
    dataset.pipeline.insert(1, dict(type='OtherPath'))
    runner = unrecorded(seg)
    runner.train()
    assert runner.train_loop.schedule.finished


def test_a_data_set_too_small_for_one_batch_is_refused_with_drop_last(either):
    either.train_dataloader.update(drop_last=True, batch_size=20)
    count = '6' if 'max_iters' in either.train_cfg else '8'
    assert_refused(
        either,
        'drop_last=True',
        f'{count} samples',
        'batch of 20',
        '1 processes',
        'lower train_dataloader.batch_size',
        'train_dataloader.drop_last=False',
    )


def test_what_is_advised_for_an_endless_sampler_and_too_few_samples_trains(seg, tmp_path):
    """The conversion sets ``drop_last`` for such a sampler, whatever it was."""
    data = seg.train_dataloader.dataset.data_root
    cfg = runs.segmentation_config(data, tmp_path / 'run', max_iters=6, batch_size=20)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    advised = "train_dataloader.sampler.type='DefaultSampler'"
    assert_refused(convert(cfg), 'train_dataloader.drop_last=False', 'InfiniteSampler', advised)
    cfg.train_dataloader.drop_last = False
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    assert len(runs.train(convert(cfg)).rows) == 6


# ----------------------------------------------------------------------------- settings


@pytest.mark.default_cases('mmseg-1', 'mmseg-nan', 'mmpretrain--0.1')
@pytest.mark.parametrize('value', [-0.1, 1, 1.5, float('nan')])
def test_a_prune_ratio_out_of_range_is_refused(either, value):
    either.train_dataloader.sampler.policy.prune_ratio = value
    assert_refused(
        either,
        f'prune_ratio={value}',
        '[0, 1)',
        'share of the well-learned samples',
        "policy=dict(type='SoftPruning', prune_ratio=0.5)",
    )


@pytest.mark.default_cases('mmseg-1.1', 'mmpretrain-nan')
@pytest.mark.parametrize('value', [-0.1, 1.1, float('nan')])
def test_a_delta_out_of_range_is_refused(either, value):
    either.train_dataloader.sampler.delta = value
    assert_refused(
        either,
        f'delta={value}',
        '[0, 1]',
        'share of the run',
        "sampler=dict(type='InfoBatchSampler', delta=0.875)",
    )


@pytest.mark.default_cases('mmseg-half', 'mmpretrain-True')
@pytest.mark.parametrize('value', ['half', None, True])
def test_a_prune_ratio_or_delta_that_is_no_number_is_refused(either, value):
    sampler = either.train_dataloader.sampler
    sampler.policy.prune_ratio = value
    assert_refused(either, 'prune_ratio', repr(value), 'number in [0, 1)', error=TypeError)
    sampler.policy.prune_ratio, sampler.delta = 0.5, value
    assert_refused(either, 'delta', repr(value), 'number in [0, 1]', error=TypeError)


def test_a_policy_that_cannot_plan_is_refused(either):
    either.train_dataloader.sampler.policy = 0.5
    assert_refused(
        either, 'policy=0.5', 'plan(scores, generator)', 'PRUNING_POLICIES', error=TypeError
    )


def test_an_unknown_budget_is_refused(seg):
    seg.train_cfg.budget = 'samples'
    assert_refused(seg, "budget='samples'", "'passes'", "'iterations'", 'train_cfg.budget')


@pytest.mark.parametrize('value', [0, -3, 2.5])
def test_a_schedule_without_an_iteration_is_refused(seg, value):
    seg.train_cfg.max_iters = value
    seg.param_scheduler = None
    assert_refused(seg, f'max_iters={value}', 'integer of at least 1')


@pytest.mark.parametrize('value', [0, -1, 2.5])
def test_a_schedule_without_an_epoch_is_refused(cls, value):
    cls.train_cfg.max_epochs = value
    cls.param_scheduler = None
    assert_refused(cls, f'max_epochs={value}', 'integer of at least 1')


# ------------------------------------------------------------------------------ scores

CROSS_ENTROPY = dict(type='mmpretrain.CrossEntropyLoss')


@pytest.mark.parametrize(
    'losses, words',
    [
        ([CROSS_ENTROPY], None),
        ([dict(CROSS_ENTROPY, loss_weight=0.5)], '0.5 times the cross entropy'),
        ([dict(CROSS_ENTROPY, use_soft=True)], 'use_sigmoid, use_soft or class_weight'),
        ([dict(CROSS_ENTROPY, class_weight=[1.0, 2.0])], 'use_sigmoid, use_soft or class_weight'),
        ([CROSS_ENTROPY, CROSS_ENTROPY], 'the sum of 2 losses'),
        ([dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1)], 'the LabelSmoothLoss'),
        ([dict(type='mmseg.CrossEntropyLoss')], 'a mean over the pixels'),
    ],
)
def test_a_policy_that_takes_a_score_for_a_probability_warns_where_it_is_none(losses, words):
    model = torch.nn.Module()
    model.losses = torch.nn.ModuleList(InfoBatchLoss(dict(loss)) for loss in losses)
    assert other_score_warning(model, SoftPruning()) is None
    warning = other_score_warning(model, KAKURENBO())
    assert warning is None if words is None else words in warning


def test_mixed_labels_have_no_probability():
    model = torch.nn.Module()
    model.loss = InfoBatchLoss(dict(CROSS_ENTROPY))
    model.data_preprocessor = SimpleNamespace(batch_augments=None)
    assert other_score_warning(model, KAKURENBO()) is None
    model.data_preprocessor.batch_augments = lambda images, labels: (images, labels)
    assert 'mixed labels' in other_score_warning(model, KAKURENBO())


def test_the_warning_of_kakurenbo_is_in_the_log(seg, tmp_path):
    seg.train_dataloader.sampler.policy = dict(type='KAKURENBO')
    runs.train(seg)
    (log,) = tmp_path.glob('*/*.log')
    assert 'KAKURENBO takes the probability of the label to be exp(-score)' in log.read_text()
