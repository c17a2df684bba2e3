"""The configs: each one loads and builds, each infobatch one is its baseline and the delta."""

import copy
import importlib
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATA_SAMPLERS, LOOPS, MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner
from PIL import Image

from mm_infobatch import InfoBatchSampler
from mm_infobatch.passes.batch_shape import BatchShape
from mm_infobatch.passes.schedule import PassSchedule

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts
)
INFOBATCH = [name for name in NAMES if 'infobatch' in name]
BASELINES = [name for name in NAMES if 'infobatch' not in name]
# Those meant for a machine without a GPU.
SMALL = [name for name in NAMES if 'slim' in name or 'lenet' in name]
# Those whose model cannot train on a batch of one image.
NO_BATCH_OF_ONE = [name for name in INFOBATCH if 'upernet' in name or 'lenet' in name]
SHIPPED = {
    'upernet/upernet_r50_4xb4-80k_ade20k-512x512.py': 'mmseg',
    'upernet/upernet_r50_4xb4-160k_ade20k-512x512.py': 'mmseg',
    'resnet/resnet18_8xb32_in1k.py': 'mmpretrain',
    'resnet/resnet50_8xb32_in1k.py': 'mmpretrain',
}


@pytest.fixture(scope='module', autouse=True)
def toolboxes():
    with warnings.catch_warnings():
        # What the toolboxes say when they are imported is not about our configs.
        warnings.simplefilter('ignore')
        for name in ('mmseg', 'mmpretrain'):
            importlib.import_module(f'{name}.utils').register_all_modules(init_default_scope=False)


def load(name):
    return Config.fromfile(CONFIGS / name)


def baseline_of(name):
    return name.replace('-infobatch', '').replace('-iterbudget', '').replace('-quantile', '')


def schedulers_of(cfg):
    found = cfg.param_scheduler
    return [found] if isinstance(found, dict) else list(found)


def scope_of(cfg):
    """What a Runner does with `default_scope`, for as long as the block lasts."""
    return DefaultScope.overwrite_default_scope(cfg.default_scope)


def build_model(cfg):
    with scope_of(cfg):
        return MODELS.build(dict(cfg.model, data_preprocessor=data_preprocessor_of(cfg)))


def data_preprocessor_of(cfg):
    """What a Runner makes of it: mmpretrain keeps it beside the model, without a type."""
    found = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    return dict({'type': 'ClsDataPreprocessor'}, **found)


def differences(left, right, path=''):
    """Where two configs differ, as 'a.b.c: left -> right' lines."""
    if isinstance(left, dict) and isinstance(right, dict):
        return [
            line
            for key in sorted(left.keys() | right.keys())
            for line in differences(
                left.get(key, '(absent)'), right.get(key, '(absent)'), f'{path}.{key}'.lstrip('.')
            )
        ]
    same = type(left) is type(right) and left == right
    return [] if same else [f'{path}: {left!r} -> {right!r}']


def wrap_losses(node):
    """The head with each loss inside an InfoBatchLoss."""
    node = dict(node)
    for key in ('loss_decode', 'loss'):
        if key in node:
            node[key] = dict(type='InfoBatchLoss', loss=node[key])
    return node


def test_there_are_configs_for_each_task():
    assert {Path(name).parent.name for name in NAMES} == {'demo', 'lenet', 'resnet', 'upernet'}
    assert {baseline_of(name) for name in INFOBATCH} == set(BASELINES)


@pytest.mark.parametrize('name', NAMES)
def test_every_config_builds_its_model_and_names_only_what_is_registered(name):
    cfg = load(name)
    model = build_model(cfg)
    assert any(parameter.requires_grad for parameter in model.parameters())
    loop = cfg.train_cfg.get('type')
    assert loop is None or LOOPS.get(loop) is not None
    assert DATA_SAMPLERS.get(cfg.train_dataloader.sampler.type) is not None


@pytest.mark.parametrize('name', INFOBATCH)
def test_an_infobatch_config_is_its_baseline_and_the_delta(name):
    expected = copy.deepcopy(load(baseline_of(name)).to_dict())
    expected['custom_imports'] = dict(imports=['mm_infobatch'], allow_failed_imports=False)
    expected['custom_hooks'] = expected.get('custom_hooks', []) + [dict(type='InfoBatchHook')]
    expected['train_dataloader']['sampler'] = dict(
        type='InfoBatchSampler', delta=0.875, policy=dict(type='SoftPruning', prune_ratio=0.5)
    )
    if '-quantile' in name:
        expected['train_dataloader']['sampler']['policy'] = dict(
            type='QuantilePruning', quantiles=[0.2, 0.85], keep=[0.25, 0.5]
        )
    if name in NO_BATCH_OF_ONE:
        expected['train_dataloader']['drop_last'] = True
    by_iteration = 'max_iters' in expected['train_cfg']
    expected['train_cfg'].pop('by_epoch', None)
    expected['train_cfg']['type'] = 'InfoBatchIterLoop' if by_iteration else 'InfoBatchEpochLoop'
    if '-iterbudget' in name:
        expected['train_cfg']['budget'] = 'iterations'
    for head in ('decode_head', 'auxiliary_head', 'head'):
        if head in expected['model']:
            expected['model'][head] = wrap_losses(expected['model'][head])
    assert differences(expected, load(name).to_dict()) == []


def test_the_quantiles_on_ade20k_save_40_percent():
    (name,) = (name for name in NAMES if '-quantile' in name)
    cfg = load(name)
    num_images, batch = 20210, 16
    sampler = InfoBatchSampler(
        range(num_images),
        dict(cfg.train_dataloader.sampler.policy),
        delta=cfg.train_dataloader.sampler.delta,
        seed=0,
    )
    schedule = PassSchedule(cfg.train_cfg.max_iters, num_images // batch, delta=sampler.delta)
    sampler.join_run(schedule, BatchShape(batch, drop_last=True))
    trained = full = 0.0
    while not schedule.finished:
        begin = schedule.walked
        sampler.begin_pass()
        schedule.begin_pass(len(sampler) // batch)
        while not schedule.pass_ended:
            schedule.advance()
            trained += batch
        full += (schedule.walked - begin) * batch
        # Losses as skewed as those of images are; a bucket's size does not depend on it.
        scores = torch.rand(num_images, generator=torch.Generator().manual_seed(0)).square()
        sampler.scores.update(torch.arange(num_images), scores)
    assert 1 - trained / full == pytest.approx(0.4, abs=0.015)


@pytest.mark.parametrize('name', INFOBATCH)
def test_an_infobatch_config_inherits_from_its_baseline_alone(name):
    first_line = (CONFIGS / name).read_text().splitlines()[0]
    assert first_line == f"_base_ = './{Path(baseline_of(name)).name}'"


@pytest.mark.parametrize('name', SHIPPED)
def test_a_baseline_equals_the_config_that_the_toolbox_ships(name):
    package = importlib.import_module(SHIPPED[name])
    shipped = Path(package.__file__).parent / '.mim' / 'configs' / name
    if not shipped.exists():
        pytest.skip(f'this {SHIPPED[name]} was installed without its configs')
    assert differences(Config.fromfile(shipped).to_dict(), load(name).to_dict()) == []


def test_the_control_of_64k_is_the_80k_config_with_another_length():
    lines = differences(
        load('upernet/upernet_r50_4xb4-80k_ade20k-512x512.py').to_dict(),
        load('upernet/upernet_r50_4xb4-64k_ade20k-512x512.py').to_dict(),
    )
    assert [line.split(':')[0] for line in lines] == ['param_scheduler', 'train_cfg.max_iters']
    control = load('upernet/upernet_r50_4xb4-64k_ade20k-512x512.py')
    assert control.train_cfg.max_iters == 64000 == 0.8 * 80000
    assert control.param_scheduler == [
        dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=64000, by_epoch=False)
    ]


@pytest.mark.parametrize('name', NAMES)
def test_every_schedule_ends_where_the_training_ends(name):
    cfg = load(name)
    for scheduler in schedulers_of(cfg):
        by_epoch = scheduler.get('by_epoch', True)
        length = cfg.train_cfg['max_epochs' if by_epoch else 'max_iters']
        assert by_epoch == ('max_epochs' in cfg.train_cfg)
        if scheduler.type == 'MultiStepLR':
            assert max(scheduler.milestones) < length
            continue
        assert (scheduler.begin, scheduler.end) == (0, length)
        assert scheduler.get('total_steps', length) == length


@pytest.mark.parametrize('name', [name for name in NAMES if 'upernet' in name])
def test_every_run_by_iteration_validates_and_saves_at_its_end(name):
    cfg = load(name)
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    assert cfg.train_cfg.max_iters % cfg.default_hooks.checkpoint.interval == 0
    assert cfg.default_hooks.checkpoint.by_epoch is False


@pytest.mark.parametrize('name', [name for name in BASELINES if 'upernet' not in name])
def test_every_optimizer_and_its_schedule_take_steps(name):
    cfg = load(name)
    model = torch.nn.Linear(2, 2)
    with scope_of(cfg):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    scheduler, *others = map(dict, schedulers_of(cfg))
    convert = scheduler.pop('convert_to_iter_based', False)
    peak = scheduler.get('eta_max', wrapper.get_lr()['lr'][0])
    build = PARAM_SCHEDULERS.get(scheduler.pop('type'))
    if convert:
        built = build.build_iter_from_epoch(wrapper, epoch_length=3, **scheduler)
        steps = 3 * cfg.train_cfg.max_epochs
        # so that a run that is cut at its first step does not see another rate
        assert wrapper.get_lr()['lr'][0] == pytest.approx(cfg.optim_wrapper.optimizer.lr)
    else:
        built = build(wrapper, **scheduler)
        steps = cfg.train_cfg.max_epochs
    given = dict(optimizer=wrapper, epoch_length=3)
    schedulers = [built, *(PARAM_SCHEDULERS.build(other, default_args=given) for other in others)]
    rates, momenta = [], []
    for _ in range(steps):
        rates += wrapper.get_lr()['lr']
        momenta += wrapper.get_momentum()['momentum']
        wrapper.update_params(model(torch.ones(1, 2)).square().mean())
        for each in schedulers:
            each.step()
    # LeNet-5 and slim ResNet-18 were recorded without; the others' OneCycleLR is PyTorch's.
    cycles = scheduler.get('total_steps') in (12, 200) and 'lenet' not in name
    ends = [momenta[0], min(momenta), momenta[-1]]
    assert ends == pytest.approx([0.95, 0.85, 0.95] if cycles else [0.9] * 3, rel=1e-3)
    assert max(rates) == pytest.approx(peak, rel=2e-2)
    assert rates[-1] < 2e-3 * peak
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize('name', SMALL)
def test_a_small_config_runs_without_a_gpu_and_without_a_download(name):
    cfg = load(name)
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert 'SyncBN' not in cfg.pretty_text
    assert not cfg.model.get('pretrained')
    assert not cfg.model.backbone.get('init_cfg')
    parameters = sum(p.numel() for p in build_model(cfg).parameters())
    assert parameters < 2e6


@pytest.mark.parametrize('name', [name for name in NAMES if 'deterministic' in name])
def test_a_deterministic_config_draws_no_random_numbers(name):
    cfg = load(name)
    types = [transform.type for transform in cfg.train_dataloader.dataset.pipeline]
    assert not [t for t in types if 'Random' in t or 'Distortion' in t]
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline
    drop = [m for m in build_model(cfg).modules() if 'Dropout' in type(m).__name__ and m.p > 0]
    assert drop == []
    assert cfg.randomness.seed is not None


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_data(root, rng):
    """A few images of noise in each layout that a small config reads."""

    def noise(*shape):
        return rng.integers(0, 256, shape, dtype=np.uint8)

    for index in range(9):
        for split in ('train', 'test'):
            write_image(root / f'camvid/img_dir/{split}/{index}.jpg', noise(240, 320, 3))
            write_image(
                root / f'camvid/ann_dir/{split}/{index}.png',
                rng.integers(0, 12, (240, 320), dtype=np.uint8),
            )
            write_image(root / f'cifar10/{split}/class_{index}/{index}.png', noise(32, 32, 3))
        for split in ('training', 'validation'):
            write_image(root / f'shapes/images/{split}/{index}.jpg', noise(64, 64, 3))
            write_image(
                root / f'shapes/annotations/{split}/{index}.png',
                rng.integers(0, 9, (64, 64), dtype=np.uint8),
            )
    (root / 'fashion_mnist').mkdir()
    for prefix in ('train', 't10k'):
        (root / f'fashion_mnist/{prefix}-images-idx3-ubyte').write_bytes(
            struct.pack('>IIII', 2051, 9, 28, 28) + noise(9, 28, 28).tobytes()
        )
        (root / f'fashion_mnist/{prefix}-labels-idx1-ubyte').write_bytes(
            struct.pack('>II', 2049, 9) + bytes(range(9))
        )


@pytest.mark.default_cases('demo/upernet_r18-slim_1xb8-1.2k*', 'resnet/*')
@pytest.mark.parametrize('name', [name for name in SMALL if 'infobatch' not in name])
def test_a_small_config_trains_on_files_of_its_layout(name, tmp_path, monkeypatch):
    write_data(tmp_path / 'data', np.random.default_rng(0))
    monkeypatch.chdir(tmp_path)
    cfg = load(name)
    model = build_model(cfg).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    batches = {}
    for key in ('train_dataloader', 'val_dataloader'):
        loader = cfg[key]
        loader.update(num_workers=0, persistent_workers=False, batch_size=4)
        with scope_of(cfg):
            batches[key] = next(iter(Runner.build_dataloader(loader, seed=0)))
    losses = model.train_step(batches['train_dataloader'], wrapper)
    assert torch.isfinite(losses['loss'])
    samples = batches['train_dataloader']['data_samples']
    if 'upernet' in name:
        assert tuple(samples[0].gt_sem_seg.shape) == tuple(cfg.crop_size)
        ignored = {head.ignore_index for head in (model.decode_head, model.auxiliary_head)}
        labels = torch.cat([s.gt_sem_seg.data.flatten() for s in samples]).unique().tolist()
        # every label is a class or is ignored, in training and in the metric
        assert set(labels) - set(range(model.decode_head.num_classes)) == ignored
        assert {cfg.val_evaluator.get('ignore_index', 255)} == ignored
    with torch.no_grad():
        assert len(model.val_step(batches['val_dataloader'])) == 4


@pytest.mark.parametrize('name', SMALL)
def test_a_small_config_does_not_validate_on_what_it_trains_on(name):
    cfg = load(name)
    train, val = (cfg[key].dataset for key in ('train_dataloader', 'val_dataloader'))
    keys = ('data_prefix', 'split', 'test_mode')
    assert [train.get(key) for key in keys] != [val.get(key) for key in keys]
    if val.type == 'FashionMNIST':  # picks its files by `test_mode`
        assert val.test_mode


def test_the_table_of_configs_lists_each_one():
    text = (CONFIGS / 'README.md').read_text()
    assert [name for name in NAMES if f'({name})' not in text] == []
