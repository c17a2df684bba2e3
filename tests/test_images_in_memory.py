"""projects/images_in_memory: a dataset that augments a batch at a time."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from toolbox_runs import train

project = importlib.import_module('projects.images_in_memory')
ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'projects/images_in_memory/configs/lenet5_1xb128-infobatch_cifar10-gray.py'


def write_images(folder, count=24, size=8):
    """Grayscale images in two classes, no two pixels of one alike; returns them by file."""
    pixels = np.random.default_rng(0).permuted(
        np.arange(count * size * size).reshape(count, -1) % 251, axis=1
    )
    images = pixels.reshape(count, size, size).astype(np.uint8)
    for index, image in enumerate(images):
        path = folder / str(index % 2) / f'{index:03d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def settings(folder):
    return dict(
        type='mmpretrain.CustomDataset',
        data_root=str(folder),
        pipeline=[
            dict(type='mmpretrain.LoadImageFromFile', color_type='grayscale'),
            dict(type='mmpretrain.PackInputs'),
        ],
    )


@pytest.fixture
def dataset(tmp_path):
    init_default_scope('mmpretrain')

    def made(**arguments):
        return project.ImagesInMemory(settings(write_images(tmp_path / 'images')), **arguments)

    return made


def test_nothing_random_gives_the_images_and_labels_of_the_dataset(dataset):
    ours = dataset(flip=0.0)
    batch = ours.__getitems__([5, 0, 17])
    for image, sample, index in zip(batch['inputs'], batch['data_samples'], (5, 0, 17)):
        theirs = ours.dataset[index]
        assert torch.equal(image, theirs['inputs'])
        assert torch.equal(sample.gt_label, theirs['data_samples'].gt_label)
        assert sample.sample_idx == index
    assert len(ours) == len(ours.dataset) == 24
    assert ours.metainfo['classes'] == ours.dataset.metainfo['classes']


def test_every_crop_and_flip_comes_up_as_often_as_every_other(dataset):
    """A share of 1/18 in 20,000 draws is off by 7 of its deviations once in 10^11 runs."""
    torch.manual_seed(0)
    ours = dataset(padding=1)
    drawn = ours.__getitems__([3] * 20_000)['inputs']
    padded = torch.nn.functional.pad(ours.images[3], [1] * 4)
    counts = []
    for top in range(3):
        for left in range(3):
            window = padded[:, top : top + 8, left : left + 8]
            for flipped in (False, True):
                # The image is flipped before it is cropped.
                of_flipped = torch.nn.functional.pad(ours.images[3].flip(2), [1] * 4)
                wanted = of_flipped[:, top : top + 8, left : left + 8] if flipped else window
                counts.append((drawn == wanted).flatten(1).all(1).sum())
    counts = torch.stack(counts).double()
    assert counts.sum() == 20_000
    deviation = (20_000 * 1 / 18 * 17 / 18) ** 0.5
    assert (counts - 20_000 / 18).abs().max() < 7 * deviation


def test_each_image_of_a_batch_has_draws_of_its_own(dataset):
    torch.manual_seed(0)
    drawn = dataset(padding=2).__getitems__([0] * 12)['inputs']
    assert len({image.numpy().tobytes() for image in drawn}) > 6


def test_images_of_two_shapes_are_refused(tmp_path):
    init_default_scope('mmpretrain')
    folder = write_images(tmp_path / 'images')
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / '0' / 'other.png')
    with pytest.raises(ValueError, match=r'images of 2 shapes.*resize them in its pipeline'):
        project.ImagesInMemory(settings(folder))


def test_parts_of_a_dataset_share_no_image_and_are_all_of_it(dataset):
    parts = [dataset(flip=0.0, part=(first, 5)) for first in range(5)]
    assert [len(part) for part in parts] == [5, 5, 5, 5, 4]
    whole = dataset(flip=0.0)
    for first, part in enumerate(parts):
        assert torch.equal(part.images, whole.images[first::5])
        labels = [int(sample.gt_label) for sample in part.data_samples]
        assert labels == [int(sample.gt_label) for sample in whole.data_samples[first::5]]
        assert len(part.dataset) == len(part)


@pytest.mark.parametrize('part', [(5, 5), (-1, 5), (24, 100)])
def test_a_part_without_images_is_refused(dataset, part):
    with pytest.raises(ValueError, match=rf'part=\({part[0]}, {part[1]}\).*24 of the dataset'):
        dataset(part=part)


@pytest.mark.parametrize('data', ['cifar10-gray', 'fashion-mnist'])
def test_a_config_differs_in_the_dataset_and_the_memory_format_alone(data):
    cfg = Config.fromfile(CONFIG.parent / f'lenet5_1xb128-infobatch_{data}.py')
    base = Config.fromfile(ROOT / f'configs/lenet/lenet5_1xb128-infobatch_{data}.py')
    assert {key for key in cfg if cfg[key] != base.get(key)} == {
        'custom_imports',
        'custom_hooks',
        'train_dataloader',
    }
    ours, theirs = cfg.train_dataloader.dataset, base.train_dataloader.dataset
    steps = {step['type']: step for step in theirs.pipeline}
    assert ours.get('padding', 0) == steps.get('RandomCrop', {}).get('padding', 0)
    assert steps['RandomFlip']['prob'] == 0.5
    not_random = [step for step in theirs.pipeline if not step['type'].startswith('Random')]
    assert [step.type for step in ours.dataset.pipeline] == [
        f'mmpretrain.{step["type"]}' for step in not_random
    ]
    assert ours.dataset.type == f'mmpretrain.{theirs.type}'
    assert ours.dataset.data_root == theirs.data_root


def test_the_config_trains_with_pruning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(CONFIG)
    for split in ('train', 'test'):
        write_images(tmp_path / 'data' / 'cifar10' / split, size=32)
    cfg.train_dataloader.batch_size = 4
    cfg.train_cfg.max_epochs = 4
    cfg.param_scheduler.update(total_steps=4, end=4)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.work_dir = str(tmp_path / 'run')
    runner = train(cfg).runner
    sampler = runner.train_loop.dataloader.sampler
    assert sampler.scores.values.isfinite().all()
    assert runner.iter < 4 * 6  # some were skipped
