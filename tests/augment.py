"""Random augmentation, and what arrives of it: registered here, so that other processes have it."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS


@TRANSFORMS.register_module()
class AllGenerators:
    """Add a number of each global generator to the image: numpy's, Python's and PyTorch's."""

    def __call__(self, results):
        total = np.random.uniform(0, 9) + random.uniform(0, 9) + 9 * torch.rand(()).item()
        results['img'] = (results['img'] * 0.8 + total).astype(results['img'].dtype)
        return results


@HOOKS.register_module()
class Digests(Hook):
    """What the model is handed of each sample: a digest by pass and index.

    Args:
        path (str, optional): Where to write them at the end; ``{rank}`` is filled in.
    """

    def __init__(self, path=None):
        self.path, self.of = path, {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        index = runner.train_loop.schedule.pass_index
        for values, sample in zip(data_batch['inputs'], data_batch['data_samples']):
            data = values.contiguous().numpy().tobytes()
            if 'gt_sem_seg' in sample:
                data += sample.gt_sem_seg.data.numpy().tobytes()
            assert type(sample.sample_idx) is int
            key = f'{index}/{sample.sample_idx}'
            digest = hashlib.sha1(data).hexdigest()
            assert self.of.setdefault(key, digest) == digest

    def after_train(self, runner):
        if self.path is not None:
            rank = torch.distributed.get_rank()
            Path(self.path.format(rank=rank)).write_text(json.dumps(self.of))


def augmented(cfg, seeded=True):
    """The same run with random crops, flips, colours and more, seeded or not."""
    dataset = cfg.train_dataloader.dataset
    if cfg.default_scope == 'mmseg':
        steps = [
            dict(type='RandomCrop', crop_size=(24, 24), cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
        ]
    else:
        steps = [
            dict(type='RandomCrop', crop_size=16, padding=4),
            dict(type='RandomFlip', prob=0.5),
            dict(type='ColorJitter', brightness=0.4, contrast=0.4, backend='cv2'),
        ]
    dataset.pipeline[-1:-1] = [*steps, dict(type='AllGenerators')]
    if seeded:
        cfg.train_dataloader.dataset = dict(type='SeededDataset', dataset=dataset)
    return cfg
