"""``test`` and ``train`` refuse a checkpoint that has no weight of the model, and ``test`` one with
weights in other shapes, through a Runner."""

from types import SimpleNamespace
from uuid import uuid4

import mmpretrain.models  # noqa: F401  registers them
import pytest
import toolbox_runs as runs
import torch
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import load_state_dict

from mm_infobatch import cli
from mm_infobatch.cli.loaded_weights import LoadedWeightsHook

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return runs.trained_classifier(tmp_path_factory.mktemp('trained'))


def evaluate(trained, tmp_path, content, *more):
    """Test a checkpoint with this content."""
    torch.save(content, tmp_path / 'given.pth')
    arguments = [str(trained / 'config.py'), str(tmp_path / 'given.pth'), *more]
    own = '--cfg-options', f'experiment_name={uuid4().hex}'
    cli.main(['test', *arguments, '--work-dir', str(tmp_path / 'test'), *own])


def weights_of(trained):
    return torch.load(trained / 'run' / 'epoch_1.pth', weights_only=False)['state_dict']


@pytest.mark.parametrize(
    'wrapped, prefix, more',
    [(True, '', ()), (False, 'module.', ()), (True, '', ('--tta',))],
    ids=['as saved', 'alone, saved by DDP', 'tta'],
)
def test_weights_of_the_model_are_tested(trained, tmp_path, wrapped, prefix, more):
    weights = {f'{prefix}{name}': value for name, value in weights_of(trained).items()}
    evaluate(trained, tmp_path, dict(state_dict=weights) if wrapped else weights, *more)


def test_a_part_of_the_weights_is_left_to_the_warning_of_mmengine(trained, tmp_path, capsys):
    weights = weights_of(trained)
    head = [name for name in weights if name.startswith('head.')]
    for name in head:
        del weights[name]
    evaluate(trained, tmp_path, dict(state_dict=weights))
    assert 'do not match exactly' in capsys.readouterr().out


@pytest.mark.parametrize(
    'content, words, more',
    [
        (dict(state_dict={}), 'none of the ', ()),
        (dict(state_dict={'encoder.weight': torch.ones(2)}), 'none of the ', ('--tta',)),
        (dict(state_dict={'model.head.fc.bias': torch.ones(2)}), 'such as backbone.', ()),
        (dict(meta=dict(epoch=1)), 'none of the ', ()),
        ([1], 'contains a list, where MMEngine saves a dict', ()),
        (dict(state_dict=[1]), 'contains a list, where MMEngine saves a dict', ()),
    ],
    ids=['nothing', 'another model', 'another prefix', 'no weights', 'list', 'a list in it'],
)
def test_anything_else_is_refused(trained, tmp_path, capsys, content, words, more):
    with pytest.raises(SystemExit, match='2'):
        evaluate(trained, tmp_path, content, *more)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('mm-infobatch test: error: ') and words in line
    assert 'given.pth' in line and 'give' in line


@pytest.mark.parametrize('more', [(), ('--tta',)], ids=['', 'tta'])
def test_a_classifier_for_other_classes_is_refused(trained, tmp_path, capsys, more):
    weights = weights_of(trained)
    for name in 'head.fc.weight', 'head.fc.bias':
        weights[name] = torch.cat([weights[name], weights[name]])
    with pytest.raises(SystemExit, match='2'):
        evaluate(trained, tmp_path, dict(state_dict=weights), *more)
    line = capsys.readouterr().err.splitlines()[-1]
    assert 'given.pth has other shapes than the model in 2 weights: size mismatch for ' in line


def test_a_weight_that_the_model_fits_to_its_shape_is_not_refused():
    """As vision transformers interpolate the embedding of positions for images of another size."""
    arch = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=16)
    transformer = dict(type='mmpretrain.VisionTransformer', arch=arch, patch_size=8)
    small, large = (MODELS.build(dict(transformer, img_size=size)) for size in (16, 32))
    hook = LoadedWeightsHook('given.pth', same_shapes=True)
    checkpoint = dict(state_dict=small.state_dict())
    hook.after_load_checkpoint(SimpleNamespace(model=large), checkpoint)
    load_state_dict(large, checkpoint['state_dict'])
    assert large.pos_embed.shape != small.pos_embed.shape


@pytest.mark.parametrize('suits', [True, False])
def test_a_training_starts_from_weights_of_the_model(trained, tmp_path, capsys, suits):
    """Those of the backbone without its prefix, as they are often saved, are none; a head for other
    classes is left to the warning of MMEngine."""
    weights = weights_of(trained)
    backbone = {name: weights[name] for name in weights if name.startswith('backbone.')}
    if suits:
        backbone['head.fc.bias'] = torch.ones(7)
    if not suits:
        backbone = {name[len('backbone.') :]: value for name, value in backbone.items()}
    torch.save(dict(state_dict=backbone), tmp_path / 'given.pth')
    options = [f'experiment_name={uuid4().hex}', f'load_from={tmp_path / "given.pth"}']
    arguments = ['train', str(trained / 'config.py'), '--work-dir', str(tmp_path / 'train')]
    if suits:
        cli.main([*arguments, '--cfg-options', *options])
        assert (tmp_path / 'train' / 'epoch_1.pth').is_file()
        return
    with pytest.raises(SystemExit, match='2'):
        cli.main([*arguments, '--cfg-options', *options])
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('mm-infobatch train: error: ') and 'none of the ' in line
