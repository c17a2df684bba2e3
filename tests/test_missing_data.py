"""A dataset whose files are missing is one line, through ``train``, ``test`` and ``scores``."""

import copy
import os
from urllib.error import URLError
from uuid import uuid4

import pytest
import toolbox_runs as runs
from mmengine.config import Config
from mmengine.hooks import Hook

from mm_infobatch import cli
from mm_infobatch.cli.missing_data import missing_data_in_one_line

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return runs.trained_classifier(tmp_path_factory.mktemp('trained'))


def line_of(capsys, subcommand, cfg, tmp_path, *more):
    """Call a subcommand with a config, and return the line that it ends with."""
    cfg.experiment_name, cfg.work_dir = uuid4().hex, str(tmp_path / 'run')
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match='2'):
        cli.main([*subcommand.split(), str(tmp_path / 'config.py'), *more])
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f'mm-infobatch {subcommand.split()[0]}: error: the data of a dataset ')
    assert line.endswith(
        ', or change data_root, data_prefix or ann_file of the dataset in the config'
    )
    return line


@pytest.mark.parametrize('loader', ['train_dataloader', 'val_dataloader'])
@pytest.mark.parametrize('infobatch', [False, True])
def test_a_training_without_its_images(trained, tmp_path, capsys, loader, infobatch):
    cfg = Config.fromfile(trained / 'config.py')
    cfg[loader].dataset.data_root = str(tmp_path / 'nowhere')
    more = ['--infobatch'] if infobatch else []
    line = line_of(capsys, 'train', cfg, tmp_path, *more)
    path = os.path.join(str(tmp_path / 'nowhere'), loader.partition('_')[0])
    assert f'CustomDataset cannot be read: No such file or directory: {path!r}. ' in line
    assert 'Put the data there, or ' in line


def test_a_relative_path_is_named_with_the_directory_it_is_seen_from(trained, tmp_path, capsys):
    cfg = Config.fromfile(trained / 'config.py')
    cfg.train_dataloader.dataset.data_root = 'nowhere'
    line = line_of(capsys, 'train', cfg, tmp_path)
    assert f"'nowhere/train', seen from {os.getcwd()!r}. " in line


def test_a_list_of_images_that_is_missing_in_a_dataset_of_a_wrapper(trained, tmp_path, capsys):
    cfg = Config.fromfile(trained / 'config.py')
    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    dataset.ann_file = 'meta/train.txt'
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=dataset)
    assert "meta/train.txt'" in line_of(capsys, 'train', cfg, tmp_path)


def test_images_of_a_segmentation(tmp_path, capsys):
    cfg = runs.segmentation_config(str(tmp_path / 'nowhere'), str(tmp_path / 'run'))
    line = line_of(capsys, 'train', cfg, tmp_path)
    assert 'BaseSegDataset cannot be read: ' in line and "img_dir/train'" in line


def test_a_test_without_its_images(trained, tmp_path, capsys):
    cfg = Config.fromfile(trained / 'config.py')
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    checkpoint = str(trained / 'run' / 'epoch_1.pth')
    assert "nowhere/val'" in line_of(capsys, 'test', cfg, tmp_path, checkpoint)


def test_scores_without_the_images(trained, tmp_path, capsys):
    cfg = Config.fromfile(trained / 'config.py')
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    more = str(trained / 'run' / 'epoch_1.pth'), '--out', str(tmp_path / 'el2n.npz')
    assert "nowhere/train'" in line_of(capsys, 'scores el2n', cfg, tmp_path, *more)


def test_a_dataset_that_cannot_be_downloaded(trained, tmp_path, capsys, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr('mmpretrain.datasets.mnist.download_and_extract_archive', no_network)
    cfg = Config.fromfile(trained / 'config.py')
    steps = [dict(type='PackInputs')]
    cfg.train_dataloader.dataset = dict(
        type='FashionMNIST', data_root=str(tmp_path), split='train', pipeline=steps
    )
    line = line_of(capsys, 'train', cfg, tmp_path)
    assert 'FashionMNIST cannot be read: <urlopen error no network>. Put the data in its' in line


class RemoveAnImage(Hook):
    """Remove an image when the datasets have listed it."""

    def __init__(self, path):
        self.path = path

    def before_train(self, runner):
        self.path.unlink()


def test_an_image_that_cannot_be_read_later_keeps_its_traceback(tmp_path):
    data = runs.write_classification_data(tmp_path / 'data')
    cfg = runs.classification_config(data, str(tmp_path / 'run'), max_epochs=1)
    image = sorted((tmp_path / 'data' / 'train').rglob('*.png'))[0]
    with pytest.raises(FileNotFoundError, match=image.name), missing_data_in_one_line():
        runs.train(cfg, RemoveAnImage(image))
