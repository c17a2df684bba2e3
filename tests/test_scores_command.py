"""``mm-infobatch scores`` with every method, from a real training to a training on its file."""

import errno
import gc
import json
import os
import random
import re
import shutil
import sys
import weakref
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.registry import MODELS, DefaultScope

from mm_infobatch import cli
from mm_infobatch.cli.checkpoints import read_checkpoint
from mm_infobatch.cli.same_run import SameRunCheck
from mm_infobatch.policies.score_file import read_score_file
from mm_infobatch.scoring import classifier, cost
from mm_infobatch.scoring.calls import Settings, by_forgetting
from mm_infobatch.scoring.el2n import el2n
from mm_infobatch.scoring.extraction import extract, walk
from mm_infobatch.scoring.methods import METHODS
from mm_infobatch.scoring.rows import errors

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
NUM_IMAGES = 25  # the last batch of 4 has one
# What a method needs on the command line, and which number of samples its file is for.
CALLS = {
    **{name: [] for name in METHODS},
    'forgetting': ['--per-class'],
    'grand': ['--all-parameters'],
    'craig': ['--keep', '0.5'],
    'glister': ['--count', '13', '--rounds', '4'],
    'graph_cut': ['--count', '13', '--trade-off', '2'],
    'influence': ['--formula', 'validation', '--validation-set'],
    'dp': ['--keep', '0.5', '--swaps', '100'],
}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of 3 epochs with a checkpoint of each, and its config as a file."""
    folder = tmp_path_factory.mktemp('trained')
    data = runs.write_classification_data(folder / 'data', num_images=NUM_IMAGES)
    cfg = runs.classification_config(
        data, str(folder / 'run'), flip=True, max_epochs=3, val_interval=3
    )
    cfg = runs.checkpoints_every(cfg, 1, by_epoch=True)
    cfg.dump(folder / 'config.py')
    runs.train(cfg)
    return folder


def call(folder, out, method, *more, checkpoints=(3,), config='config.py'):
    """Run the command, and return what it wrote about itself."""
    paths = [str(folder / 'run' / f'epoch_{index}.pth') for index in checkpoints]
    arguments = ['scores', method, str(folder / config), *paths, '--out', str(out)]
    cli.main([*arguments, '--batch-size', '4', '--work-dir', str(folder / 'extraction'), *more])
    return json.loads(out.with_suffix('.json').read_text())


def build(folder, epoch=3, checkpoints=None):
    """The model of a checkpoint, and the training data."""
    cfg = runs.Config.fromfile(str(folder / 'config.py'))
    classifier.prepare(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model, dataset = classifier.build_model(cfg), classifier.build_train_set(cfg)
    path = (checkpoints or folder) / 'run' / f'epoch_{epoch}.pth'
    classifier.load_weights(model, read_checkpoint(path)['state_dict'], path)
    return model, dataset


@pytest.mark.default_cases('craig')
@pytest.mark.parametrize('method', METHODS)
def test_a_file_of_every_method_is_trained_on(trained, tmp_path, capsys, method):
    out = tmp_path / f'{method}.npz'
    checkpoints = (3, 1, 2) if METHODS[method].checkpoints[1] > 1 else (3,)
    note = call(trained, out, method, *CALLS[method], checkpoints=checkpoints)
    printed = capsys.readouterr().out
    assert f'{NUM_IMAGES} scores' in printed
    assert re.search(r'about \d+ MB of memory|another pass over the 25 images', printed)
    assert note['method'] == method and note['num_samples'] == NUM_IMAGES
    assert note['seconds']['extraction'] > 0 <= note['seconds']['method']
    assert [one['epoch'] for one in note['checkpoints']] == list(checkpoints)
    found = read_score_file(str(out))
    assert (found.count is not None) == ('--keep' in CALLS[method] or '--count' in CALLS[method])
    assert (found.weights is not None) == (method == 'craig')
    assert np.bincount(found.labels).tolist() == [9, 8, 8]
    assert len(np.unique(found.scores)) > (1 if method in ('dp', 'forgetting') else 5)

    policy = dict(type='FromFile', path=str(out))
    policy.update({} if found.count else dict(keep=0.5))
    cfg = runs.switch_on(
        runs.classification_config(str(trained / 'data'), str(tmp_path / 'run'), max_epochs=2),
        delta=1,
    )
    cfg.train_dataloader.sampler.policy = policy
    recorder = runs.train(cfg)
    first, second = recorder.by_pass('indices')
    assert sorted(first) == sorted(second) and len(set(first)) == 13
    weights = torch.tensor(recorder.by_pass('weights')[0])
    assert weights.mean() == pytest.approx(1) and (weights.std() > 0) == (method == 'craig')
    told = re.search(r'weights of the kept samples: up to (\S+) times their mean', printed)
    assert float(told[1] if told else 1) == pytest.approx(float(weights.max()), rel=0.01)
    if found.per_class:
        assert sorted(np.bincount(found.labels[first]).tolist()) == [4, 4, 5]
    if found.count is None and not found.per_class:  # the highest of the file
        assert min(found.scores[first]) >= np.sort(found.scores)[-13]


@pytest.mark.parametrize('method', ['least_confidence', 'herding', 'glister'])
@pytest.mark.default_cases('herding')
def test_deepcores_rule_is_another_one(trained, tmp_path, method):
    more = ['--count', '9'] if method == 'glister' else []
    files = []
    for flag in ([], ['--deepcore']):
        note = call(trained, tmp_path / 'a.npz', method, *more, *flag)
        assert note['settings']['deepcore'] == bool(flag)
        files.append(read_score_file(str(tmp_path / 'a.npz')).scores)
    if method != 'glister':  # whose rounds rarely matter
        assert not np.array_equal(*files)


def test_scores_are_the_mean_over_checkpoints_of_what_each_predicts(trained, tmp_path):
    call(trained, tmp_path / 'a.npy', 'el2n', checkpoints=(1, 3))
    expected = np.zeros(NUM_IMAGES)
    for epoch in (1, 3):
        model, dataset = build(trained, epoch)
        for index in range(NUM_IMAGES):
            batch = classifier.collate([dataset[index]])
            with torch.no_grad():
                sample, _ = model.val_step(batch)
            error = sample.pred_score.numpy() - np.eye(3)[int(sample.gt_label)]
            expected[index] += np.linalg.norm(error) / 2
    assert np.allclose(np.load(tmp_path / 'a.npy'), expected, atol=1e-5)


def test_the_weights_of_one_checkpoint_at_a_time_are_in_memory(trained, tmp_path, monkeypatch):
    weights, in_memory = [], []

    def read(path):
        gc.collect()
        in_memory.append(sum(weight() is not None for weight in weights))
        checkpoint = read_checkpoint(path)
        weights.append(weakref.ref(checkpoint['state_dict']['head.fc.weight']))
        return checkpoint

    monkeypatch.setattr('mm_infobatch.cli.computed_scores.read_checkpoint', read)
    call(trained, tmp_path / 'a.npy', 'forgetting', checkpoints=(1, 2, 3))
    assert len(in_memory) >= 3 and max(in_memory) == 0


def test_what_is_extracted_makes_the_logits_and_the_labels(trained, tmp_path):
    model, dataset = build(trained)
    with torch.no_grad():
        found = extract(model, dataset, tmp_path, 'key', batch_size=4)
    assert found.features.shape == (NUM_IMAGES, 32) and found.weight.shape == (3, 32)
    bias = model.head.fc.bias.detach().numpy()
    assert np.allclose(found.features @ found.weight.T + bias, found.logits, atol=1e-5)
    assert found.labels.tolist() == [int(dataset.get_data_info(i)['gt_label']) for i in range(25)]
    again = extract(model, dataset, tmp_path, 'key', batch_size=7)
    assert np.array_equal(again.logits, found.logits) and again.seconds == found.seconds
    assert not [each for each in model.modules() if each._forward_hooks]


class Interrupted:
    """A dataset of numbers that ends in an error before sample ``stop``."""

    def __init__(self, stop=None):
        self.stop, self.seen = stop, []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == self.stop:
            raise KeyboardInterrupt
        self.seen.append(index)
        return dict(inputs=torch.tensor(float(index)), data_samples=index)


def squares(batch):
    return dict(square=batch['inputs'].numpy() ** 2, index=np.array(batch['data_samples']))


def test_an_interrupted_extraction_goes_on_where_it_stood(tmp_path, monkeypatch):
    monkeypatch.setattr('mm_infobatch.scoring.extraction.FLUSH', 0)
    lines = []
    with pytest.raises(KeyboardInterrupt):
        walk(squares, Interrupted(7), tmp_path, 'key', batch_size=2)
    dataset = Interrupted()
    found, seconds = walk(squares, dataset, tmp_path, 'key', batch_size=3, say=lines.append)
    assert dataset.seen == [6, 6, 7, 8, 9] and lines[0].endswith('has 6 of 10 samples')
    assert found['square'].tolist() == [each**2 for each in range(10)]
    assert found['index'].tolist() == list(range(10)) and seconds > 0
    dataset = Interrupted()
    again, stored = walk(squares, dataset, tmp_path, 'key')
    assert dataset.seen == [] and stored == seconds
    assert np.array_equal(again['square'], found['square'])


class Drawing(Interrupted):
    """Sample i is a random number from i to i + 1, of each generator in turn."""

    def __getitem__(self, index):
        draw = (random.random, np.random.rand, lambda: torch.rand(()).item())[index % 3]
        sample = super().__getitem__(index)
        return dict(sample, inputs=sample['inputs'] + draw())


@pytest.mark.parametrize('num_workers', [0, 1])
@pytest.mark.default_cases('0')
def test_images_of_different_sizes_make_no_batch_but_are_taken_one_by_one(tmp_path, num_workers):
    class Growing(Interrupted):
        def __getitem__(self, index):
            return dict(inputs=torch.ones(1, 4 + index // 4), data_samples=index)

    with pytest.raises(ValueError, match=r'such as \(1, 4\) and \(1, 5\), .* --batch-size 1'):
        walk(squares, Growing(), tmp_path, 'key', batch_size=5, num_workers=num_workers)
    arrays, _ = walk(
        lambda batch: dict(width=batch['inputs'].sum((1, 2)).numpy()),
        Growing(),
        tmp_path,
        'key',
        batch_size=1,
        num_workers=num_workers,
    )
    assert arrays['width'].tolist() == [4, 4, 4, 4, 5, 5, 5, 5, 6, 6]


def test_of_a_random_pipeline_every_call_gets_the_same_draw_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr('mm_infobatch.scoring.extraction.FLUSH', 0)
    lines, plain = [], []
    found, _ = walk(squares, Drawing(), tmp_path / 'one', 'key', batch_size=2, say=lines.append)
    assert (found['square'] != np.arange(10) ** 2).all()
    assert lines[0].startswith('the pipeline of the validation draws random numbers')
    for draw in (random.random, np.random.rand, lambda: torch.rand(())):
        draw()
    with pytest.raises(KeyboardInterrupt):
        walk(squares, Drawing(7), tmp_path / 'two', 'key', batch_size=2)
    again, _ = walk(squares, Drawing(), tmp_path / 'two', 'key', batch_size=3, num_workers=1)
    assert np.array_equal(again['square'], found['square'])
    walk(squares, Interrupted(), tmp_path / 'plain', 'key', say=plain.append)
    assert 'draws random numbers' not in ' '.join(plain)


def test_two_calls_at_once_do_not_empty_each_others_files(tmp_path):
    seen_second, ended_first, lines, second = Event(), Event(), [], []

    class Second(Interrupted):
        def __getitem__(self, index):
            if index == 2:
                seen_second.set()
                ended_first.wait(20)
            return super().__getitem__(index)

    def call_again():
        def say(line):
            lines.append(line)
            seen_second.set()

        second.append(walk(squares, Second(), tmp_path, 'key', batch_size=2, say=say)[0])

    class First(Interrupted):
        def __getitem__(self, index):
            if index == 6:
                thread.start()
                assert seen_second.wait(20)
            return super().__getitem__(index)

    thread = Thread(target=call_again)
    first, _ = walk(squares, First(), tmp_path, 'key', batch_size=2)
    found = first['square'].tolist()
    ended_first.set()
    thread.join()
    assert found == second[0]['square'].tolist() == [each**2 for each in range(10)]
    assert lines[0] == f'waits for another call, which extracts to {tmp_path}'
    assert lines[1].endswith('has 10 of 10 samples')


def test_an_extraction_of_something_else_is_refused(tmp_path):
    walk(squares, Interrupted(), tmp_path, 'key')
    with pytest.raises(ValueError, match='another checkpoint, config or dataset'):
        walk(squares, Interrupted(), tmp_path, 'other')
    with pytest.raises(ValueError, match='has been extracted from 10 samples'):
        walk(squares, range(9), tmp_path, 'key')
    (tmp_path / 'extraction.json').write_text('{"done": 3')
    with pytest.raises(ValueError, match='something else'):
        walk(squares, Interrupted(), tmp_path, 'key')


@pytest.mark.parametrize('size', [None, 100])  # the file is gone, or cut off
def test_an_extraction_that_is_not_whole_is_refused(tmp_path, size):
    walk(squares, Interrupted(), tmp_path, 'key')
    file = tmp_path / 'index.npy'
    content = file.read_bytes()
    file.unlink()
    if size is not None:
        file.write_bytes(content[:-8])
    with pytest.raises(ValueError, match='is not the whole extraction .*; remove it'):
        walk(squares, Interrupted(), tmp_path, 'key')


def test_an_extraction_that_the_disk_has_no_room_for_is_refused_with_the_number(
    tmp_path, monkeypatch
):
    class Many(Interrupted):
        def __len__(self):
            return 10**7  # a float32 and an int64 of each

    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=119e6))
    with pytest.raises(ValueError, match='takes 120.0 MB in .* where 119.0 MB are free; give ano'):
        walk(squares, Many(), tmp_path, 'key', batch_size=2)
    assert not list(tmp_path.glob('*.npy'))
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=120))
    walk(squares, Interrupted(), tmp_path, 'key', batch_size=2)


def test_another_checkpoint_or_config_is_extracted_anew(trained, tmp_path, capsys):
    for checkpoint in (1, 2, 1):
        call(trained, tmp_path / f'{checkpoint}.npy', 'margin', checkpoints=(checkpoint,))
    assert not np.array_equal(np.load(tmp_path / '1.npy'), np.load(tmp_path / '2.npy'))
    option = ['--cfg-options', 'data_preprocessor.mean=[90,90,90]']
    call(trained, tmp_path / 'a.npy', 'margin', *option, checkpoints=(1,))
    assert not np.array_equal(np.load(tmp_path / '1.npy'), np.load(tmp_path / 'a.npy'))
    capsys.readouterr()
    call(trained, tmp_path / 'b.npy', 'margin', checkpoints=(1,))
    assert 'has 25 of 25 samples' in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / '1.npy'), np.load(tmp_path / 'b.npy'))


def with_list_of_images(trained, folder):
    """The config of a training set that a file lists, and the lines of that file."""
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    _, dataset = build(trained)
    root = trained / 'data' / 'train'
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    lines = [f'{Path(one["img_path"]).relative_to(root)} {one["gt_label"]}' for one in infos]
    cfg.train_dataloader.dataset.ann_file = str(folder / 'list.txt')
    cfg.train_dataloader.dataset.classes = ['class0', 'class1', 'class2']
    cfg.dump(folder / 'config.py')
    return lines


@pytest.mark.parametrize('what', ['order', 'labels'])
def test_a_dataset_that_lists_something_else_is_extracted_anew(trained, tmp_path, capsys, what):
    lines = with_list_of_images(trained, tmp_path)
    files = tmp_path / 'config.py', trained / 'run' / 'epoch_3.pth'
    scores = []
    changed = (
        lines[::-1] if what == 'order' else [f'{one[:-1]}{(int(one[-1]) + 1) % 3}' for one in lines]
    )
    for text in (lines, changed, lines):
        (tmp_path / 'list.txt').write_text('\n'.join(text))
        cli.main(['scores', 'el2n', *map(str, files), '--out', str(tmp_path / 'a.npz')])
        found = read_score_file(str(tmp_path / 'a.npz'))
        assert found.labels.tolist() == [int(one[-1]) for one in text]
        scores.append(found.scores)
    assert capsys.readouterr().out.count('has 25 of 25 samples') == 1  # the third time
    assert np.array_equal(scores[0], scores[2])
    if what == 'order':
        assert np.allclose(scores[0][::-1], scores[1], atol=1e-5)
    assert not np.allclose(scores[0], scores[1], atol=1e-5)


def test_a_label_that_is_no_class_is_refused(trained, tmp_path, capsys):
    lines = with_list_of_images(trained, tmp_path)
    (tmp_path / 'list.txt').write_text('\n'.join([*lines[:-1], f'{lines[-1][:-1]}3']))
    files = tmp_path / 'config.py', trained / 'run' / 'epoch_3.pth', '--out', tmp_path / 'a.npz'
    assert 'to 3, but the classifier has 3 classes' in refused(capsys, 'el2n', *files)


def head_of(kind, **kwargs):
    return dict(type=kind, num_classes=3, in_channels=32, **kwargs)


@pytest.mark.parametrize(
    'backbone, head, layer',
    [
        (dict(type='LeNet5', num_classes=3), dict(type='ClsHead'), 'backbone.classifier.2'),
        (None, head_of('StackedLinearClsHead', mid_channels=[8]), 'head.layers.1.fc'),
        (None, head_of('ArcFaceClsHead'), None),
        (None, head_of('ArcFaceClsHead', scale=1.0), None),
        (None, head_of('ArcFaceClsHead', scale=1.0, num_subcenters=2), None),
    ],
    ids=['in the backbone', 'behind another one', 'none', 'of cosines', 'of maxima of cosines'],
)
def test_the_last_layer_is_found_wherever_it_is(trained, tmp_path, backbone, head, layer):
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.head = head
    if backbone is not None:
        cfg.model.backbone, cfg.model.neck = backbone, None
        cfg.data_preprocessor = dict(num_classes=3, mean=[100.0], std=[80.0])
        pipeline = cfg.val_dataloader.dataset.pipeline
        pipeline[0].color_type = 'grayscale'
        pipeline.insert(1, dict(type='Resize', scale=32))
    classifier.prepare(cfg)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model, dataset = classifier.build_model(cfg), classifier.build_train_set(cfg)
    found = extract(model.eval(), dataset, tmp_path, 'key', batch_size=4)
    assert len(found.logits) == NUM_IMAGES and np.isfinite(found.logits).all()
    if layer is None:
        assert found.features is None and found.weight is None
        assert np.isfinite(el2n(found.logits, found.labels)).all()
    else:
        module = dict(model.named_modules())[layer]
        expected = found.features @ module.weight.detach().numpy().T + module.bias.detach().numpy()
        assert np.allclose(expected, found.logits, atol=1e-5)


def test_logits_that_are_multiplied_behind_the_last_layer_are_what_is_extracted(trained, tmp_path):
    """Also of samples of which the classifier is so sure that both softmaxes are nearly 1 and 0."""
    linear = type(build(trained)[0].head)

    class ScaledHead(linear):
        def forward(self, feats):
            return 2 * super().forward(feats)

    MODELS.register_module(module=ScaledHead, force=True)
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.head.type = 'ScaledHead'
    classifier.prepare(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model, dataset = classifier.build_model(cfg), classifier.build_train_set(cfg)
    path = trained / 'run' / 'epoch_3.pth'
    state = read_checkpoint(path)['state_dict']
    state['head.fc.weight'] *= 20
    classifier.load_weights(model, state, path)
    found = extract(model, dataset, tmp_path, 'key', batch_size=1)
    margins = np.sort(found.logits, 1)[:, -1] - np.sort(found.logits, 1)[:, -2]
    assert (margins > 30).any() and found.features is None
    for index in range(NUM_IMAGES):
        images = model.data_preprocessor(classifier.collate([dataset[index]]), False)['inputs']
        with torch.no_grad():
            assert np.allclose(found.logits[index], model(images)[0].numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('method', ['deepfool', 'grand'])
@pytest.mark.default_cases('grand')
def test_a_backbone_that_checkpoints_gradients_has_the_same_scores(trained, tmp_path, method):
    more = ['--all-parameters'] if method == 'grand' else ['--classes', '3']
    call(trained, tmp_path / 'a.npy', method, *more)
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.backbone.with_cp = True
    cfg.dump(trained / 'with_cp.py')
    call(trained, tmp_path / 'b.npy', method, *more, config='with_cp.py')
    assert np.allclose(np.load(tmp_path / 'a.npy'), np.load(tmp_path / 'b.npy'), rtol=1e-4)


def test_gradients_of_all_parameters_are_those_of_autograd(trained, tmp_path):
    call(trained, tmp_path / 'a.npy', 'grand', '--all-parameters')
    found = np.load(tmp_path / 'a.npy')
    model, dataset = build(trained)
    for index in (0, 11, 24):
        data = model.data_preprocessor(classifier.collate([dataset[index]]), False)
        model.zero_grad()
        model.loss(data['inputs'], data['data_samples'])['loss'].backward()
        norm = sum(float(each.grad.square().sum()) for each in model.parameters()) ** 0.5
        assert found[index] == pytest.approx(norm, rel=1e-4)
    call(trained, tmp_path / 'b.npy', 'grand')
    last = np.load(tmp_path / 'b.npy')
    layer = sum(float(each.grad.square().sum()) for each in model.head.parameters()) ** 0.5
    assert last[24] == pytest.approx(layer, rel=1e-4) and (last < found).all()


def test_gradients_of_all_parameters_need_no_linear_last_layer(trained, tmp_path, capsys):
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.head = head_of('ArcFaceClsHead')
    cfg.dump(tmp_path / 'config.py')
    classifier.prepare(cfg)
    (tmp_path / 'run').mkdir()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = dict(state_dict=classifier.build_model(cfg).state_dict())
    torch.save(state, tmp_path / 'run' / 'epoch_3.pth')
    call(tmp_path, tmp_path / 'a.npy', 'grand', '--all-parameters')
    found = np.load(tmp_path / 'a.npy')
    model, dataset = build(tmp_path)
    for index in (0, 24):
        data = model.data_preprocessor(classifier.collate([dataset[index]]), False)
        model.zero_grad()
        model.loss(data['inputs'], data['data_samples'])['loss'].backward()
        norm = sum(float(each.grad.square().sum()) for each in model.parameters()) ** 0.5
        assert found[index] == pytest.approx(norm, rel=1e-4)
    files = tmp_path / 'config.py', tmp_path / 'run' / 'epoch_3.pth', '--out', tmp_path / 'b.npy'
    capsys.readouterr()
    with pytest.raises(SystemExit, match='2'):
        cli.main(['scores', 'grand', *map(str, files)])
    assert 'no linear layer whose outputs are its logits' in capsys.readouterr().err


def test_perturbed_images_of_deepfool_are_of_another_class(trained, tmp_path):
    call(trained, tmp_path / 'a.npy', 'deepfool', '--classes', '3')
    images = np.load(tmp_path / 'a.npy')
    call(trained, tmp_path / 'b.npy', 'deepfool', '--proxy')
    proxy = np.load(tmp_path / 'b.npy')
    assert (images < 0).all() and (proxy <= 0).all()
    model, dataset = build(trained)
    found = extract(model, dataset, tmp_path / 'x', 'key')
    margins = np.sort(found.logits, 1)
    gap = margins[:, -1] - margins[:, -2]
    # Nearer to the boundary where the two largest logits are closer.
    ranks = [np.argsort(np.argsort(each)) for each in (gap, -images, -proxy)]
    for one in ranks[1:]:
        assert np.corrcoef(ranks[0], one)[0, 1] > 0.5


def test_deepfool_takes_a_head_of_several_outputs(trained, tmp_path):
    """As Conformer's, which predicts from the sum of two."""
    linear = type(build(trained)[0].head)

    class SumOfTwoHead(linear):
        def forward(self, feats):
            logits = super().forward(feats)
            return 0.3 * logits, 0.7 * logits

        def predict(self, feats, data_samples=None):
            return self._get_predictions(sum(self(feats)), data_samples)

    MODELS.register_module(module=SumOfTwoHead, force=True)
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.head.type = 'SumOfTwoHead'
    cfg.dump(tmp_path / 'config.py')
    shutil.copytree(trained / 'run', tmp_path / 'run')
    call(tmp_path, tmp_path / 'a.npy', 'deepfool')
    call(trained, tmp_path / 'b.npy', 'deepfool')
    found, expected = (np.load(tmp_path / name) for name in ('a.npy', 'b.npy'))
    assert np.allclose(found, expected, rtol=1e-2) and (found < 0).all()


def test_a_model_without_a_loss_has_no_gradient_of_all_parameters(trained, tmp_path, capsys):
    """Such as mmpretrain's distilled ones."""
    linear = type(build(trained)[0].head)

    class DistilledHead(linear):
        def loss(self, *args, **kwargs):
            raise NotImplementedError("MMPretrain doesn't support to train the distilled version")

    MODELS.register_module(module=DistilledHead, force=True)
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.head.type = 'DistilledHead'
    cfg.dump(tmp_path / 'config.py')
    files = tmp_path / 'config.py', trained / 'run' / 'epoch_3.pth', '--out', tmp_path / 'a.npy'
    with pytest.raises(SystemExit, match='2'):
        cli.main(['scores', 'grand', '--all-parameters', *map(str, files)])
    assert 'the model has no loss' in capsys.readouterr().err


def test_errors_of_a_file_are_those_of_its_labels(trained, tmp_path):
    call(trained, tmp_path / 'a.npz', 'el2n')
    found = read_score_file(str(tmp_path / 'a.npz'))
    model, dataset = build(trained)
    extraction = extract(model, dataset, tmp_path / 'x', 'key')
    mistakes = errors(extraction.logits, found.labels)
    assert np.allclose(found.scores, np.linalg.norm(mistakes, axis=1), atol=1e-6)


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    'method, more, words',
    [
        ('herding', ['{last}'], 'herding needs one checkpoint, but is given 2'),
        ('forgetting', [], 'forgetting needs 2 checkpoints or more, but is given 1'),
        ('k_center', ['--count', '26'], '--count 26 is more than the 25 samples'),
        ('k_center', ['--count', '0'], '--count 0 has to be at least 1'),
        ('k_center', ['--keep', '1.5'], '--keep 1.5 lies outside (0, 1]'),
        ('el2n', ['--batch-size', '0'], '--batch-size 0 has to be at least 1'),
        ('el2n', ['--batch-size', '1' + 30 * '0'], f'{10**30} has to be at most {sys.maxsize}'),
        ('influence', ['--damping', '0'], '--damping 0.0 lies outside [1e-8, 1e8]'),
        ('influence', ['--damping', '1e-300'], '--damping 1e-300 lies outside [1e-8, 1e8]'),
        ('dp', ['--keep', '0.5', '--damping', 'inf'], 'lambda, added to the Hessian; give a'),
        ('graph_cut', ['--trade-off', 'inf'], '--trade-off inf lies outside [1e-8, 1e8]'),
        ('graph_cut', ['--trade-off', 'nan'], 'weight of the similarity to all others; give'),
        ('glister', ['--count', '9', '--step', 'nan'], '--step nan lies outside [1e-8, 1e8]'),
        ('glister', ['--count', '9', '--step=-1'], 'a number such as 0.1'),
        ('craig', [], 'one of the arguments --keep --count is required'),
        ('margin', ['--deepcore'], 'unrecognized arguments: --deepcore'),
        ('dp', ['--keep', '0.5', '--per-class'], 'unrecognized arguments: --per-class'),
        ('influence', ['--formula', 'all'], "invalid choice: 'all'"),
        ('influence', ['--validation-set'], 'no effect with --formula norm; write --formula val'),
        ('nearest', [], "invalid choice: 'nearest'"),
    ],
)
def test_a_call_that_cannot_work_is_refused(trained, tmp_path, capsys, method, more, words):
    more = [each.format(last=trained / 'run' / 'epoch_3.pth') for each in more]
    paths = [str(trained / 'config.py'), str(trained / 'run' / 'epoch_1.pth')]
    with pytest.raises(SystemExit, match='2'):
        cli.main(['scores', method, *paths, *more, '--out', str(tmp_path / 'a.npz')])
    assert words in capsys.readouterr().err.splitlines()[-1]


def refused(capsys, *arguments):
    with pytest.raises(SystemExit, match='2'):
        cli.main(['scores', *map(str, arguments)])
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    'method, more, words',
    [
        ('grand', ['--all-parameters'], 'images, a forward and a backward pass for each; the extr'),
        ('deepfool', ['--classes', '3'], 'up to 50 forward passes with 3 backward passes for each'),
        ('grand', [], 'grand: 1 group of up to 25 samples'),
        ('deepfool', ['--proxy'], 'deepfool: 1 group of up to 25 samples'),
    ],
)
def test_a_method_says_what_it_does_with_each_image(trained, tmp_path, capsys, method, more, words):
    call(trained, tmp_path / 'a.npz', method, *more)
    printed = capsys.readouterr().out
    assert words in printed
    assert ('after the extraction' in printed) == ('1 group' in words)


def test_a_name_that_has_no_room_for_the_result_is_refused(trained, tmp_path, capsys):
    files = trained / 'config.py', trained / 'run' / 'epoch_1.pth'
    for method, *more in (['craig', '--keep', '0.5'], ['herding'], ['margin', '--per-class']):
        line = refused(capsys, method, *files, *more, '--out', tmp_path / 'a.npy')
        assert 'give a name that ends in .npz' in line
    assert 'end in .npz or .npy' in refused(capsys, 'margin', *files, '--out', tmp_path / 'a.txt')
    (tmp_path / 'a.json').write_text('{"of": "somebody"}')
    (tmp_path / 'b.json').mkdir()
    for name in 'ab':
        line = refused(capsys, 'margin', *files, '--out', tmp_path / f'{name}.npz')
        assert f'{name}.json, which is something else' in line
    line = refused(capsys, 'margin', *files, '--out', tmp_path / f'{"a" * 300}.npz')
    assert line.endswith('cannot be written: File name too long; give another path')


def test_a_place_without_room_is_refused_in_one_line(trained, tmp_path, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = trained / 'config.py', trained / 'run' / 'epoch_1.pth', '--out', tmp_path / 'a.npz'
    monkeypatch.setattr(np, 'savez', full)
    line = refused(capsys, 'el2n', *files)
    assert line.endswith('a.npz cannot be written: No space left on device; give another path')
    with pytest.raises(ValueError, match='File name too long; give another --work-dir'):
        walk(squares, Interrupted(), tmp_path / ('a' * 300), 'key')


def test_a_model_or_a_checkpoint_that_does_not_fit_is_refused(trained, tmp_path, capsys):
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.head = head_of('ArcFaceClsHead')
    cfg.dump(tmp_path / 'arc.py')
    epoch = trained / 'run' / 'epoch_1.pth'
    line = refused(capsys, 'el2n', tmp_path / 'arc.py', epoch, '--out', tmp_path / 'a.npz')
    assert 'epoch_1.pth does not fit the model' in line
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = dict(state_dict=MODELS.build(cfg.model).state_dict())
    torch.save(state, tmp_path / 'arc.pth')
    files = tmp_path / 'arc.py', tmp_path / 'arc.pth', '--out', tmp_path / 'a.npz'
    assert 'no linear layer whose outputs are its logits' in refused(capsys, 'k_center', *files)
    torch.save(dict(meta={}), tmp_path / 'none.pth')
    line = refused(capsys, 'el2n', trained / 'config.py', tmp_path / 'none.pth', *files[2:])
    assert 'none.pth does not fit the model: it has no state_dict' in line
    torch.save(dict(state, meta='of 2024'), tmp_path / 'text.pth')
    line = refused(capsys, 'el2n', trained / 'config.py', tmp_path / 'text.pth', *files[2:])
    assert 'text.pth is a str, where MMEngine saves a dict' in line


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(train_dataloader=None), 'the config has no train_dataloader.dataset'),
        (dict(model=None), 'the config has no model; give the config of a training'),
        (dict(head=None), 'ImageClassifier without a head does not classify'),
        (
            dict(
                type='MAE',
                head=dict(
                    type='MAEPretrainHead',
                    loss=dict(type='PixelReconstructionLoss', criterion='L2'),
                ),
            ),
            'MAE does not classify, and these',
        ),
    ],
    ids=['no training data', 'no model', 'no head', 'no classifier'],
)
@pytest.mark.default_cases('no head')
def test_a_config_that_trains_no_classifier_is_refused(trained, tmp_path, capsys, changes, words):
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    for name, value in changes.items():
        (cfg.model if 'head' in changes else cfg)[name] = value
    cfg.dump(tmp_path / 'config.py')
    files = tmp_path / 'config.py', trained / 'run' / 'epoch_1.pth', '--out', tmp_path / 'a.npz'
    assert words in refused(capsys, 'el2n', *files)


def test_a_checkpoint_of_another_dataset_is_refused(trained, tmp_path, capsys):
    checkpoint = torch.load(trained / 'run' / 'epoch_1.pth', weights_only=False)
    names = list(checkpoint['meta']['dataset_meta']['classes'])
    assert names == ['class0', 'class1', 'class2']
    files = trained / 'config.py', tmp_path / 'a.pth', '--out', tmp_path / 'a.npz'
    for classes, words in (
        (
            ['cat', 'dog', 'eel'],
            "its class 0 is 'cat', and that of the training dataset is 'class0'",
        ),
        ([*names[1:], names[0]], "its class 0 is 'class1'"),
        ([names[0], names[2], names[1]], "its class 1 is 'class2'"),
    ):
        checkpoint['meta']['dataset_meta'] = dict(classes=classes)
        torch.save(checkpoint, tmp_path / 'a.pth')
        line = refused(capsys, 'el2n', *files)
        assert f'a.pth is of another dataset: {words}' in line
    for meta in (dict(classes=[*names[:2], 'two']), dict(classes=None), {}, None):
        classifier.check_classes(
            dict(dataset_meta=meta), SimpleNamespace(metainfo=dict(classes=names)), ''
        )
    classifier.check_classes(dict(dataset_meta=dict(classes=names[::-1])), object(), '')


@pytest.mark.parametrize(
    ('names', 'others', 'first'),
    [
        ('abcde', 'abcde', None),
        ('abcde', 'abcxy', None),
        ('abcde', 'axyze', 1),
        ('abcde', 'abced', 3),  # fewer than half
        ('acd', 'abcd', 1),  # a folder without an image is no class
        ('abcd', 'acd', 1),
        ('abcab', 'abcax', None),  # two classes of one name, of which one is renamed
        ('abcax', 'abcab', None),
        ('', 'ab', None),
    ],
)
def test_classes_that_have_changed_places_are_others(names, others, first):
    assert classifier.other_class([*names], tuple(others)) == first


def test_validation_data_of_other_classes_is_refused(trained, tmp_path, capsys):
    shutil.copytree(trained / 'data', tmp_path / 'data')
    for path in (tmp_path / 'data' / 'val' / 'class1').iterdir():
        path.unlink()
    (tmp_path / 'data' / 'val' / 'class1').rmdir()
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.val_dataloader.dataset.data_root = str(tmp_path / 'data')
    cfg.dump(tmp_path / 'config.py')
    files = tmp_path / 'config.py', trained / 'run' / 'epoch_1.pth', '--out', tmp_path / 'a.npz'
    line = refused(capsys, 'glister', *files, '--count', '5', '--validation-set')
    assert "class 1 of val_dataloader.dataset is 'class2'" in line
    assert 'val_dataloader.dataset.metainfo.classes' in line


@pytest.mark.parametrize('method', ['el2n', 'forgetting'])
def test_a_checkpoint_that_is_given_twice_is_refused(trained, tmp_path, capsys, method):
    epochs = [trained / 'run' / f'epoch_{index}.pth' for index in (1, 2)]
    shutil.copy(epochs[0], tmp_path / 'best.pth')
    files = trained / 'config.py', *epochs, tmp_path / 'best.pth', '--out', tmp_path / 'a.npz'
    line = refused(capsys, method, *files)
    assert 'epoch_1.pth and' in line and 'best.pth are the same file' in line


def test_samples_with_several_labels_or_none_are_refused(trained):
    _, dataset = build(trained)
    sample = dataset[0]['data_samples']
    assert classifier.gt_label_of(sample) == int(sample.gt_label)
    several = sample.clone()
    several.set_gt_label([0, 2])
    with pytest.raises(ValueError, match='has 2 labels'):
        classifier.gt_label_of(several)
    with pytest.raises(ValueError, match='has 0 labels'):
        classifier.gt_label_of(type(sample)())


def test_a_head_that_does_not_choose_one_class_is_refused(trained, tmp_path, capsys):
    """Its scores, a sigmoid of each class, were taken for the softmax of logits."""
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.model.head = head_of('MultiLabelLinearClsHead')
    cfg.dump(tmp_path / 'config.py')
    classifier.prepare(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'a.pth')
    files = tmp_path / 'config.py', tmp_path / 'a.pth', '--out', tmp_path / 'a.npz'
    line = refused(capsys, 'el2n', *files)
    assert 'which are not probabilities that sum to 1' in line
    classifier.check_probabilities(torch.tensor([[0.2, 0.8], [float('nan'), 0.5]]))
    with pytest.raises(ValueError, match='predicts -1, 2, ... for'):  # any numbers
        classifier.check_probabilities(torch.tensor([[-1.0, 2.0]]))
    with pytest.raises(ValueError, match='has one class'):
        classifier.check_probabilities(torch.ones(2, 1))


def test_a_network_that_has_diverged_is_refused(trained, tmp_path, capsys):
    state = torch.load(trained / 'run' / 'epoch_1.pth', weights_only=False)['state_dict']
    state['head.fc.weight'][0, 0] = float('nan')
    torch.save(dict(state_dict=state), tmp_path / 'nan.pth')
    files = trained / 'config.py', tmp_path / 'nan.pth', '--out', tmp_path / 'a.npz'
    assert 'NaN or infinite logits' in refused(capsys, 'el2n', *files)


def test_features_beyond_the_range_of_float32_are_refused(trained, tmp_path, capsys):
    """Distances between them were NaN, and a selection chose some samples twice."""
    state = torch.load(trained / 'run' / 'epoch_1.pth', weights_only=False)['state_dict']
    state['backbone.layer4.1.gn2.weight'][:] = 1e19  # the logits are finite
    torch.save(dict(state_dict=state), tmp_path / 'large.pth')
    files = trained / 'config.py', tmp_path / 'large.pth', '--out', tmp_path / 'a.npz'
    line = refused(capsys, 'k_center', *files)
    assert 'features of up to' in line and 'a training that has not diverged' in line


def test_a_checkpoint_of_a_wrapped_model_is_read_as_runner_reads_it(trained, tmp_path):
    state = torch.load(trained / 'run' / 'epoch_3.pth', weights_only=False)['state_dict']
    model, _ = build(trained)
    expected = model.head.fc.weight.clone()
    prefixed = {f'module.{name}': 0 * value + 1 for name, value in state.items()}
    prefixed['module.head.fc.weight'] = expected
    classifier.load_weights(model, prefixed, tmp_path)
    assert torch.equal(model.head.fc.weight, expected) and (model.head.fc.bias == 1).all()


def test_forgetting_takes_checkpoints_without_an_iteration_in_the_order_given():
    def source(index, learned, **meta):
        logits = np.eye(2)[1 - np.array(learned)]
        return SimpleNamespace(meta=meta, logits=logits, labels=np.zeros(2, int), path=index)

    settings = Settings()
    rows = [source(0, [1, 0]), source(1, [0, 1], iter=9), source(2, [1, 0], iter=3)]
    assert by_forgetting(rows, settings).tolist() == [1, 1]
    assert by_forgetting(rows[1:], settings).tolist() == [1, 0]
    assert by_forgetting([rows[1], rows[0]], settings).tolist() == [0, 1]


def test_forgetting_refuses_checkpoints_of_two_runs(trained, tmp_path, capsys):
    epochs = [trained / 'run' / f'epoch_{index}.pth' for index in (1, 2)]
    other = torch.load(epochs[1], weights_only=False)
    torch.save(other, tmp_path / 'same.pth')  # such as the best one of the run
    other['state_dict']['head.fc.weight'] *= -1
    torch.save(other, tmp_path / 'other.pth')
    out = '--out', tmp_path / 'a.npz'
    files = trained / 'config.py', *epochs, tmp_path / 'same.pth', *out
    cli.main(['scores', 'forgetting', *map(str, files)])
    capsys.readouterr()
    line = refused(
        capsys, 'forgetting', trained / 'config.py', *epochs, tmp_path / 'other.pth', *out
    )
    assert 'different runs' in line


def test_forgetting_takes_a_config_of_any_kind_and_options_for_it(trained, tmp_path, capsys):
    shutil.copytree(trained / 'data', tmp_path / 'data')
    runs.Config.fromfile(str(trained / 'config.py')).dump(tmp_path / 'config.json')
    epochs = [trained / 'run' / f'epoch_{index}.pth' for index in (1, 2)]
    for image in sorted((tmp_path / 'data' / 'train' / 'class0').iterdir())[:4]:
        image.unlink()
    option = f'train_dataloader.dataset.data_root={tmp_path / "data"}'
    out = '--out', tmp_path / 'a.npz'
    files = ['scores', 'forgetting', tmp_path / 'config.json', *epochs, *out]
    cli.main([*map(str, files), '--cfg-options', option])
    assert len(read_score_file(str(tmp_path / 'a.npz')).scores) == NUM_IMAGES - 4
    line = refused(capsys, 'forgetting', *epochs, *out, '--cfg-options', option)
    assert 'no config is given' in line


def test_forgetting_tells_runs_apart_that_share_no_iteration_and_takes_a_resumed_one(
    trained, tmp_path, capsys
):
    def config(folder, epochs):
        cfg = runs.classification_config(
            str(trained / 'data'), str(folder), flip=True, max_epochs=epochs, val_interval=epochs
        )
        return runs.checkpoints_every(cfg, 1, by_epoch=True)

    epochs = [trained / 'run' / f'epoch_{index}.pth' for index in (1, 2, 3)]
    longer = config(tmp_path / 'resumed', 4)
    longer.model.head.cal_acc = True  # so the config is another one
    longer.load_from, longer.resume = str(epochs[2]), True
    runs.train(longer)
    out = '--out', tmp_path / 'a.npz', '--work-dir', tmp_path / 'extraction'
    files = trained / 'config.py', tmp_path / 'resumed' / 'epoch_4.pth', *epochs
    cli.main(['scores', 'forgetting', *map(str, [*files, *out])])
    capsys.readouterr()

    other = config(tmp_path / 'other', 2)  # of the same seed
    other.optim_wrapper.optimizer.lr *= 2
    runs.train(other)
    files = trained / 'config.py', tmp_path / 'other' / 'epoch_2.pth', epochs[0], epochs[2]
    line = refused(capsys, 'forgetting', *files, *out)
    assert re.search(r'other/epoch_2.pth and .*epoch_1.pth are of different runs: .*losses', line)


def test_runs_are_told_apart_by_seed_where_the_checkpoints_have_no_losses():
    seeds = [SameRunCheck(), SameRunCheck()]
    for run in seeds:
        run.add(Path('a.pth'), dict(meta=dict(seed=3)))
        run.add(Path('b.pth'), dict(meta=dict(seed=3)))
        run.add(Path('c.pth'), dict(meta={}))
    with pytest.raises(ValueError, match='a.pth and d.pth .* with the seeds 3 and 4'):
        seeds[0].add(Path('d.pth'), dict(meta=dict(seed=4)))
    with pytest.raises(ValueError, match='a.pth and d.pth .* with the seeds 3 and 4'):
        seeds[1].add(Path('d.pth'), dict(meta=dict(seed=3), infobatch=dict(sampler=dict(seed=4))))


@pytest.mark.parametrize('method', ['el2n', 'grand'])
@pytest.mark.parametrize('image', [2, NUM_IMAGES - 1])  # the last is a batch of its own
def test_a_sample_in_place_of_one_that_cannot_be_read_is_refused(
    trained, tmp_path, capsys, method, image
):
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    data = tmp_path / 'data'
    shutil.copytree(trained / 'data', data)
    cfg.train_dataloader.dataset.data_root = str(data)
    cfg.val_dataloader.dataset.pipeline[0].ignore_empty = True
    cfg.dump(tmp_path / 'config.py')
    _, dataset = build(tmp_path, checkpoints=trained)
    Path(dataset.get_data_info(image)['img_path']).write_bytes(b'')
    files = tmp_path / 'config.py', trained / 'run' / 'epoch_1.pth', '--out', tmp_path / 'a.npz'
    more = ['--work-dir', tmp_path / 'extraction', '--batch-size', '4']
    more += ['--all-parameters'] if method == 'grand' else []
    line = refused(capsys, method, *files, *more)
    assert 'the batch holds the samples' in line and 'a file cannot be read' in line
    assert not (tmp_path / 'a.npz').exists()


def test_a_dataset_without_a_pipeline_of_its_own_is_refused(trained, tmp_path, capsys):
    cfg = runs.Config.fromfile(str(trained / 'config.py'))
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(cfg.train_dataloader.dataset)
    )
    cfg.dump(tmp_path / 'repeat.py')
    epoch = trained / 'run' / 'epoch_1.pth'
    line = refused(capsys, 'el2n', tmp_path / 'repeat.py', epoch, '--out', tmp_path / 'a.npz')
    assert 'RepeatDataset has no pipeline of its own' in line
    cfg.train_dataloader.dataset.update(type='SeededDataset')  # which adds no sample
    del cfg.train_dataloader.dataset['times']
    plain = runs.Config.fromfile(str(trained / 'config.py'))
    assert classifier.train_set_config(cfg) == classifier.train_set_config(plain)
    cfg = plain
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.val_dataloader.dataset])
    cfg.dump(tmp_path / 'concat.py')
    line = refused(capsys, 'el2n', tmp_path / 'concat.py', epoch, '--out', tmp_path / 'a.npz')
    assert 'no val_dataloader.dataset.pipeline' in line


def test_what_needs_more_memory_than_there_is_is_refused_with_the_number(
    trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cost, 'free_memory', lambda: 1000)
    files = trained / 'config.py', trained / 'run' / 'epoch_1.pth', '--out', tmp_path / 'a.npz'
    line = refused(capsys, 'craig', '--keep', '0.5', '--over-all', *files)
    assert 'needs about 0.0 GB of memory for a group of 25 samples' in line
    assert '--per-class' in line
    for method, *more in (['dp', '--keep', '0.5'], ['influence'], ['craig', '--keep', '0.5']):
        monkeypatch.setattr(cost, 'free_memory', lambda: 100)
        line = refused(capsys, method, *more, *files)
        assert '--per-class' not in line and line.endswith('free; use a machine with more memory')


def test_a_cost_is_stated_from_sizes():
    size = cost.Size(60_000, 42_000, 10, 84)
    with pytest.raises(ValueError, match='needs about 43.2 GB .* 60,000 samples, but 20.0 GB'):
        cost.statement('craig', [size], cost.of_pairs, 20 * 10**9)
    text = cost.statement('craig', [cost.Size(6000, 4200, 10, 84)] * 10, cost.of_pairs, 10**9)
    assert text.startswith('craig: 10 groups of up to 6,000 samples, about 432 MB')
    assert [cost.rough_duration(each) for each in (0.4, 30, 119, 130, 3 * 3600)] == [
        'less than 1 s', '30 s', '119 s', '2 min', '3 h',
    ]  # fmt: skip
    assert cost.of_rounds(size, 10**30) == cost.of_rounds(size, 42_000) > cost.of_rounds(size, 15)
    settings = Settings(9, deepcore=True, options=dict(rounds=15))
    assert METHODS['glister'].cost(size, settings) == cost.of_rounds(size, 1)
    assert cost.multiplications_per_second() > 1e6
