"""mmseg's shipped configs made so small that they train on a CPU in tenths of a second, and the
comparison of such a config with and without InfoBatch."""

import contextlib
import functools
import random
import re
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import mmseg
import numpy as np
import toolbox_runs as runs
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from mm_infobatch import InfoBatchLoss, convert
from mm_infobatch.convert.config_losses import replace_losses
from mm_infobatch.convert.registered import resolve

CONFIGS = Path(mmseg.__file__).parent / '.mim' / 'configs'
NUM_IMAGES, BATCH_SIZE, PASSES = 9, 2, 2  # one image a pass is left over, and dropped
ITERS = NUM_IMAGES // BATCH_SIZE * PASSES
RESNETS = ('ResNet', 'ResNetV1c')
TRANSFORMS = ('GenerateEdge',)  # makes a label that a head needs

# ---------------------------------------------------------------------- data


def write_data(root, size, num_classes, ignored=True):
    """Noisy images of label maps, whose labels and depths are spread evenly from image to image.

    To a network that has learned nothing an image's loss depends on the shares of the classes in
    it, so that the losses are spread too, and some lie below their mean.

    Args:
        root: The folder.
        size (int): The width of the images.
        num_classes (int): Of how many classes the labels are, 2 or 4.
        ignored (bool): Whether two rows are to be ignored. Defaults to True.
    """
    rng = np.random.default_rng(0)
    root = Path(root)
    for name in ('img_dir', 'ann_dir', 'depth_dir'):
        (root / name / 'train').mkdir(parents=True)
    for index in range(NUM_IMAGES):
        labels = np.zeros((size, size), int)
        labels[: size * (index + 1) // (NUM_IMAGES + 2)] = 1
        top, left = rng.integers(0, size - 8, 2)
        labels[top : top + 8, left : left + 4] = 2 % num_classes
        labels[top : top + 4, left + 4 : left + 8] = 3 % num_classes
        image = np.stack([labels * 60, 255 - labels * 50, labels % 2 * 200], 2)
        image = image + rng.normal(0, 10 + 20 * (index % 3), image.shape)
        depth = (300 + 500 * labels) * (1 + index)
        if ignored:
            labels[-2:], depth[-2:] = 255, 0
        name = f'{index}.png'
        runs.save(root / 'img_dir' / 'train' / name, image)
        runs.save(root / 'ann_dir' / 'train' / name, labels)
        runs.Image.fromarray(depth.astype(np.uint16)).save(root / 'depth_dir' / 'train' / name)
    return str(root)


# ------------------------------------------------------------------- configs


@functools.lru_cache(maxsize=None)
def shipped(name):
    """The config of that name, or path, as mmseg ships it; nobody changes it."""
    (path,) = CONFIGS.rglob(name)
    return Config.fromfile(str(path))


def losses_of(cfg):
    """The losses of a config's model, those that a class has by default too.

    Returns:
        set[tuple]: The types of the model and of the head, the head's parameter, with ``[]`` for
        one of a list, and the type of the loss.
    """
    model, found = cfg.model.to_dict(), set()

    def note(loss, path):
        owner, parameter = model, ''
        node = model
        for key in path[1:]:
            if isinstance(node, dict) and 'type' in node:
                owner, parameter = node, ''
            parameter += key if isinstance(key, str) else '[]'
            node = node[key]
        found.add(
            (model['type'], owner['type'], parameter, resolve(loss['type'], 'mmseg').__name__)
        )
        return loss

    replace_losses(model, 'mmseg', note, ('model',))
    return found


def sweep():
    """Shipped configs that have between them every head and loss of all that are shipped.

    A config whose own text names neither a head nor a loss has those of what it inherits from:
    of another shipped config, or of a file in ``_base_/models``, and then one such config is
    enough.

    Yields:
        str: The path of the config below the folder of all.
    """
    seen = set()
    for path in sorted(CONFIGS.rglob('*.py')):
        if '_base_' in path.relative_to(CONFIGS).parts:
            continue
        text = path.read_text()
        models = tuple(sorted(re.findall(r'_base_/models/[\w.-]+', text)))
        if re.search(r'Head\b|Loss\b|loss|Entropy|Decoder\b|Estimator\b', text) or (
            models and models not in seen
        ):
            seen.add(models)
            yield path.relative_to(CONFIGS).as_posix()


def slim(node, divide, key=''):
    """A part of a model's config with every number of channels divided, at most 19 classes, and
    nothing to download.

    A number of channels is what a parameter that ends in ``channels`` or is named ``embed_dims``
    holds, alone or in a sequence; the three of an image stay.
    """
    if isinstance(node, dict):
        node = {name: slim(value, divide, name) for name, value in node.items()}
        node.pop('pretrained', None)
        if (node.get('init_cfg') or {}).get('type') == 'Pretrained':
            node.pop('init_cfg')
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'
        if node.get('type') in RESNETS:
            # 18 layers of plain blocks that are as wide as bottlenecks four times wider
            wider = 4 if node['depth'] >= 50 else 1
            node.update(
                depth=18, base_channels=64 * wider // divide, stem_channels=64 * wider // divide
            )
        return node
    if isinstance(node, (list, tuple)):
        return type(node)(slim(value, divide, key) for value in node)
    if key == 'num_classes':
        return min(node, 19)
    of_channels = key.endswith('channels') or key == 'embed_dims'
    if of_channels and isinstance(node, int) and node != 3:
        return max(node // divide, 1)
    return node


def shallow(backbone, size):
    """A backbone of transformer layers with fewer of them, for images of that size."""
    backbone = dict(backbone)
    if 'num_layers' in backbone and isinstance(backbone['num_layers'], int):
        outputs = backbone.get('out_indices', -1)
        count = len(outputs) if isinstance(outputs, (list, tuple)) else 1
        backbone.update(num_layers=count, img_size=(size, size))
        if 'out_indices' in backbone:
            backbone['out_indices'] = tuple(range(count)) if count > 1 else 0
    for key in ('num_layers', 'depths'):
        if isinstance(backbone.get(key), (list, tuple)):
            backbone[key] = [1] * len(backbone[key])
    return backbone


def small_dataset(node, data_root):
    """A data set's config over our files, below the wrappers that it has."""
    for key in ('dataset', 'datasets'):
        if key in node:
            inner = node[key]
            inner = (
                [small_dataset(one, data_root) for one in inner]
                if key == 'datasets'
                else small_dataset(inner, data_root)
            )
            return dict(node, **{key: inner}, **(dict(times=1) if 'times' in node else {}))
    if node['type'] == 'NYUDataset':
        kind = dict(type='NYUDataset', depth_map_suffix='.png')
        labels = dict(type='LoadDepthAnnotation', depth_rescale_factor=1e-3)
        prefix = dict(depth_map_path='depth_dir/train')
    else:
        kind, labels = dict(type='BaseSegDataset'), dict(type='LoadAnnotations')
        prefix = dict(seg_map_path='ann_dir/train')
    kept = [step for step in node.get('pipeline', []) if step['type'] in TRANSFORMS]
    return dict(
        **kind,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/train', **prefix),
        img_suffix='.png',
        serialize_data=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            labels,
            *kept,
            dict(type='PackSegInputs', meta_keys=('sample_idx', 'img_path', 'ori_shape')),
        ],
    )


def shrink(cfg, data, work_dir, size=32, divide=8, num_classes=4, ignored=True, change=None):
    """A shipped config that trains two passes over nine small images, in batches of two.

    What the heads, their losses and pixel samplers, the model and the optimizer are stays as
    shipped, and so does the sampler; the numbers of channels, layers and classes, the data, the
    augmentations and the schedule do not.

    Args:
        cfg (Config): The shipped config; it is not changed.
        data (callable): From the arguments of :func:`write_data` to the folder that has them.
        work_dir: Where the runs write.
        size (int): The width of the images. Defaults to 32.
        divide (int): By what the numbers of channels are divided; 1 for backbones that can only
            be had as they are. Defaults to 8.
        num_classes (int): Of how many classes the labels are, 2 or 4. Defaults to 4.
        ignored (bool): Whether two rows are to be ignored. Defaults to True.
        change (callable, optional): Changes the config of the model, in place.
    """
    cfg = cfg.to_dict()
    model = slim(cfg['model'], divide)
    model['backbone'] = shallow(model['backbone'], size)
    model['data_preprocessor']['size'] = (size, size)
    if change is not None:
        change(model)
    dataloader = dict(cfg['train_dataloader'])
    dataloader.pop('persistent_workers', None)
    dataloader.update(
        batch_size=BATCH_SIZE,
        num_workers=0,
        dataset=small_dataset(dataloader['dataset'], data(size, num_classes, ignored)),
    )
    optim = dict(cfg['optim_wrapper'])
    if optim.get('type') == 'AmpOptimWrapper':  # needs a device
        optim = dict(optim, type='OptimWrapper')
        optim.pop('loss_scale', None)
    small = runs.common('mmseg', work_dir, by_epoch=False)
    small.update(
        model=model,
        train_dataloader=dataloader,
        optim_wrapper=optim,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=ITERS, val_interval=ITERS),
        param_scheduler=[
            dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=ITERS, by_epoch=False)
        ],
        custom_hooks=cfg.get('custom_hooks', []),
        log_level='ERROR',
    )
    return Config(small)


def baseline_of(cfg):
    """The config without InfoBatch, on a sampler of the same order as InfoBatch's."""
    cfg = runs.copy_of(cfg)
    if cfg.train_dataloader.sampler.type == 'InfiniteSampler':
        cfg.train_dataloader.drop_last = True
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    return cfg


# --------------------------------------------------------------------- runs


@MODELS.register_module()
class StandIn(BaseModule):
    """A backbone of one convolution an output, in place of one that cannot run here.

    Args:
        channels (Sequence[int]): The channels of the outputs.
        strides (Sequence[int]): Their strides.
    """

    def __init__(self, channels, strides):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3, count, 2 * stride + 1, stride, stride)
            for count, stride in zip(channels, strides)
        )

    def forward(self, inputs):
        return [conv(inputs).relu() for conv in self.convs]


class Watch(Hook):
    """Start from given weights, draw the same random numbers in an iteration as another run does
    in it, and keep what the run did.

    Args:
        state (dict, optional): The weights to start from.
        take_apart (bool): Whether to compare the losses with their terms. Defaults to False.
        own_value (bool): Whether weights of 1 have to give the wrapped losses' own values, as they
            do but with ``per_image=True``. Defaults to True.
    """

    priority = 'VERY_HIGH'

    def __init__(self, state=None, take_apart=False, own_value=True):
        self.initial, self.take_apart, self.own_value = state, take_apart, own_value
        self.rows, self.called, self.plans = [], [], []
        self.scores_of = {}  # of each loss, the scores of each of its calls

    def before_train(self, runner):
        model = runner.model
        if self.initial is not None:
            model.load_state_dict(self.initial)
        self.initial = {key: value.clone() for key, value in model.state_dict().items()}
        self.losses = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, InfoBatchLoss)
        }
        for name, module in self.losses.items():
            module.register_forward_hook(
                lambda module, args, kwargs, value, name=name: self.check_loss(
                    name, module, args, kwargs, value
                ),
                with_kwargs=True,
            )

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        random.seed(runner.iter)
        np.random.seed(runner.iter)
        torch.manual_seed(runner.iter)
        self.called.append({})
        sampler = runner.train_loop.dataloader.sampler
        self.plans.append(getattr(sampler, 'plan', None))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rows.append({key: value.item() for key, value in outputs.items()})

    def after_train(self, runner):
        self.runner = runner
        self.state = runner.model.state_dict()
        self.scores = getattr(runner.train_loop.dataloader.sampler, 'scores', None)

    def check_loss(self, name, module, args, kwargs, value):
        """A wrapped loss is the sum over the samples of weight times a term of that sample."""
        if kwargs.get('reduction_override') == 'none':
            return  # a pixel sampler that asks which pixels are hard
        before, weights = dict(vars(module)), module._weights
        assert weights is not None and len(weights) == BATCH_SIZE
        self.called[-1].setdefault(name, []).append(weights.tolist())
        if module.score:
            self.scores_of.setdefault(name, []).append(module._evaluations[-1].scores)
        if not self.take_apart:
            return
        if self.own_value:
            check_repetition(module, args, kwargs)
        terms = []
        for row in range(BATCH_SIZE):
            with torch.enable_grad():
                pred = args[0].detach().requires_grad_()
                module.begin_batch(torch.eye(BATCH_SIZE)[row])
                term = module.forward(pred, *args[1:], **kwargs)
                (grad,) = torch.autograd.grad(term, pred)
            others = torch.arange(len(pred)) != row
            assert not grad[others].any(), f'the term of sample {row} of {name} is of others too'
            terms.append(term.detach())
        with torch.no_grad():
            own = module.loss(*args, **kwargs) if self.own_value else sum(terms)
        if type(module.loss).__name__ != 'BoundaryLoss':  # whose balance follows the weights
            torch.testing.assert_close(
                value.detach(), put_together(terms, own, weights), rtol=1e-4, atol=1e-5
            )
        vars(module).update(before)


def put_together(terms, own, weights):
    """The loss of a weighted batch of two samples, from what each is alone in it.

    Where the loss divides by a count of the batch, V, a sample that has all the weight is alone
    S / (2 V), and the shares of V follow from the loss's own value.
    """
    if torch.allclose(sum(terms), own, rtol=1e-4, atol=1e-5):
        return sum(w * t for w, t in zip(weights, terms))
    first, second = (2 * term for term in terms)
    share = (own - second) / (first - second)
    assert -1e-3 <= share <= 1 + 1e-3, 'its own value lies between those of its samples'
    counts = weights * torch.stack([share, 1 - share])
    return (counts * torch.stack([first, second])).sum() / counts.sum() * weights.mean()


def check_repetition(module, args, kwargs):
    """A sample of weight 2 is the sample twice in the batch."""
    rows, batch = torch.tensor([0, 1, 1]), len(args[0])

    def repeated(value):
        of_batch = isinstance(value, torch.Tensor) and value.ndim and len(value) == batch
        return value[rows] if of_batch else value

    with torch.no_grad():
        own = module.loss(
            *map(repeated, args), **{key: repeated(value) for key, value in kwargs.items()}
        )
        module.begin_batch(torch.tensor([1.0, 2.0]))
        ours = module.forward(*args, **kwargs)
    if 'avg_factor' not in kwargs:
        torch.testing.assert_close(ours, 1.5 * own, rtol=1e-4, atol=1e-5)


@contextlib.contextmanager
def quiet():
    """Without the pause of two seconds in the stock loop, threads, and configs written nicely."""
    torch.set_num_threads(1)
    with mock.patch(
        'mmengine.runner.loops.time', SimpleNamespace(sleep=lambda seconds: None)
    ), mock.patch.object(Config, 'pretty_text', ''):
        yield


def train(cfg, watch):
    """Train a config and return what the hook saw."""
    cfg = runs.copy_of(cfg)
    cfg.experiment_name = runs.new_name()
    with quiet():
        runner = Runner.from_cfg(cfg)
        runner.register_hook(watch)
        runner.train()
    return watch


def check(cfg, same=True, **options):
    """Train a shrunk config as it is, converted with nothing to prune, and converted.

    Without pruning each iteration has to log the same numbers, bit for bit, and the run has to end
    at the same parameters. With pruning, the second pass has to skip samples, losses have to be
    finite and the weights have to reach the right samples of every wrapped loss.

    Args:
        cfg (Config): The shrunk config.
        same (bool): Whether the converted config trains the same loss; ``per_image=True`` may not.
            Defaults to True.
        options: More options of ``convert``.

    Returns:
        tuple: What the three runs did.
    """
    stock = train(baseline_of(cfg), Watch())
    kept = train(convert(cfg, prune_ratio=0, delta=1, **options), Watch(stock.initial))
    pruned = train(
        convert(cfg, prune_ratio=0.5, delta=1, **options),
        Watch(stock.initial, take_apart=True, own_value=same),
    )
    assert len(stock.rows) == cfg.train_cfg.max_iters
    if same:
        for index, rows in enumerate(zip(kept.rows, stock.rows)):
            assert rows[0] == rows[1], f'iteration {index}: {rows[0]}, but it was {rows[1]}'
        assert len(kept.rows) == len(stock.rows)
        runs.assert_same_state(kept.state, stock.state)
    check_pruned(pruned)
    return stock, kept, pruned


def check_pruned(run):
    """Check a run of two passes, of which the second prunes."""
    per_pass = len(run.scores.values) // BATCH_SIZE
    plan = run.plans[-1]
    assert run.plans[0].pruned == 0 and plan.pruned > 0, run.scores.values
    assert len(run.rows) == per_pass + plan.kept // BATCH_SIZE
    assert all(np.isfinite(value) for row in run.rows for value in row.values()), run.rows
    assert run.losses
    assert all(called.keys() == run.losses.keys() for called in run.called)
    handed_out = [sum(called.values(), []) for called in run.called]  # [iteration][call][sample]
    assert all(weights == [1, 1] for calls in handed_out[:per_pass] for weights in calls)
    assert max(max(weights) for calls in handed_out[per_pass:] for weights in calls) > 1
    seen = ~torch.isnan(run.scores.values)
    assert seen.sum() >= per_pass * BATCH_SIZE and run.scores.values[seen].isfinite().all()
