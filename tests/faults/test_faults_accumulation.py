"""Accumulated gradients go on exactly where no group is open, and have full groups to any end."""

import json
import os
from pathlib import Path

import pytest
import test_resume
import toolbox_runs as runs
import torch
from harness import Ranks
from mmengine.dist import get_rank
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from small_runner import Classifier, small_runner
from test_resume import assert_goes_on

pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
    # Schedulers by iteration step before the first group is full, in stock runs too.
    pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step'),
]
EPOCHS = dict(type='InfoBatchEpochLoop', max_epochs=5)
ITERS = dict(type='InfoBatchIterLoop', max_iters=15, val_interval=1000)


def case(name, holds):
    return pytest.mark.case('Accumulated gradients', name, holds)


# -------------------------------------------------------------------------- exact resumes


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Runs that nobody has interrupted, made when they are asked for."""
    made = {}

    def get(kind, counts):
        if (kind, counts) not in made:
            folder = tmp_path_factory.mktemp(f'{kind}-{counts}')
            seg = kind == 'segmentation'
            write = runs.write_segmentation_data if seg else runs.write_classification_data
            config = test_resume.seg_config if seg else test_resume.cls_config
            cfg = config(write(folder / 'data'), str(folder / 'run'))
            cfg.optim_wrapper.accumulative_counts = counts
            made[kind, counts] = test_resume.whole_run(cfg)
        return made[kind, counts]

    return get


@pytest.mark.runs
@case('classification, checkpoint by epoch, groups of {counts} iterations', 'goes on bit for bit')
@pytest.mark.parametrize('counts', [pytest.param(2, marks=pytest.mark.faults), 3])
@pytest.mark.parametrize(
    'epoch',
    [pytest.param(each, marks=() if each == 2 else pytest.mark.faults) for each in range(1, 6)],
)
def test_a_run_that_accumulates_goes_on_from_an_epoch(whole, tmp_path, counts, epoch):
    run = whole('classification', counts)
    cfg = runs.resumed(run.cfg, f'{run.work_dir}/epoch_{epoch}.pth', tmp_path)
    assert_goes_on(runs.train(cfg), run, sum(run.steps[:epoch]))


@pytest.mark.runs
@case(
    'segmentation, checkpoint by iteration, after whole groups of {counts} iterations',
    'goes on bit for bit',
)
@pytest.mark.parametrize('counts', [pytest.param(3, marks=pytest.mark.faults), 4])
def test_a_run_that_accumulates_goes_on_from_the_end_of_a_group(whole, tmp_path, counts):
    run = whole('segmentation', counts)
    for done in range(counts, run.count, counts):
        cfg = runs.resumed(run.cfg, f'{run.work_dir}/iter_{done}.pth', tmp_path / str(done))
        assert_goes_on(runs.train(cfg), run, done)


def test_the_control_within_a_group_does_not_go_on_bit_for_bit(whole, tmp_path):
    """Its gradients are not in the checkpoint: the samples are the same, the parameters not."""
    run = whole('segmentation', 4)
    cfg = runs.resumed(run.cfg, f'{run.work_dir}/iter_6.pth', tmp_path)
    resumed = runs.train(cfg)
    assert resumed.column('indices')[:3] == run.recorder.column('indices')[6:9]
    assert resumed.column('loss')[:2] == run.recorder.column('loss')[6:8]
    assert resumed.column('loss')[2] != run.recorder.column('loss')[8]


# ------------------------------------------------------ other ranks, and other batch sizes


@OPTIM_WRAPPERS.register_module()
class NotedOptimWrapper(OptimWrapper):
    """Keep by what the loss of each iteration is divided, in a list an update."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.groups, self.open = [], []

    def scale_loss(self, loss):
        scaled = super().scale_loss(loss)
        self.open.append(round(float(loss / scaled), 3))
        return scaled

    def step(self, **kwargs):
        self.groups.append(self.open)
        self.open = []
        super().step(**kwargs)


def train_groups(folder, loop, counts, batch_size, checkpoint):
    """Train, and write the groups, the iterations, and whether the ranks end alike."""
    model = Classifier()
    if 'WORLD_SIZE' in os.environ:
        torch.distributed.init_process_group('gloo')
        model = MMDistributedDataParallel(model)
    optimizer = dict(type='SGD', lr=0.1)
    runner = small_runner(
        folder,
        dict(loop),
        sampler=dict(delta=0.8, seed=0),
        batch_size=batch_size,
        model=model,
        optim_wrapper=dict(
            type='NotedOptimWrapper', accumulative_counts=counts, optimizer=optimizer
        ),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)),
        load_from=checkpoint,
        resume=checkpoint is not None,
    )
    runner.train()
    wrapper = runner.optim_wrapper
    state = [each.tolist() for each in runner.model.parameters()]
    content = dict(groups=wrapper.groups, open=wrapper.open, iters=runner.iter, state=state)
    Path(folder, f'groups.{get_rank()}.json').write_text(json.dumps(content))


def groups(folder, world_size, *args):
    """What :func:`train_groups` wrote, the same on every rank."""
    ranks = Ranks(train_groups, (str(folder), *args), world_size, folder)
    assert ranks.wait() == [0] * world_size, ranks.said()
    found = [json.loads((folder / f'groups.{rank}.json').read_text()) for rank in range(world_size)]
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.default_cases('2-1-4-epoch-*')
@case(
    '{before} processes, resumed on {after}, batch size {batch_size}, by {kind}',
    'full groups, and an update in the last iteration',
)
@pytest.mark.parametrize('kind, loop', [('iteration', ITERS), ('epoch', EPOCHS)])
@pytest.mark.parametrize(
    'before, after, batch_size',
    [
        (2, 1, 4),
        pytest.param(4, 1, 4, marks=pytest.mark.faults),
        pytest.param(4, 2, 4, marks=pytest.mark.faults),
        pytest.param(1, 2, 4, marks=pytest.mark.faults),
        pytest.param(1, 1, 2, marks=pytest.mark.faults),
        pytest.param(2, 2, 1, marks=pytest.mark.faults),
    ],
)
def test_groups_are_full_to_the_end_on_other_ranks_and_with_other_batches(
    tmp_path, kind, loop, before, after, batch_size
):
    counts, done = 4, 4
    first = groups(tmp_path / 'first', before, loop, counts, 4, None)
    path = str(tmp_path / 'first' / f'iter_{done}.pth')
    resumed = groups(tmp_path / 'second', after, loop, counts, batch_size, path)
    assert resumed['iters'] > first['iters'] or after > before
    assert all(set(group) == {len(group)} for group in resumed['groups']) and not resumed['open']
    assert sum(map(len, resumed['groups'])) == resumed['iters'] - done
    if kind == 'iteration':
        assert {len(group) for group in resumed['groups'][:-1]} == {counts}
