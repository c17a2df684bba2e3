"""Augmentation as a function of seed, pass and index."""

import json
import pickle
import random

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from augment import Digests, augmented
from launch import launch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from small_runner import Numbered, rng_states
from torch.utils.data import IterableDataset

from mm_infobatch import InfoBatchSampler, SeededDataset
from mm_infobatch.seeding import (
    SEEDED_LINE,
    PassIndex,
    inner_datasets,
    seeded,
    unwrap_seeded,
)
from mm_infobatch.training.sample_idx import sample_idx_is_index

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


@pytest.fixture(scope='module')
def cls_data(tmp_path_factory):
    return runs.write_classification_data(tmp_path_factory.mktemp('cls'), num_images=12)


@pytest.fixture(params=['mmseg', 'mmpretrain'])
def config(request, tmp_path):
    """A run of four passes over 12 images, at batch size 2, without augmentation."""
    if request.param == 'mmseg':
        cfg = runs.segmentation_config(request.getfixturevalue('seg_data'), tmp_path, 24)
    else:
        cfg = runs.classification_config(
            request.getfixturevalue('cls_data'), tmp_path, 4, batch_size=2
        )
    return runs.switch_on(cfg, delta=1)


def digests(cfg):
    found = Digests()
    recorder = runs.train(cfg, found)
    assert recorder.passes[1][1].pruned
    return found.of, recorder


# ----------------------------------------------------------------- the same everywhere


@pytest.mark.default_cases('mmseg-2-True', 'mmpretrain-1-False')
@pytest.mark.parametrize('num_workers, persistent', [(1, False), (2, False), (2, True)])
def test_any_number_of_workers_loads_the_same_samples(config, num_workers, persistent):
    cfg = augmented(config)
    alone, recorder = digests(cfg)
    cfg.train_dataloader.update(num_workers=num_workers, persistent_workers=persistent)
    others, again = digests(cfg)
    assert others == alone
    assert again.rows == recorder.rows
    runs.assert_same_state(again.state, recorder.state)


@pytest.mark.default_cases('mmpretrain')
def test_without_a_seeded_dataset_other_workers_load_other_samples(config):
    cfg = augmented(config, seeded=False)
    alone, _ = digests(cfg)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    others, _ = digests(cfg)
    common = [key for key in alone.keys() & others.keys() if key.startswith('0/')]
    assert common and not any(alone[key] == others[key] for key in common)


@pytest.mark.runs
@pytest.mark.parametrize('config', ['mmseg'], indirect=True)
def test_two_processes_load_the_same_samples_as_one(config, tmp_path):
    cfg = augmented(config)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    alone, _ = digests(cfg)
    cfg.custom_hooks.append(dict(type='Digests', path=str(tmp_path / 'rank{rank}.json')))
    launch(cfg, imports=['augment'])
    ranks = [json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in range(2)]
    first = {key for key in alone if key.startswith('0/')}
    assert first == {key for rank in ranks for key in rank if key.startswith('0/')}
    # The plans of later passes differ, as two processes make larger steps.
    for rank in ranks:
        common = rank.keys() & alone.keys()
        assert len({key.partition('/')[0] for key in common}) == 4
        assert [rank[key] for key in common] == [alone[key] for key in common]


def test_each_pass_and_sample_draws_numbers_of_its_own(config):
    found, _ = digests(augmented(config))
    assert len(set(found.values())) == len(found) > 24


@pytest.mark.default_cases('mmpretrain')
def test_another_seed_draws_other_numbers(config):
    found, _ = digests(augmented(config))
    config.randomness = dict(seed=8)
    other, _ = digests(config)
    assert not set(found.values()) & set(other.values())


# ---------------------------------------------------------------------------- resume


@pytest.mark.default_cases('mmpretrain-0')
@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_run_resumed_in_a_pass_ends_bit_for_bit_with_augmentation(config, tmp_path, num_workers):
    cfg = augmented(runs.checkpoints_every(config, 1))
    found, whole = digests(cfg)
    done = len(whole.by_pass('lr')[0]) + 2
    later = runs.resumed(cfg, tmp_path / f'iter_{done}.pth', tmp_path / 'resumed')
    later.train_dataloader.update(num_workers=num_workers, persistent_workers=num_workers > 0)
    later.randomness = dict(seed=99)  # the checkpoint's is the one that counts
    rest = Digests()
    resumed = runs.train(later, rest)
    assert rest.of.items() <= found.items()
    assert resumed.column('loss') == whole.column('loss')[done:]
    runs.assert_same_state(resumed.state, whole.state)


@pytest.mark.default_cases('mmpretrain')
def test_without_a_seeded_dataset_a_resumed_run_with_workers_ends_elsewhere(config, tmp_path):
    cfg = augmented(runs.checkpoints_every(config, 1), seeded=False)
    cfg.train_dataloader.update(num_workers=1, persistent_workers=False)
    _, whole = digests(cfg)
    done = len(whole.by_pass('lr')[0]) + 2
    later = runs.resumed(cfg, tmp_path / f'iter_{done}.pth', tmp_path / 'resumed')
    resumed = runs.train(later)
    assert resumed.column('loss') != whole.column('loss')[done:]


# ------------------------------------------------------------------------ transparency


class Draws(torch.utils.data.Dataset):
    """Sample i is i and a number of each global generator; sample 3 is broken."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        numbers = random.random(), np.random.rand(), torch.rand(()).item()
        if index == 3:
            raise OSError('broken')
        assert type(index) is int
        return (index, *numbers)


def test_the_global_generators_go_on_as_if_nothing_had_been_drawn():
    dataset = SeededDataset(Draws())
    before = rng_states()
    first = dataset[PassIndex(1, 0, 0)]
    assert rng_states() == before
    with pytest.raises(OSError, match='broken'):
        dataset[PassIndex(3, 0, 0)]
    assert rng_states() == before
    random.random(), np.random.rand(), torch.rand(())
    assert dataset[PassIndex(1, 0, 0)] == first


def test_each_generator_draws_other_numbers_for_each_seed_pass_and_sample():
    """A coincidence of 3 x 64 doubles has a probability below 1e-12."""
    dataset = SeededDataset(Draws())
    for part in (1, 2):
        drawn = {
            dataset[PassIndex(index, seed, epoch)][part]
            for seed in (0, 1, 2**31, 2**40)
            for epoch in range(4)
            for index in (0, 1, 2, 4)
        }
        assert len(drawn) == 64
    drawn = {dataset[PassIndex(0, seed, epoch)][3] for seed in range(4) for epoch in range(4)}
    assert len(drawn) == 16


def test_the_numbers_of_samples_are_uniform():
    """The mean of 4000 uniform numbers: six standard deviations, about 2e-9 a generator."""
    numbers = []
    for index in range(4000):
        with seeded(5, 1, index):
            numbers.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert np.abs(np.mean(numbers, axis=0) - 0.5).max() < 6 * (1 / 12 / 4000) ** 0.5
    assert np.abs(np.corrcoef(np.array(numbers).T) - np.eye(3)).max() < 6 / 4000**0.5


def test_pytorch_gets_a_seed_of_64_bits_and_no_gpu_is_seeded(monkeypatch):
    monkeypatch.setattr(torch, 'manual_seed', None)  # it seeds every GPU
    seeds = []
    for index in range(64):
        with seeded(0, 0, index):
            seeds.append(torch.initial_seed())
    # Each is above 2^62 with a probability of 3/4: none of 64 with 3e-39, all of them with 1e-8.
    assert 0 < sum(each >= 2**62 for each in seeds) < 64
    # 32 bits would repeat a word: two of 64 seeds share an upper half with 5e-7.
    assert len({each >> 32 for each in seeds}) == 64


def test_a_negative_seed_works():
    with seeded(-1, 0, 0):
        random.random()


def test_an_index_with_a_pass_is_an_index():
    index = PassIndex(5, 7, 2)
    assert index == 5 and hash(index) == hash(5) and list(range(9))[index] == 5
    assert np.arange(9)[index] == 5 and torch.arange(9)[index] == 5
    assert type(index + 0) is int and json.dumps(index) == '5'
    copy = pickle.loads(pickle.dumps(index))
    assert (type(copy), int(copy), copy.seed, copy.epoch) == (PassIndex, 5, 7, 2)


def test_without_a_seeded_dataset_the_sampler_hands_out_plain_integers():
    assert {type(index) for index in InfoBatchSampler(Numbered(5), seed=0)} == {int}


def test_the_sampler_hands_out_its_seed_and_pass_in_the_same_order():
    plain, ours = (
        InfoBatchSampler(Draws(), seed=3),
        InfoBatchSampler(SeededDataset(Draws()), seed=3),
    )
    for epoch in (0, 1, 5):
        plain.set_epoch(epoch)
        ours.set_epoch(epoch)
        assert list(ours) == list(plain)
        assert {(index.seed, index.epoch) for index in ours} == {(3, epoch)}


def test_a_seeded_dataset_has_what_the_toolboxes_ask_of_a_dataset(config):
    inner = config.train_dataloader.dataset
    dataset = DATASETS.build(
        dict(type='SeededDataset', dataset=dict(inner, _scope_=config.default_scope))
    )
    plain = dataset.dataset
    assert isinstance(plain, BaseDataset) and sample_idx_is_index(dataset)
    assert dataset.metainfo == plain.metainfo and len(dataset) == len(plain) == 12
    assert dataset.get_data_info(PassIndex(4, 0, 0)) == plain.get_data_info(4)
    if config.default_scope == 'mmpretrain':
        assert dataset.get_cat_ids(4) == plain.get_cat_ids(4)
        assert dataset.CLASSES == plain.CLASSES
    steps = plain.pipeline
    assert dataset.pipeline is steps
    dataset.pipeline = other = lambda info: info
    assert plain.pipeline is other


class Holds(torch.utils.data.Dataset):
    """A wrapper as the toolboxes have them: of one dataset, or of several."""

    def __init__(self, dataset=None, datasets=None):
        self.dataset, self.datasets = dataset, datasets

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return type(index)

    get_data_info = get_cat_ids = __getitem__


def test_the_wrapped_dataset_gets_plain_integers():
    dataset, index = SeededDataset(Holds()), PassIndex(0, 0, 0)
    assert {dataset[index], dataset.get_data_info(index), dataset.get_cat_ids(index)} == {int}


def test_datasets_are_found_at_any_depth():
    first, second = Draws(), Draws()
    middle = Holds(second)
    seeded_ = SeededDataset(first)
    both = Holds(datasets=[middle, seeded_])
    assert list(inner_datasets(Holds(both))) == [both, middle, second, seeded_, first]
    assert unwrap_seeded(seeded_) is first and unwrap_seeded(both) is both


def test_a_dataset_that_has_less_shows_less():
    dataset = SeededDataset(Draws())
    for name in ('metainfo', 'pipeline', 'CLASSES'):
        assert not hasattr(dataset, name)
    assert not sample_idx_is_index(dataset)


def test_annotations_can_be_loaded_later(seg_data):
    cfg = runs.segmentation_config(seg_data, 'unused').train_dataloader.dataset
    dataset = SeededDataset(dict(cfg, _scope_='mmseg', lazy_init=True), lazy_init=True)
    assert not dataset.dataset._fully_initialized
    dataset.full_init()
    assert dataset.dataset._fully_initialized


WRAPPERS = {
    'ConcatDataset': lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset]),
    'RepeatDataset': lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
    'ClassBalancedDataset': lambda dataset: dict(
        type='ClassBalancedDataset', oversample_thr=0.5, dataset=dataset
    ),
}


@pytest.mark.default_cases('ClassBalancedDataset')
@pytest.mark.parametrize('name', WRAPPERS)
def test_wrappers_of_datasets_work_inside_it(cls_data, tmp_path, name):
    cfg = augmented(
        runs.switch_on(runs.classification_config(cls_data, tmp_path, 3), delta=1), seeded=False
    )
    dataset = WRAPPERS[name](cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(type='SeededDataset', dataset=dataset)
    alone = runs.train(cfg)
    assert alone.passes[1][1].num_samples > 12 and alone.passes[1][1].pruned
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    runs.assert_same_state(runs.train(cfg).state, alone.state)


def test_the_sample_that_mmengine_takes_for_a_broken_one_is_always_the_same():
    """Where a pipeline gives None, mmengine's datasets draw another sample."""

    class Breaks(BaseDataset):
        def load_data_list(self):
            return [dict(number=number) for number in range(50)]

        def prepare_data(self, idx):
            return None if idx == 7 else idx

    dataset = SeededDataset(Breaks())
    taken = [[dataset[PassIndex(7, 0, epoch)] for epoch in range(8)] for _ in range(2)]
    assert taken[0] == taken[1] and len(set(taken[0])) > 1


def test_the_samples_of_a_batch_are_still_compared_with_the_plan(config):

    def swapped(data_batch):
        return collate(data_batch[::-1])

    runner, recorder = runs.build(augmented(config))
    loader = runner.build_train_loop(runner._train_loop).dataloader
    collate, loader.collate_fn = loader.collate_fn, swapped
    runner._train_dataloader = loader
    with pytest.raises(ValueError, match='the batch holds the samples .* are due here'):
        runner.train()
    assert not recorder.rows


def test_a_config_switches_it_on_by_the_line_of_the_messages(config, tmp_path):
    config.dump(tmp_path / 'base.py')
    (tmp_path / 'seeded.py').write_text(f"_base_ = './base.py'\n{SEEDED_LINE}\n")
    cfg = Config.fromfile(tmp_path / 'seeded.py')
    assert cfg.train_dataloader.dataset == dict(
        type='SeededDataset', dataset=config.train_dataloader.dataset
    )
    assert cfg.train_dataloader.sampler == config.train_dataloader.sampler


# -------------------------------------------------------------------------- refusals


def refused(cfg, *parts, error=ValueError):
    runner, recorder = runs.build(cfg)
    with pytest.raises(error) as info:
        runner.train()
    missing = [part for part in parts if part not in str(info.value)]
    assert not missing, f'{missing} not in {info.value}'
    assert not recorder.rows


@pytest.mark.default_cases('mmpretrain-*')
@pytest.mark.parametrize('name', ['RepeatDataset', 'ConcatDataset'])
def test_a_seeded_dataset_inside_another_wrapper_is_refused(config, name):
    inner = dict(type='SeededDataset', dataset=config.train_dataloader.dataset)
    config.train_dataloader.dataset = WRAPPERS[name](inner)
    refused(
        config,
        'SeededDataset',
        name,
        'outermost dataset',
        "dataset=dict(_delete_=True, type='SeededDataset'",
    )


def test_a_seeded_dataset_inside_another_one_is_refused(config):
    inner = dict(type='SeededDataset', dataset=config.train_dataloader.dataset)
    config.train_dataloader.dataset = dict(type='SeededDataset', dataset=inner)
    refused(config, 'SeededDataset lies inside SeededDataset', 'outermost dataset')


def test_a_seeded_dataset_of_which_mmengine_takes_a_part_is_refused(config):
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(type='SeededDataset', dataset=inner)
    config.train_dataloader.num_batch_per_epoch = 2
    refused(config, 'SeededDataset lies inside _SlicedDataset', 'without num_batch_per_epoch')


def test_a_seeded_dataset_with_a_stock_sampler_is_refused(cls_data, tmp_path):
    refused(
        augmented(runs.classification_config(cls_data, tmp_path, 2)),
        'without seed and pass',
        'InfoBatchSampler',
        'SeededDataset.dataset',
        error=TypeError,
    )


class Stream(IterableDataset):
    def __iter__(self):
        yield 1


@pytest.mark.parametrize('dataset', [3, None, 'ADE20K', Stream(), object()])
def test_what_is_no_dataset_is_refused(dataset):
    with pytest.raises(TypeError, match='SeededDataset.*needs a map-style dataset.*by their index'):
        SeededDataset(dataset)
