"""Configs that mmpretrain ships, shrunk until three runs of two passes take about a second."""

import copy
import json
import random
from pathlib import Path

import mmpretrain
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from toolbox_runs import common, new_name, save

from mm_infobatch import InfoBatchLoss

CONFIGS = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
NUM_IMAGES, BATCH_SIZE, NUM_CLASSES = 12, 2, 3
SHRUNK_NORMS = {'SyncBN': 'BN', 'SparseSyncBatchNorm2d': 'SparseBatchNorm2d'}
# Transforms that a model needs; all others are left out, for runs that see the same images.
MASKS = ('BEiTMaskGenerator', 'SimMIMMaskGenerator')
# Losses that another call changes.
STATEFUL = ('SeesawLoss',)
# What makes a transformer, and MAE, small.
TRANSFORMER = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
MAE = {
    'model.backbone.arch': TRANSFORMER,
    'model.backbone.img_size': 32,
    'model.backbone.patch_size': 8,
    'model.neck.num_patches': 16,
    'model.neck.patch_size': 8,
    'model.neck.embed_dim': 16,
    'model.neck.decoder_embed_dim': 16,
    'model.neck.decoder_depth': 1,
    'model.neck.decoder_num_heads': 2,
}
MAE_HEAD = {**MAE, 'model.head.patch_size': 8}

# ---------------------------------------------------------------------- data


def images(count=NUM_IMAGES, size=32, seed=0):
    """Labels, and images that are hard to very different degrees."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        label = index % NUM_CLASSES
        image = np.full((size, size, 3), 60.0)
        image[label * size // 3 : (label + 1) * size // 3] = 200
        yield label, image + rng.normal(0, 5 + 40 * (index % 4), image.shape)


def write_folders(root, size=32):
    """Folders of images, one a class."""
    for index, (label, image) in enumerate(images(size=size)):
        folder = Path(root) / f'class{label}'
        folder.mkdir(parents=True, exist_ok=True)
        save(folder / f'{index:03}.png', image)
    return dict(type='CustomDataset', data_root=str(root))


def write_voc(root, size=32):
    """The layout of Pascal VOC, with one or two objects an image."""
    from mmpretrain.datasets.categories import VOC2007_CATEGORIES as names

    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (Path(root) / name).mkdir(parents=True)
    for index, (label, image) in enumerate(images(size=size)):
        save(Path(root) / 'JPEGImages' / f'{index:03}.jpg', image)
        objects = ''.join(
            f'<object><name>{names[i]}</name><difficult>0</difficult></object>'
            for i in {label, index % 5}
        )
        (Path(root) / 'Annotations' / f'{index:03}.xml').write_text(
            f'<annotation>{objects}</annotation>'
        )
    lines = '\n'.join(f'{index:03}' for index in range(NUM_IMAGES))
    (Path(root) / 'ImageSets' / 'Main' / 'trainval.txt').write_text(lines)
    return dict(type='VOC', data_root=str(root), split='trainval')


def write_inshop(root, size=32):
    """The layout of In-shop Clothes Retrieval; one image of each item is in the gallery."""
    (Path(root) / 'Img' / 'img').mkdir(parents=True)
    (Path(root) / 'Eval').mkdir()
    lines = [str(NUM_IMAGES + NUM_CLASSES), 'image_name item_id evaluation_status']
    for index, (label, image) in enumerate(images(NUM_IMAGES + NUM_CLASSES, size)):
        name = f'img/{index:03}.png'
        save(Path(root) / 'Img' / name, image)
        lines.append(f'{name} id_{label} {"train" if index < NUM_IMAGES else "gallery"}')
    (Path(root) / 'Eval' / 'list_eval_partition.txt').write_text('\n'.join(lines))
    return dict(type='InShop', data_root=str(root), split='train')


def write_multi_task(root, size=32):
    """Images with an annotation file of tasks; some have only one of them, and one none."""
    data_list = []
    Path(root).mkdir()
    for index, (label, image) in enumerate(images(size=size)):
        save(Path(root) / f'{index:03}.png', image)
        labels = dict(shape=label, parity=index % 2)
        for task, left_out in (('shape', (1, 4, 5)), ('parity', (2, 5, 7))):
            if index in left_out:
                del labels[task]
        if index in (0, 8):
            labels['rare'] = index // 8
        data_list.append(dict(img_path=f'{index:03}.png', gt_label=labels))
    content = dict(metainfo=dict(tasks=['shape', 'parity', 'rare']), data_list=data_list)
    (Path(root) / 'train.json').write_text(json.dumps(content))
    return dict(type='MultiTaskDataset', data_root=str(root), ann_file='train.json')


def write_clip(path, patch_size=8, size=32, dims=16):
    """The weights of a tiny CLIP, as the target generators of MILAN and EVA load them."""
    from mmpretrain.models.utils.clip_generator_helper import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIP(dims, size, 1, 64, patch_size, 4, 8, 64, 1, 1, False, 1)
    torch.save(model.state_dict(), path)
    return str(path)


# ------------------------------------------------------------------- configs


def shipped(name):
    """A config that mmpretrain ships, by its path below ``configs``."""
    return Config.fromfile(str(CONFIGS / name))


def visit(node, change):
    """Apply ``change`` to every dictionary of a config, in place."""
    if isinstance(node, dict):
        change(node)
        children = list(node.values())
    else:
        children = node if isinstance(node, (list, tuple)) else ()
    for child in children:
        visit(child, change)


def smaller(num_classes):
    """What becomes of each dictionary of a model."""

    def change(node):
        if isinstance(node.get('num_classes'), int):
            node['num_classes'] = num_classes
        node['type'] = SHRUNK_NORMS.get(node.get('type'), node.get('type'))
        init = node.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            node['init_cfg'] = None
        if node['type'] is None:
            del node['type']

    return change


def shrink(cfg, dataset, work_dir, options=None, num_classes=NUM_CLASSES, max_epochs=2):
    """A shipped config on a tiny data set, with a tiny model and a schedule of two passes.

    Heads, losses, kinds of models, batch augmentations, custom hooks, and the optimizer with what
    it does for each parameter stay as they are.

    Args:
        cfg (Config): The shipped config; not changed.
        dataset (dict): The training dataset, without a pipeline.
        work_dir: Where the run writes.
        options (dict, optional): More changes: values by their dotted paths.
        num_classes (int): The number of classes.
        max_epochs (int): The passes of the schedule.
    """
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    small = common('mmpretrain', work_dir, by_epoch=True)
    kept = ('model', 'data_preprocessor', 'custom_hooks', 'auto_scale_lr', 'find_unused_parameters')
    small.update({key: cfg[key] for key in kept if cfg.get(key) is not None})
    for key in ('model', 'data_preprocessor'):
        visit(small.get(key), smaller(num_classes))
    pipeline = [
        dict(type='LoadImageFromFile'),
        *(step for step in cfg.train_dataloader.dataset.pipeline if step.type in MASKS),
        dict(type='PackInputs'),
    ]
    loader = dict(
        batch_size=BATCH_SIZE,
        num_workers=0,
        drop_last=True,
        sampler=cfg.train_dataloader.sampler,
        dataset=dict(dataset, pipeline=pipeline),
    )
    if dataset['type'] != 'MultiTaskDataset':
        loader['dataset']['serialize_data'] = False  # it collects garbage, for half a second
    if 'collate_fn' in cfg.train_dataloader:
        loader['collate_fn'] = cfg.train_dataloader.collate_fn
    optim = {
        key: value
        for key, value in cfg.optim_wrapper.items()
        if key not in ('loss_scale', 'dtype', 'type')
    }
    optim['optimizer'] = dict(optim['optimizer'], lr=0.01)
    small.update(
        train_dataloader=loader,
        optim_wrapper=dict(optim, type='OptimWrapper'),  # AMP needs a GPU
        train_cfg=dict(cfg.train_cfg, max_epochs=max_epochs, val_interval=max_epochs + 1),
        param_scheduler=dict(
            type='LinearLR',
            start_factor=0.5,
            end=max_epochs,
            by_epoch=True,
            convert_to_iter_based=True,
        ),
    )
    for path, value in (options or {}).items():
        put(small, path, value)
    return config_of(small)


def config_of(content):
    """A config that is logged as it is: bringing it into style takes longer than training it."""
    return Config(content, format_python_code=False)


def put(node, path, value):
    """Put a value in the place of another, with the path as ``--cfg-options`` writes it."""
    *parents, last = [int(key) if key.isdigit() else key for key in path.split('.')]
    for key in parents:
        node = node[key]
    node[last] = value


# --------------------------------------------------------------------- runs


def reseed(number):
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


@torch.no_grad()
def by_rows(loss, args, kwargs, weights):
    """What a loss has to make of weighted samples, from what the toolbox's own loss makes of each
    sample alone: their mean, or that over the masked positions that the samples stand for."""
    kwargs = {key: 1 if key == 'avg_factor' else value for key, value in kwargs.items()}
    total = torch.zeros(())
    args = [arg for arg in args if arg is not None]
    masked = args[2].flatten(1).sum(1) if len(args) > 2 else torch.ones(len(weights))
    for i in masked.nonzero().flatten().tolist():
        row = [arg[i : i + 1] for arg in args]
        total += weights[i] * loss(*row, **kwargs) * masked[i]
    return total / ((weights * masked).sum() / weights.mean())


class Watch(Hook):
    """Give each iteration random numbers of its own, and note what the losses saw.

    Two runs draw the same random numbers in the same iteration, whatever they draw elsewhere.

    Args:
        weights (dict, optional): The state dict to begin with. Defaults to None: as initialized.

    Attributes:
        begin (dict): The state dict at the beginning, without the names of the wrappers.
        end (dict): The same at the end.
        ema (dict, optional): What an ``EMAHook`` averaged, at the end.
        rows (list[dict]): What each iteration trained: ``samples`` (the sums of their pixels),
            ``tasks`` that they have, ``log_vars``, ``members`` (bool [B, B], the samples that each
            mixed row is made of); in a run with InfoBatch also ``indices`` of the sampler,
            ``weights`` that the plan has for them, ``seen`` (what each call of each wrapped loss
            was weighted with), ``losses`` (their classes), ``values`` (what each call gave, beside
            what :func:`by_rows` says), ``mean_weight``, ``pruned``, ``pass``.
    """

    priority = 'LOWEST'

    def __init__(self, weights=None):
        self.begin = weights
        self.rows = []

    def state(self, model):
        return {key: value.clone() for key, value in model.state_dict().items()}

    def start(self, runner):
        """Take over the weights to begin with; called before the other hooks."""
        self.runner = runner
        if self.begin is None:
            self.begin = self.state(runner.model)
            return
        own = runner.model.state_dict()
        for (key, value), ours in zip(self.state(runner.model).items(), own.values()):
            assert value.shape == self.begin[key].shape
            ours.copy_(self.begin[key])

    def before_train_epoch(self, runner):
        reseed(runner.iter)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.row = dict(seen={}, losses={}, values=[], members=None)
        samples = data_batch['data_samples']
        inputs = data_batch['inputs']
        pixels = inputs if len(inputs) == len(samples) else inputs[0]  # not the masks beside them
        self.row['samples'] = [image.double().sum().item() for image in pixels]
        self.row['tasks'] = [list(s.keys()) for s in samples]
        loop = runner.train_loop
        if hasattr(loop, 'schedule'):
            schedule, sampler = loop.schedule, loop.sampler
            here = slice(
                schedule.pass_iter * BATCH_SIZE, schedule.pass_iter * BATCH_SIZE + len(samples)
            )
            indices, weights = sampler.order.indices[here].long(), sampler.order.weights[here]
            self.row.update(
                {
                    'pass': schedule.pass_index,
                    'indices': indices.tolist(),
                    'weights': weights,
                    'mean_weight': sampler.plan.weights.double().mean().float(),
                    'pruned': sampler.plan.pruned,
                }
            )
        self.spy_on_losses(runner.model)
        self.augments = runner.model.data_preprocessor.__dict__.get('batch_augments')
        reseed(1000 + runner.iter)

    def spy_on_losses(self, model):
        self.spies = []
        for name, module in model.named_modules():
            if isinstance(module, InfoBatchLoss):
                self.row['seen'][name] = []
                self.row['losses'][name] = type(module.loss).__name__
                self.spies.append(module.register_forward_hook(self.spy(name), with_kwargs=True))

    def spy(self, name):

        def spy(module, args, kwargs, value):
            weights = module._weights.clone()
            self.row['seen'][name].append(weights)
            if self.row['losses'][name] not in STATEFUL:
                expected = by_rows(module.loss, args, kwargs, weights)
                self.row['values'].append((value.detach(), expected))

        return spy

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for spy in self.spies:
            spy.remove()
        self.row['log_vars'] = {
            key: value.item() if torch.is_tensor(value) else value for key, value in outputs.items()
        }
        self.row['inputs_shape'] = tuple(np.shape(data_batch['inputs'][0]))
        if self.augments is not None:
            self.row['members'] = self.members(self.augments, len(self.row['samples']), runner.iter)
        self.rows.append(self.row)
        reseed(2000 + runner.iter)

    def members(self, augments, count, iteration):
        """Which samples the mixed rows of an iteration are made of, as the pixels of an image
        tell that has one channel a sample: mixed by the toolbox alone, from the same seeds."""
        augments = getattr(augments, 'augment', augments)  # not the recorder's
        reseed(1000 + iteration)
        height, width = self.row['inputs_shape'][-2:]
        marked = torch.eye(count)[:, :, None, None].expand(-1, -1, height, width).clone()
        mixed, _ = augments(marked, torch.eye(count))
        return mixed.mean((2, 3)) > 0

    def after_train(self, runner):
        self.end = self.state(runner.model)
        ema = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        self.ema = self.state(ema[0].module) if ema else {}

    def column(self, key):
        return [row[key] for row in self.rows]


class Begin(Hook):
    """Has a :class:`Watch` take over its weights before all other hooks."""

    priority = 'HIGHEST'

    def __init__(self, watch):
        self.watch = watch

    def before_train(self, runner):
        self.watch.start(runner)


def train(cfg, weights=None, runner_type=Runner):
    """Train, and return what the run did."""
    cfg = config_of(copy.deepcopy(cfg.to_dict()))
    cfg.experiment_name = new_name()
    torch.set_num_threads(1)
    runner = runner_type.from_cfg(cfg)
    watch = Watch(weights)
    runner.register_hook(watch)
    runner.register_hook(Begin(watch))
    runner.train()
    return watch


def expected_weights(row):
    """The weights of an iteration's rows: the product of the members' weights, over the mean
    weight of the pass for each partner."""
    if row['members'] is None or row['pruned'] == 0:
        return row['weights']
    expected = []
    for members in row['members']:
        product = row['weights'][members].prod()
        expected.append(product / row['mean_weight'] if members.sum() == 2 else product)
    return torch.stack(expected)
