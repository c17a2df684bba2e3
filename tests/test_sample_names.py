"""Scores are kept by index: a dataset in another order is refused, on resume and on other ranks."""

import random
import shutil

import numpy as np
import pytest
import small_runner
import toolbox_runs as runs
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset

from mm_infobatch import SeededDataset
from mm_infobatch.training import sample_names

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


class Turned:
    """A dataset of files that are listed in another order."""

    def load_data_list(self):
        return super().load_data_list()[::-1]


@DATASETS.register_module(force=True)
class TurnedImages(Turned, CustomDataset):
    pass


@DATASETS.register_module(force=True)
class TurnedScenes(Turned, BaseSegDataset):
    pass


class Listed(BaseDataset):
    """A dataset of annotations that are given."""

    def __init__(self, infos):
        self.infos = infos
        super().__init__()

    def load_data_list(self):
        return self.infos


def files(names, folder='/data'):
    return Listed([dict(img_path=f'{folder}/{name}') for name in names])


def images(count):
    return Listed([dict(img=np.full((2, 2), index, np.uint8)) for index in range(count)])


def test_a_name_is_that_of_the_file_or_a_checksum_of_the_image():
    assert sample_names.names_of(files(['a.png', 'b.c.png'])) == ['a', 'b.c']
    first, second = sample_names.names_of(images(2))
    assert first != second and len(first) == len(second) == 8
    assert sample_names.names_of(Listed([dict(text='x')])) == ['']
    assert sample_names.names_of(torch.utils.data.TensorDataset(torch.ones(2))) == ['', '']


def test_a_dataset_that_draws_which_file_a_sample_has_trains(tmp_path, monkeypatch):
    def drawn(self, index):
        name = f'{random.random()}-{np.random.rand()}-{torch.rand(1).item()}-{index}'
        return dict(img_path=f'{name}.png')

    monkeypatch.setattr(small_runner.Points, 'get_data_info', drawn, raising=False)
    runner = small_runner.small_runner(tmp_path, dict(type='InfoBatchEpochLoop', max_epochs=3))
    before = small_runner.rng_states()
    names = runner.train_loop.sample_names
    assert small_runner.rng_states() == before and len(set(names)) == 24
    runner.train()  # the names are compared when each pass begins


def test_the_samples_of_a_large_dataset_are_compared_from_the_first_to_the_last():
    names = sample_names.names_of(files([f'{index}.png' for index in range(1000)]))
    assert len(names) == 64 and names[0] == '0' and names[-1] == '999'
    assert len(set(names)) == 64


@pytest.mark.parametrize(
    'wrap',
    [
        lambda one: ConcatDataset([one, one]),
        lambda one: RepeatDataset(one, 2),
        lambda one: SeededDataset(dataset=RepeatDataset(one, 2)),
        lambda one: torch.utils.data.ConcatDataset([one, one]),
    ],
)
def test_names_are_found_inside_wrappers(wrap):
    dataset = wrap(files(['a.png', 'b.png']))
    assert sample_names.names_of(dataset) == ['a', 'b', 'a', 'b']


def test_what_is_moved_converted_or_unknown_is_no_other_sample():
    saved = sample_names.names_of(files(['a.png', 'b.png']))
    for same in (files(['a.jpg', 'b.jpg'], '/elsewhere'), Listed([dict(), dict()])):
        sample_names.check_names_in_checkpoint(saved, sample_names.names_of(same))
    sample_names.check_names_in_checkpoint(None, saved)
    with pytest.raises(ValueError, match="2 of 2 samples .* differ .*'a' there, 'b' here"):
        sample_names.check_names_in_checkpoint(saved, saved[::-1])


@pytest.fixture
def config(request, tmp_path):
    """A run of 8 or more passes, and the name of its dataset in another order."""
    if request.param == 'mmseg':
        data = runs.write_segmentation_data(tmp_path / 'data')
        cfg = runs.segmentation_config(data, str(tmp_path / 'run'), max_iters=36)
        return runs.switch_on(runs.checkpoints_every(cfg, 9)), 'TurnedScenes', 'iter_9.pth'
    data = runs.write_classification_data(tmp_path / 'data')
    cfg = runs.classification_config(data, str(tmp_path / 'run'), max_epochs=6)
    cfg = runs.switch_on(runs.checkpoints_every(cfg, 2, by_epoch=True))
    return cfg, 'TurnedImages', 'epoch_2.pth'


@pytest.mark.parametrize('config', ['mmseg', 'mmpretrain'], indirect=True)
def test_a_dataset_in_another_order_is_refused_on_resume(tmp_path, config):
    cfg, turned, name = config
    whole = runs.train(cfg)
    checkpoint = tmp_path / 'run' / name
    other = runs.resumed(cfg, checkpoint, tmp_path / 'other')
    other.train_dataloader.dataset.type = turned
    with pytest.raises(ValueError, match='cannot resume: .* differ .* fixed order'):
        runs.train(other)

    moved = runs.resumed(cfg, checkpoint, tmp_path / 'moved')
    dataset = moved.train_dataloader.dataset
    dataset.data_root = str(shutil.copytree(dataset.data_root, tmp_path / 'elsewhere'))
    runs.assert_same_state(runs.train(moved).state, whole.state)

    state = torch.load(checkpoint, weights_only=False)
    del state['infobatch']['samples']  # written by an earlier mm_infobatch
    torch.save(state, tmp_path / 'old.pth')
    old = runs.resumed(cfg, tmp_path / 'old.pth', tmp_path / 'old')
    runs.assert_same_state(runs.train(old).state, whole.state)


def ranks(monkeypatch, *datasets):
    """Have ranks compare these datasets, in one process."""
    rows = []
    monkeypatch.setattr(sample_names, 'get_world_size', lambda: len(datasets))
    monkeypatch.setattr(sample_names, 'all_gather', lambda row: rows.append(row) or rows)
    for rank, dataset in enumerate(datasets):
        monkeypatch.setattr(sample_names, 'get_rank', lambda rank=rank: rank)
        sample_names.check_same_on_all_ranks(sample_names.names_of(dataset))


def test_ranks_that_list_the_files_in_another_order_are_refused(monkeypatch):
    same = [f'{index}.png' for index in range(5)]
    ranks(monkeypatch, files(same), files(same, '/other/machine'))
    with pytest.raises(ValueError, match=r"4 of 5 .* between rank 1 and rank 0 \('4' on rank 1\)"):
        ranks(monkeypatch, files(same), files(same[::-1]))


class ChangesTheDataset(Hook):
    """Changes the training dataset when the third pass begins."""

    def __init__(self, change):
        self.change = change

    def before_train_pass(self, runner):
        if runner.train_loop.schedule.pass_index == 2:
            self.change(runner.train_dataloader.dataset)


@pytest.mark.parametrize('config', ['mmseg', 'mmpretrain'], indirect=True)
@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda dataset: dataset.get_subset_(list(range(len(dataset)))[::-1]),
            '.* is where .* was',
        ),
        (lambda dataset: dataset.get_subset_(10), 'it has 10 samples, and had 1[26]'),
    ],
)
def test_a_dataset_that_changes_during_the_run_stops_it(config, change, message):
    with pytest.raises(ValueError, match=f'has changed since the run began: {message}; scores'):
        runs.train(config[0], ChangesTheDataset(change))
