"""``inspect`` finds image, label and path of a sample in any dataset, or says why not."""

import base64
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner.runner import _SlicedDataset
from torch.utils.data import ConcatDataset as TorchConcatDataset
from torch.utils.data import Dataset, Subset

from mm_infobatch import SeededDataset
from mm_infobatch.page import dataset_reader, gallery, scan, thumbnails
from mm_infobatch.page.lists import SampleList
from mm_infobatch.page.sample_table import SampleTable
from mm_infobatch.training.sample_idx import inside, plain_place


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """A segmentation and a classification set, as files."""
    folder = tmp_path_factory.mktemp('data')
    return (
        runs.write_segmentation_data(folder / 'seg', num_images=6),
        runs.write_classification_data(folder / 'cls', num_images=9),
    )


def built(config, scope):
    with DefaultScope.overwrite_default_scope(scope):
        return DATASETS.build(config)


@pytest.fixture(scope='module')
def seg(folders):
    return runs.segmentation_config(folders[0], 'unused').train_dataloader.dataset


@pytest.fixture(scope='module')
def cls(folders):
    return runs.classification_config(folders[1], 'unused').train_dataloader.dataset


def read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


# ----------------------------------------------------------------------- wrappers


@pytest.fixture(scope='module')
def wrappers(cls):
    """Each wrapper around the classification set, and the inner index of each of its samples."""
    base = built(cls, 'mmpretrain')
    subset = built(dict(cls, indices=[7, 2, 5]), 'mmpretrain')
    rare = ClassBalancedDataset(subset, oversample_thr=0.9)
    both = dict(type='ConcatDataset', datasets=[cls, dict(cls, indices=[7, 2, 5])])
    folds = dict(type='mmpretrain.KFoldDataset', dataset=cls, fold=1, num_splits=3, seed=0)
    return {
        'plain': (base, list(range(9))),
        'indices': (subset, [7, 2, 5]),
        'SeededDataset': (SeededDataset(base), list(range(9))),
        'ConcatDataset': (ConcatDataset([base, subset]), [*range(9), 7, 2, 5]),
        'RepeatDataset': (RepeatDataset(base, times=2), [*range(9), *range(9)]),
        'ClassBalancedDataset': (rare, [[7, 2, 5][i] for i in rare.repeat_indices]),
        'KFoldDataset': (built(folds, 'mmpretrain'), None),
        'Subset': (Subset(base, [8, 0, 3]), [8, 0, 3]),
        'Subset of all, in another order': (Subset(base, list(range(8, -1, -1))), range(8, -1, -1)),
        'ConcatDataset of torch': (TorchConcatDataset([base, Subset(base, [4])]), [*range(9), 4]),
        'num_batch_per_epoch': (
            _SlicedDataset(rare, 3),
            [[7, 2, 5][i] for i in rare.repeat_indices[:3]],
        ),
        'three of them': (
            SeededDataset(built(dict(type='RepeatDataset', dataset=both, times=2), 'mmpretrain')),
            [*range(9), 7, 2, 5] * 2,
        ),
    }


NAMES = [
    'plain', 'indices', 'SeededDataset', 'ConcatDataset', 'RepeatDataset', 'ClassBalancedDataset',
    'KFoldDataset', 'Subset', 'Subset of all, in another order', 'ConcatDataset of torch',
    'num_batch_per_epoch', 'three of them',
]  # fmt: skip


@pytest.mark.parametrize('name', NAMES)
def test_image_label_and_path_of_a_sample_belong_together_in_a_wrapper(name, wrappers):
    base, _ = wrappers['plain']
    dataset, expected = wrappers[name]
    if expected is None:
        expected = dataset._ori_indices
    assert len(dataset) == len(expected)
    for index, inner in enumerate(expected):
        info = dataset_reader.info_of(dataset, index)
        theirs = base.get_data_info(inner)
        place = plain_place(dataset, index)
        assert place[0].get_data_info(place[1])['img_path'] == theirs['img_path']
        assert dataset_reader.path_of(info) == theirs['img_path']
        assert dataset_reader.labels_of(info) == [theirs['gt_label']]
        image = dataset_reader.read_image(dataset, index, bgr=True)
        np.testing.assert_array_equal(image, read(theirs['img_path']))
    assert dataset_reader.class_names(dataset) == ['class0', 'class1', 'class2']


def test_every_wrapper_is_tried(wrappers):
    assert list(wrappers) == NAMES


def test_a_dataset_with_an_attribute_that_is_no_dataset_wraps_none():
    class Named(Dataset):
        dataset = 'a name'

    assert inside(Named(), 0) is None


class Longer(TorchConcatDataset):
    """Goes on with the first dataset after the last one."""

    def __len__(self):
        return self.cumulative_sizes[-1] + 1


class Indexed(Dataset):
    """Means something of its own by ``indices``."""

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __len__(self):
        return len(self.dataset)


@pytest.mark.parametrize(
    ('wrap', 'place'),
    [
        (lambda one: Longer([one]), None),
        (lambda one: Indexed(one, [(0, 0), (0, 1), (1, 0)]), None),  # of a video and a frame
        (lambda one: Indexed(one, None), 2),
        (lambda one: Indexed(one, lambda: [0]), 2),
        (lambda one: Indexed(one, np.array([2, 0, 1])), 1),
    ],
)
def test_a_wrapper_of_ones_own_may_mean_something_else_by_a_name(wrap, place):
    inner = torch.utils.data.TensorDataset(torch.ones(3))
    dataset = wrap(inner)
    expected = None if place is None else (inner, place)
    assert inside(dataset, len(dataset) - 1) == expected


class Shuffled(Dataset):
    """A wrapper that nobody knows, and that does not tell which sample it takes."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset) - 1

    def __getitem__(self, index):
        raise KeyError('secret')


def test_a_wrapper_that_cannot_be_seen_through_gives_no_image_and_says_why(cls):
    dataset = Shuffled(built(cls, 'mmpretrain'))
    with pytest.raises(ValueError, match='Shuffled has no get_data_info'):
        dataset_reader.info_of(dataset, 0)
    with pytest.raises(ValueError, match="KeyError: 'secret'"):
        dataset_reader.read_image(dataset, 0, bgr=True)


# ------------------------------------------------------------------------- images


class Held(Dataset):
    """Annotations that hold their image, as CIFAR's and MNIST's do."""

    metainfo = dict(classes='one')

    def __init__(self, image):
        self.image = image

    def __len__(self):
        return 1

    def get_data_info(self, index):
        return dict(img=self.image, gt_label=np.array(0))


def test_an_image_in_the_annotation_has_the_channels_that_the_model_expects():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    same = dataset_reader.read_image(Held(image), 0, bgr=False)
    swapped = dataset_reader.read_image(Held(image), 0, bgr=True)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(swapped, image[..., ::-1])


@pytest.mark.parametrize(
    'shape, expected',
    [((2, 3), (2, 3, 3)), ((2, 3, 1), (2, 3, 3)), ((2, 3, 2), (2, 3, 3)), ((2, 3, 7), (2, 3, 3))],
)
def test_any_number_of_channels_becomes_three(shape, expected):
    assert dataset_reader.as_rgb(np.zeros(shape, np.uint8)).shape == expected


def test_values_that_are_no_bytes_are_stretched_over_their_range():
    image = np.array([[0.0, NAN], [0.5, 1.0]]) * 1000
    assert dataset_reader.as_rgb(image)[..., 0].tolist() == [[0, 0], [127, 255]]
    assert dataset_reader.as_rgb(np.full((1, 1), 7.0)).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize('shape', [(3,), (0, 3), (1, 2, 3, 4)])
def test_an_array_that_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match='is not an image'):
        dataset_reader.as_rgb(np.zeros(shape, np.uint8))


NAN = float('nan')


class Pairs(Dataset):
    """A dataset of torchvision's kind: image tensor and label."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.full((3, 4, 5), index, dtype=torch.uint8), index


def test_a_dataset_of_tensors_shows_its_samples_as_they_are():
    image = dataset_reader.read_image(Pairs(), 1, bgr=False)
    assert image.shape == (4, 5, 3) and (image == 1).all()


def test_labels_are_read_in_every_form():
    def labels(label):
        return dataset_reader.labels_of(dict(gt_label=label))

    assert labels(3) == labels(np.int64(3)) == labels(np.array(3)) == labels([3]) == [3]
    assert labels([1, 2]) == labels(np.array([1, 2])) == labels(torch.tensor([1, 2])) == [1, 2]
    assert labels(None) == labels(dict(task=1)) == labels([]) == []
    assert labels('cat') == labels(['cat', 'dog']) == labels(NAN) == []


def test_a_path_is_text_in_every_form():
    def path(path):
        return dataset_reader.path_of(dict(img_path=path))

    assert path('é.png') == path(Path('é.png')) == 'é.png'
    assert path(os.fsdecode(b'caf\xe9.png')) == 'caf\\xe9.png', 'a name that is not UTF-8'
    assert path(None) == path(3) == dataset_reader.path_of({}) == ''


# --------------------------------------------------------------------- label maps


def test_a_label_map_is_the_one_that_is_trained(folders, seg):
    dataset = RepeatDataset(built(seg, 'mmseg'), times=2)
    labels = dataset_reader.read_label_map(dataset, 8)
    stored = cv2.imread(f'{folders[0]}/ann_dir/train/002.png', cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(labels, stored)


def test_a_label_map_is_brought_to_two_axes_and_integers():
    labels = np.array([[0, 1, 2], [2, 255, 0]])
    for form in (labels[None], labels[..., None], labels.astype(float), labels.astype(np.uint16)):
        found = dataset_reader.as_label_map(form)
        assert found.dtype.kind in 'iu' and found.tolist() == labels.tolist()


@pytest.mark.parametrize('form', [np.zeros((2, 2, 3)), np.zeros((0, 2)), np.array([['a']])])
def test_an_array_that_is_no_label_map_is_refused_with_its_shape(form):
    with pytest.raises(ValueError, match='an array of shape .* is not a label map'):
        dataset_reader.as_label_map(form)


def test_classes_of_some_label_maps_are_those_of_the_drawn_ones(seg):
    dataset = built(seg, 'mmseg')
    every, reason = scan.occurrences_in_maps(dataset, 6, 4, limit=6)
    assert reason is None and every.looked_at == 6 and set(every.classes) == {0, 1, 2, 3}
    labels = dataset_reader.read_label_map(dataset, 5)
    mine = {int(c): int(p) for s, c, p in zip(every.samples, every.classes, every.pixels) if s == 5}
    assert mine == {c: int((labels == c).sum()) for c in np.unique(labels) if c != 255}
    some, _ = scan.occurrences_in_maps(dataset, 6, 4, limit=2)
    assert some.looked_at == 2 and len(set(some.samples)) == 2


def test_the_ignored_label_is_no_class(seg):
    dataset = built(dict(seg, ignore_index=3), 'mmseg')
    for outer in (dataset, RepeatDataset(dataset, times=1)):
        found, _ = scan.occurrences_in_maps(outer, 6, 4, limit=6)
        assert set(found.classes) == {0, 1, 2}


def test_without_a_label_map_the_first_reason_is_told(cls):
    found, reason = scan.occurrences_in_maps(built(cls, 'mmpretrain'), 9, 3, limit=9)
    assert found is None and reason == 'the pipeline of the dataset loads no label map'


def test_a_label_map_is_laid_over_where_there_is_a_class():
    image = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [255, -1]])
    mixed = thumbnails.overlay(image, labels, np.array([[0, 0, 0], [250, 0, 0]], np.uint8))
    assert mixed.tolist() == [[[40] * 3, [190, 40, 40]], [[100] * 3, [100] * 3]]
    larger = np.repeat(np.repeat(labels, 3, 0), 3, 1)
    palette = np.array([[0, 0, 0], [250, 0, 0]], np.uint8)
    assert thumbnails.overlay(image, larger, palette).tolist() == mixed.tolist()


def test_a_thumbnail_keeps_the_shape_and_never_grows():
    assert thumbnails.fitted((400, 200), 100) == (100, 50)
    assert thumbnails.fitted((20, 30), 100) == (20, 30)
    assert thumbnails.fitted((5000, 1), 100) == (100, 1)


def test_a_picture_in_the_page_is_the_image():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8] = [200, 40, 10]
    head, data = thumbnails.data_uri(image).split(',')
    assert head == 'data:image/jpeg;base64'
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[:, :4, ::-1].astype(int) - [200, 40, 10]).max() < 25


# -------------------------------------------------------------------------- cards


def cards(dataset, *indices, bgr=True):
    make = gallery.CardMaker(dataset, SampleTable(np.arange(12, dtype=np.float32)), bgr)
    lists = [SampleList('title', 'about', np.array(indices), np.zeros(0, int))]
    return gallery.make_galleries(lists, make)[0].top


def test_a_card_of_segmentation_has_the_image_and_the_label_map_over_it(seg):
    (card,) = cards(built(seg, 'mmseg'), 3)
    assert len(card.images) == 2 and card.images[0] != card.images[1]
    assert card.classes == [0, 1, 2, 3] and card.path.endswith('003.png') and not card.problem
    assert card.values == {'score': 3.0} and card.tiny


def test_a_card_of_classification_has_the_name_of_the_class(cls):
    (card,) = cards(built(cls, 'mmpretrain'), 4)
    label = built(cls, 'mmpretrain').get_data_info(4)['gt_label']
    assert card.label == f'class{label}' and card.classes == [label] and len(card.images) == 1


def test_a_missing_image_leaves_label_and_path_and_the_reason(cls):
    class Missing(type(built(cls, 'mmpretrain'))):
        def get_data_info(self, index):
            return dict(super().get_data_info(index), img_path='gone.png')

    whole = built(cls, 'mmpretrain')
    whole.__class__ = Missing
    (card,) = cards(whole, 4)
    assert card.path == 'gone.png' and card.label and card.images == []
    assert card.problem.startswith('FileNotFoundError')


def test_a_dataset_that_fails_for_one_index_has_a_card_for_the_others(cls):
    class Broken(Held):
        def get_data_info(self, index):
            if index == 1:
                raise RuntimeError('no such\nsample')
            return super().get_data_info(index)

    first, second = cards(Broken(np.zeros((4, 4), np.uint8)), 0, 1)
    assert first.images and not first.problem
    assert second.images == [] and second.problem == 'RuntimeError: no such sample'


def test_a_card_of_a_dataset_without_annotations_shows_the_sample_itself():
    (card,) = cards(SeededDataset(Pairs()), 1, bgr=False)
    assert len(card.images) == 1 and not card.problem and card.values == {'score': 1.0}


def test_without_a_dataset_a_card_has_the_numbers():
    (card,) = cards(None, 2)
    assert card.values == {'score': 2.0} and card.images == [] and card.path == ''


def test_the_palette_is_the_datasets_or_one_of_different_colors(seg):
    dataset = built(seg, 'mmseg')
    assert dataset_reader.palette_of(dataset, 4).tolist() == [[i, i, i] for i in range(4)]
    assert len({tuple(color) for color in dataset_reader.palette_of(Pairs(), 20)}) == 20


# ------------------------------------------------------------------- the dataset


@pytest.mark.parametrize(
    'content, reason',
    [
        ({}, 'has no train_dataloader.dataset'),
        (dict(train_dataloader=dict(dataset=dict(type='NoSuchSet'))), 'KeyError: .*NoSuchSet'),
        (
            dict(
                default_scope='mmpretrain',
                train_dataloader=dict(
                    dataset=dict(type='CustomDataset', data_root='/nowhere', ann_file='a.txt')
                ),
            ),
            'FileNotFoundError',
        ),
    ],
)
def test_a_dataset_that_cannot_be_built_has_a_reason_of_one_line(content, reason):
    with warnings.catch_warnings(), pytest.raises(ValueError, match=reason) as info:
        warnings.simplefilter('ignore')
        dataset_reader.build_dataset(Config(content))
    assert '\n' not in str(info.value)
