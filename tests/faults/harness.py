"""Trainings that are killed: real processes of ``mm-infobatch train``, and what they left behind.

The processes are those of ``warm_start``, so that one starts in milliseconds.
"""

import json
import os
import random
import time
from pathlib import Path

import toolbox_runs as runs
import torch
import warm_start
from mmengine.dist import get_rank
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from small_runner import small_runner
from warm_start import PATIENCE, ROOT, train_main

PATHS = [str(ROOT / 'tests' / 'faults'), *warm_start.PATHS]


# ------------------------------------------------------------------ what the runs have in them


def stall(marker):
    """Say that the moment has come, and wait to be killed."""
    Path(f'{marker}.part').write_text('')
    os.replace(f'{marker}.part', marker)
    time.sleep(PATIENCE)


@register_backend('StallingBackend')
class StallingBackend(LocalBackend):
    """Write as mmengine does, but come to a halt within or after one file.

    Args:
        file (str): Which one: the end of its path.
        share (float): How much of it is on the disk then; 1 is all of it.
        marker (str): The file that says so.
    """

    def __init__(self, file, share, marker):
        self.file, self.share, self.marker = file, share, marker

    def put(self, obj, filepath):
        if not str(filepath).endswith('/' + self.file):
            return super().put(obj, filepath)
        with open(filepath, 'wb') as file:
            file.write(obj[: round(self.share * len(obj))])
            file.flush()
            stall(self.marker)


@HOOKS.register_module()
class StallHook(Hook):
    """Come to a halt around an iteration, on one rank.

    Args:
        at (int): The iteration.
        where (str): 'before' or 'after' it; by the priority, before or after other hooks.
        marker (str): The file that says so.
        report (bool): Halt where infobatch.json is written next, with half of it written.
        halt (bool): Whether to halt, or only to say that the moment has come.
        rank (int): Which one.
    """

    def __init__(self, at, where, marker, report=False, halt=True, rank=0):
        self.at, self.where, self.marker, self.report = at, where, marker, report
        self.rank = rank
        self.stall = stall if halt else lambda marker: Path(marker).write_text('')

    def before_train(self, runner):
        if self.report:
            (hook,) = (hook for hook in runner.hooks if hasattr(hook, 'before_train_pass'))
            hook._report.write = self.spy_on(runner, hook._report)

    def spy_on(self, runner, report):
        write = report.write

        def spy(path):
            if runner.iter < self.at:
                return write(path)
            write(path + '.whole')
            content = Path(path + '.whole').read_text()
            Path(path + '.tmp').write_text(content[: len(content) // 2])
            self.stall(self.marker)

        return spy

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.where == 'before' and runner.iter == self.at and get_rank() == self.rank:
            self.stall(self.marker)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.where == 'after' and runner.iter == self.at and get_rank() == self.rank:
            self.stall(self.marker)


@HOOKS.register_module()
class LossRecorder(Hook):
    """Keep the loss of each sample, as the score table will have it, one file a start and rank."""

    priority = 'LOWEST'

    def __init__(self, path):
        self.path = path

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        (hook,) = (hook for hook in runner.hooks if hasattr(hook, 'before_train_pass'))
        running = hook._pass
        if 'add' not in vars(running):
            running.add = self.spy_on(runner, running)

    def spy_on(self, runner, running):
        add = running.add

        def spy(losses):
            names = running.indices(len(losses))
            with open(self.path.format(rank=get_rank()), 'a') as file:
                index, values = runner.train_loop.schedule.pass_index, losses.double().tolist()
                file.write(json.dumps([index, names, values]) + '\n')
            add(losses)

        return spy


# ------------------------------------------------------------------------------- processes


def train_lengths(cases, folder):
    """Train small models one after another, and write what each pass was and how long.

    Args:
        cases (list[tuple]): The number of samples, ``drop_last``, and the loop's config.
        folder (str): Where to write ``<rank>.json``: a list a case of lists of the iterations
            done, the indices and the weights when a pass began, and at last the iterations.
    """
    if 'WORLD_SIZE' in os.environ:
        torch.distributed.init_process_group('gloo')
    rank, done = get_rank(), []
    for number, (length, drop_last, train_cfg) in enumerate(cases):
        runner = small_runner(
            f'{folder}/{number}',
            dict(train_cfg),
            length,
            dict(delta=0.6, seed=1),
            drop_last,
            cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),
        )
        hook = PassRecorder()
        runner.register_hook(hook, 'LOWEST')
        runner.train()
        done.append([*hook.passes, runner.iter])
    Path(folder, f'{rank}.json').write_text(json.dumps(done))


class PassRecorder(Hook):
    """Keep each pass: the iterations done when it began, its indices and its weights."""

    def __init__(self):
        self.passes, self.index = [], None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        loop = runner.train_loop
        if loop.schedule.pass_index != self.index:
            self.index, plan = loop.schedule.pass_index, loop.sampler.plan
            self.passes.append([runner.iter, plan.indices.tolist(), plan.weights.tolist()])


class Ranks(warm_start.Ranks):
    """The processes of one start, which find the modules of this folder too."""

    def __init__(self, function, args, world_size, folder):
        super().__init__(function, args, world_size, folder, paths=PATHS)


class Training:
    """A run of ``mm-infobatch train``, started as often as it takes.

    Args:
        cfg (Config): Its config.
        work_dir (Path): Where it trains.
    """

    def __init__(self, cfg, work_dir):
        self.cfg, self.work_dir = runs.copy_of(cfg), Path(work_dir)
        self.cfg.work_dir = str(work_dir)
        self.starts = 0

    @property
    def notes(self):
        """Path: What the starts wrote about themselves."""
        return self.work_dir / 'starts'

    def start(self, *args, world_size=1, moment=None):
        """Start it; a moment brings it to a halt.

        Returns:
            tuple[Ranks, Path]: Its processes, and the marker of the moment.
        """
        cfg = runs.copy_of(self.cfg)
        marker = self.notes / f'{self.starts}.here'
        self.notes.mkdir(parents=True, exist_ok=True)
        cfg.custom_imports = dict(imports=['mm_infobatch', 'harness'], allow_failed_imports=False)
        cfg.custom_hooks = [
            *cfg.custom_hooks,
            dict(
                type='Recorder',
                path=str(self.notes / f'{self.starts}.rank{{rank}}.jsonl'),
                priority='LOW',
            ),  # before a checkpoint is written
            dict(type='LossRecorder', path=str(self.notes / f'{self.starts}.rank{{rank}}.losses')),
        ]
        if moment is not None:
            bring_to_a_halt(cfg, moment, str(marker))
        path = self.notes / f'{self.starts}.py'
        cfg.dump(path)
        argv = [str(path), '--work-dir', str(self.work_dir), *args]
        if world_size > 1:
            argv += ['--launcher', 'pytorch']
        self.starts += 1
        return Ranks(train_main, (argv,), world_size, self.notes), marker

    def finish(self, *args, world_size=1):
        """Start it, and see it end well."""
        ranks, _ = self.start(*args, world_size=world_size)
        codes = ranks.wait()
        assert codes == [0] * world_size, ranks.said()
        return self

    def killed(self, moment, *args, world_size=1):
        """Start it, and kill every process at the moment."""
        ranks, marker = self.start(*args, world_size=world_size, moment=moment)
        came = ranks.wait_for(marker)
        if came and 'seconds' in moment:
            time.sleep(moment['seconds'])
        ranks.kill()
        assert came, f'{moment} never came:\n{ranks.said()}'
        if moment.get('empties'):
            # mmengine opens last_checkpoint for writing, then writes it: killed in between
            (self.work_dir / 'last_checkpoint').write_text('')
        return self

    def rows(self, rank=0):
        """What each start did on a rank, a list of iterations each."""
        return [self.lines(f'{start}.rank{rank}.jsonl') for start in range(self.starts)]

    def losses(self, start, rank=0):
        """``[pass, indices, losses]`` of each iteration of a start."""
        return self.lines(f'{start}.rank{rank}.losses')

    def lines(self, name):
        path = self.notes / name
        text = path.read_text() if path.exists() else ''
        return [json.loads(line) for line in text.splitlines(True) if line.endswith('\n')]

    @property
    def last(self):
        """dict: The last checkpoint."""
        path = (self.work_dir / 'last_checkpoint').read_text()
        if not path:  # emptied in the run's last write, after which there was none to make
            paths = self.work_dir.glob('iter_*.pth')
            path = max(paths, key=lambda path: int(path.stem.split('_')[1]))
        return torch.load(path, weights_only=False)

    @property
    def log(self):
        return runs.log_of(self.work_dir)


def bring_to_a_halt(cfg, moment, marker):
    """Write a moment into a config."""
    kind, at = moment['kind'], moment['at']
    if kind == 'write':
        hooks = [cfg.default_hooks.checkpoint, *cfg.custom_hooks]
        for hook in hooks:
            if hook['type'] == 'CheckpointHook':
                hook['backend_args'] = dict(
                    backend='StallingBackend', file=at, share=moment['share'], marker=marker
                )
    else:
        cfg.custom_hooks.append(
            dict(
                type='StallHook',
                at=at,
                where=dict(before='before', time='before', within='after', after='after').get(kind),
                report=kind == 'report',
                halt=kind != 'time',
                rank=moment.get('rank', 0),
                marker=marker,
                priority='VERY_HIGH' if kind == 'within' else 'LOWEST',
            )
        )


# ------------------------------------------------------------------------------ comparison


def differences(left, right, path=''):
    """Where two trees of tensors and plain values differ; NaN equals NaN."""
    if torch.is_tensor(left) and torch.is_tensor(right):
        same = (
            left.dtype == right.dtype
            and left.shape == right.shape
            and torch.equal(left.isnan(), right.isnan())
            and torch.equal(left[~left.isnan()], right[~right.isnan()])
        )
        return [] if same else [f'{path}: tensors {list(left.shape)} and {list(right.shape)}']
    if isinstance(left, dict) and isinstance(right, dict):
        if left.keys() != right.keys():
            return [f'{path}: the keys {sorted(map(str, left.keys() ^ right.keys()))}']
        return [
            found for key in left for found in differences(left[key], right[key], f'{path}/{key}')
        ]
    if isinstance(left, (list, tuple)) and type(left) is type(right) and len(left) == len(right):
        return [
            found
            for index, (a, b) in enumerate(zip(left, right))
            for found in differences(a, b, f'{path}/{index}')
        ]
    same = left == right or (left != left and right != right)  # noqa: PLR0124
    return [] if same else [f'{path}: {left!r} and {right!r}']


def timeless(node):
    """A copy of records or reports without what a clock has measured."""
    if isinstance(node, dict):
        return {
            key: timeless(value)
            for key, value in node.items()
            if key not in ('seconds', 'seconds_choosing')
        }
    return [timeless(value) for value in node] if isinstance(node, list) else node


def assert_same(left, right, path):
    found = differences(left, right, path)
    assert not found, 'they differ: ' + '; '.join(found)


def assert_ends_as(training, whole, world_size=1):
    """A run that was killed did, and ended with, what the whole one did."""
    for rank in range(world_size):
        (expected,) = whole.rows(rank)
        expected = {row['iter']: timeless_row(row) for row in expected}
        done = set()
        for rows in training.rows(rank):
            for row in rows:
                path = f'rank {rank}, iteration {row["iter"]}'
                assert_same(timeless_row(row), expected[row['iter']], path)
                done.add(row['iter'])
        assert_same(sorted(done), sorted(expected), f'rank {rank}, iterations')
    ours, theirs = training.last, whole.last
    for key in ('state_dict', 'optimizer', 'param_schedulers', 'infobatch'):
        assert_same(timeless(ours[key]), timeless(theirs[key]), key)
    for key in ('iter', 'epoch'):
        assert_same(ours['meta'][key], theirs['meta'][key], f'meta/{key}')
    reports = [timeless(runs.report_of(run.work_dir)) for run in (training, whole)]
    assert_same(*reports, 'infobatch.json')


def timeless_row(row):
    return {key: value for key, value in row.items() if key != 'collectives'}


# ---------------------------------------------------------------------------------- moments


def draw_moments(seed, count, checkpoints, iterations):
    """Moments at which to kill: half around an iteration, half in or after a checkpoint's write.

    Args:
        seed (int): The seed of the generator.
        count (int): How many; 20 or more for every kind.
        checkpoints (list[str]): The names of the checkpoints that the run writes.
        iterations (int): How many iterations it makes.

    Returns:
        list[dict]: The moments, in the order of drawing.
    """
    generator = random.Random(seed)
    moments = []
    for number in range(count):
        if number % 2 == 0:
            kind = ('before', 'within', 'after', 'time', 'report')[number // 2 % 5]
            at = generator.randrange(iterations)
            moment = dict(kind=kind, at=at)
            if kind == 'time':
                # Whatever runs then: a clock, not the program, chooses.
                moment = dict(kind='time', at=0, seconds=generator.uniform(0, 1))
        else:
            share = generator.random()
            moment = dict(kind='write', at=generator.choice(checkpoints), share=share)
            if number % 10 == 1:
                moment.update(at=checkpoints[0])
            if number % 10 == 7:
                moment.update(share=1.0)
            if number % 10 == 9:
                moment.update(share=1.0, empties=True)
        moments.append(moment)
    return moments
