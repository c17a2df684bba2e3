"""Builds what a run would build, and takes some steps of it on drawn data."""

import contextlib
import io
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mm_infobatch.cli import parse_args, train
from mm_infobatch.cli.common import fill_dataloaders, load_config
from mm_infobatch.cli.launch import find_sync_bn
from mm_infobatch.policies.score_file import ScoreFile, write_score_file
from mm_infobatch.scoring.classifier import build_model

from . import ROOT
from .jobs import Job, Places
from .settings import arguments
from .spec import SCORES_FILE, Arm

# Four batches a pass, of which one can be pruned, and one step of the second pass.
BATCHES, STEPS = 4, 5
# What a CPU takes in seconds: the same model on less of each image.
SMALL_CROP, SMALL_BATCH = (128, 128), 2


class Built(NamedTuple):
    """A config as ``tools/train.py`` makes it of a run's arguments, and a line about it."""

    cfg: Config
    note: str


class Steps(NamedTuple):
    """Some steps that were taken.

    Attributes:
        text: Of what, the losses, and what is pruned.
        seconds: How long one took, without loading its batch; None where it was less than a step of
            the run, on a CPU with small crops.
    """

    text: str
    seconds: Optional[float]


class _Enough(Exception):
    """Raised to end a run after some steps."""


class _Stop(Hook):
    """Notes loss and time of each step and what is pruned, and ends the run after some of them."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.losses: List[float] = []
        self.seconds: List[float] = []
        self.pruned: Optional[int] = None
        self._began = 0.0

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Note when a step begins, its batch being there."""
        self._began = time.perf_counter()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count a step."""
        self.losses.append(float(outputs['loss']))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._began)
        plan = getattr(getattr(runner.train_loop, 'sampler', None), 'plan', None)
        self.pruned = None if plan is None else plan.pruned
        if len(self.losses) == STEPS:
            raise _Enough


def make_config(run: Dict[str, Any], extra: Optional[List[str]] = None) -> Config:
    """Make the config of a run through the argument parser of ``train.py``.

    Args:
        run (dict): What ``settings.settings`` gave.
        extra (list[str], optional): More ``key=value`` pairs.

    Raises:
        UsageError: If an option does not fit the config.
    """
    if 'scores' in run:  # which are not there yet, and are read when the config is converted
        with tempfile.TemporaryDirectory() as folder:
            write_score_file(Path(folder) / SCORES_FILE, ScoreFile(np.zeros(1, np.float32)))
            return _make_config(run, folder, extra)
    return _make_config(run, tempfile.gettempdir(), extra)


def _make_config(run: Dict[str, Any], work_dir: str, extra: Optional[List[str]]) -> Config:
    rest = arguments(run, work_dir, extra=extra)
    if get_device() == 'cpu':  # where mixed precision is refused, which is no fault of the plan
        rest = [each for each in rest if each != '--amp']
    args = parse_args(['train', str(ROOT / run['config']), *rest])
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')  # of the toolboxes, while they are imported
        import mmpretrain.utils
        import mmseg.utils

        for toolbox in (mmseg, mmpretrain):
            toolbox.utils.register_all_modules(False)
        return train.apply_args(load_config(args), args)


def build_config(run: Dict[str, Any], extra: Optional[List[str]] = None) -> Built:
    """Make the config of a run, and build its model and optimizer.

    Args:
        run (dict): What ``settings.settings`` gave.
        extra (list[str], optional): More ``key=value`` pairs.

    Returns:
        Built: The config, without the weights to start from, which would have to be fetched.
    """
    cfg = make_config(run, extra)
    weights = cfg.model.get('pretrained')
    if weights:
        cfg.model.pretrained = None
    with warnings.catch_warnings(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        warnings.simplefilter('ignore')
        model = build_model(cfg) if cfg.default_scope == 'mmpretrain' else MODELS.build(cfg.model)
        build_optim_wrapper(model, cfg.optim_wrapper)
    count = sum(each.numel() for each in model.parameters())
    length = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs
    unit = 'iterations' if 'max_iters' in cfg.train_cfg else 'epochs'
    sampler = cfg.train_dataloader.sampler
    policy = f', {sampler.policy.type}' if sampler.type == 'InfoBatchSampler' else ''
    note = (
        f'{cfg.model.type} with {count / 1e6:.1f} M parameters, '
        f'{cfg.optim_wrapper.optimizer.type}, {length:,} {unit}{policy}'
    )
    return Built(cfg, note + (f', starts from {weights}' if weights else ''))


def some_steps(built: Built, drawn: str, full_size: bool = False) -> Steps:
    """Take some steps of a segmentor on files in the layout of ADE20K.

    On a CPU crops and batches are small unless ``full_size``; all else is as configured, but the
    weights it would start from and the names of the folders. There are four batches a pass, so that
    the last step is of a pass that can prune one of them.

    Args:
        built (Built): What :func:`build_config` gave.
        drawn (str): The layout: 'ade20k'.
        full_size (bool): Whether to take crops and batches as configured. Defaults to False.

    Returns:
        Steps: Losses, what the second pass pruned, and the time of the fastest step.

    Raises:
        ValueError: If the layout is unknown.
    """
    if drawn != 'ade20k':
        raise ValueError(f'drawn={drawn!r}: only ade20k can be drawn')
    cfg = Config(built.cfg.to_dict())
    small = get_device() == 'cpu' and not full_size
    loader = cfg.train_dataloader
    if small:
        loader.batch_size = SMALL_BATCH
        cfg.model.data_preprocessor.size = SMALL_CROP
        for step in loader.dataset.pipeline:
            if step.type == 'RandomCrop':
                step.crop_size = SMALL_CROP
            elif step.type == 'RandomResize':
                step.scale = (4 * SMALL_CROP[0], SMALL_CROP[0])
    with tempfile.TemporaryDirectory() as folder:
        counts = {'training': BATCHES * loader.batch_size, 'validation': 1}
        draw = [sys.executable, str(ROOT / 'tools/dataset_converters/make_segmentation_data.py')]
        draw += [f'{folder}/data', '--train', str(counts['training']), '--val', '1']
        subprocess.run([*draw, '--size', '256', '320'], check=True, stdout=subprocess.DEVNULL)
        loader.dataset.data_root = str(Path(folder) / 'data')
        loader.dataset.data_prefix = dict(
            img_path='images/training', seg_map_path='annotations/training'
        )
        loader.num_workers = 0
        fill_dataloaders(cfg, 'train_dataloader')
        for _, layer in find_sync_bn(cfg.model):
            layer['type'] = 'BN'
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
        cfg.work_dir, cfg.log_level = str(Path(folder) / 'run'), 'ERROR'
        cfg.experiment_name = cfg.visualizer.name = uuid.uuid4().hex
        stop = _Stop()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            runner = Runner.from_cfg(cfg)
            runner.register_hook(stop)
            try:
                runner.train()
            except _Enough:
                pass
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    size = cfg.model.data_preprocessor.size
    text = f'{STEPS} steps of {loader.batch_size} crops of {size[0]}x{size[1]}: loss ' + ', '.join(
        f'{each:.3f}' for each in stop.losses
    )
    if stop.pruned is not None:
        text += f'; the second pass prunes {stop.pruned} of {counts["training"]}'
    return Steps(text, None if small else min(stop.seconds))


def build_all(jobs: List[Job], places: Places, steps: bool = True, full_size: bool = False) -> int:
    """Build the config, the model and the optimizer of each arm, and say what they are.

    Args:
        jobs (list[Job]): Of each arm the first one is built.
        places (Places): Where they would train.
        steps (bool): Whether to take some steps of those whose data can be drawn. Defaults to
            True.
        full_size (bool): Whether these are of full crops and batches on a CPU, too. Defaults to
            False.

    Returns:
        int: How many cannot be built.
    """
    failed = 0
    print('\nbuilding:')
    for job in {(job.arm.owner, job.arm.name): job for job in reversed(jobs)}.values():
        label = f'{job.arm.owner}/{job.arm.name}'
        try:
            built = build_config(places.settings(job), places.cfg_options)
            print(f'  {label}: {built.note}', flush=True)
            if job.arm.drawn is not None and steps:
                taken = some_steps(built, job.arm.drawn, full_size)
                print(f'    {taken.text}', flush=True)
                if taken.seconds is not None:
                    print(f'    {hours(job.arm, built.cfg, taken.seconds)}', flush=True)
        except Exception as error:  # any error is a result of the plan
            failed += 1
            print(f'  {label}: cannot be built: {type(error).__name__}: {error}')
    print(f'{failed} of them cannot be built' if failed else 'all can be built')
    return failed


def hours(arm: Arm, cfg: Config, seconds: float) -> str:
    """What a run of iterations will take, as far as steps on drawn data tell.

    Args:
        arm (Arm): Whose ``expected_saving`` makes it shorter.
        cfg (Config): The config of the run.
        seconds (float): Of one step.
    """
    iterations = cfg.train_cfg.max_iters
    if cfg.train_cfg.get('budget') != 'iterations':
        iterations = round(iterations * (1 - (arm.expected_saving or 0)))
    return (
        f'{seconds:.2f} s a step here: {iterations:,} iterations take about '
        f'{iterations * seconds / 3600:.1f} h, and what loading cannot keep up with, '
        'validation and other GPUs cost'
    )
