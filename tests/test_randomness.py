"""A resumed run draws the random numbers of the uninterrupted one: dropout, and augmentation."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.hooks import Hook
from small_runner import Classifier, Points, rng_states, small_runner

from mm_infobatch.training import rng

pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
    # At the end of an epoch, a scheduler steps before this process has trained anything.
    pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step'),
]
WORKERS = {
    'none': dict(num_workers=0, persistent_workers=False),
    'persistent': dict(num_workers=2, persistent_workers=True),
    'new each pass': dict(num_workers=1, persistent_workers=False),
}


def draw():
    return random.random(), random.gauss(0, 1), np.random.normal(), torch.rand(3).tolist()


@pytest.mark.parametrize('drawn', [0, 1, 2])
def test_a_captured_state_is_restored_in_all_generators(drawn):
    random.seed(3), np.random.seed(4), torch.manual_seed(5)
    for _ in range(drawn):  # an odd number leaves a second normal number behind
        random.gauss(0, 1), np.random.normal()
    state = rng.capture()
    assert state.dtype == torch.uint8 and state.ndim == 1
    before, first = rng_states(), draw()
    assert draw() != first
    rng.restore(state)
    assert rng_states() == before and draw() == first


def test_a_state_that_was_captured_with_other_devices_is_left_alone():
    state, before = rng.capture()[:-1], rng_states()
    rng.restore(state)
    assert rng_states() == before


def seg_config(data, work_dir, workers, val=True):
    """Six passes over 12 images at batch size 2, the last of them annealing, with dropout."""
    cfg = runs.segmentation_config(
        data, str(work_dir), max_iters=36, dropout=0.3, val_interval=4 if val else None
    )
    cfg.train_dataloader.update(WORKERS[workers])
    if val:
        cfg.val_dataloader.update(WORKERS[workers])
    return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=0.8)


def cls_config(data, work_dir, workers):
    """Six epochs of 16 images at batch size 3; images are flipped at random in this process."""
    cfg = runs.classification_config(
        data, str(work_dir), max_epochs=6, batch_size=3, flip=workers == 'none', val_interval=2
    )
    cfg.model.head = dict(
        type='StackedLinearClsHead',
        num_classes=3,
        in_channels=32,
        mid_channels=[8],
        dropout_rate=0.3,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    )
    cfg.train_dataloader.update(WORKERS[workers])
    cfg.val_dataloader.update(WORKERS[workers])
    cfg.custom_hooks = [dict(type='CheckpointHook', by_epoch=True, interval=1)]
    return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=0.8)


@pytest.fixture(scope='module', params=['mmseg', 'mmpretrain'])
def toolbox(request, tmp_path_factory):
    data = tmp_path_factory.mktemp('data')
    if request.param == 'mmseg':
        return SimpleNamespace(config=seg_config, data=runs.write_segmentation_data(data))
    return SimpleNamespace(config=cls_config, data=runs.write_classification_data(data))


@pytest.fixture(scope='module', params=['none', 'persistent'])
def whole(request, toolbox, tmp_path_factory):
    cfg = toolbox.config(toolbox.data, tmp_path_factory.mktemp('whole'), request.param)
    recorder = runs.train(cfg)
    return SimpleNamespace(
        toolbox=toolbox, cfg=cfg, rows=recorder.rows, state=recorder.state, workers=request.param
    )


def ends(rows):
    """The number of iterations that are done at the end of each pass."""
    return [
        index + 1
        for index, (row, later) in enumerate(zip(rows, rows[1:]))
        if row['pass'] != later['pass']
    ]


def assert_resumes(whole, tmp_path, name, done, workers):
    cfg = runs.resumed(whole.cfg, f'{whole.cfg.work_dir}/{name}.pth', tmp_path)
    cfg.train_dataloader.update(WORKERS[workers])
    cfg.val_dataloader.update(WORKERS[workers])
    again = runs.train(cfg)
    for key in ('iter', 'indices', 'weights', 'loss'):
        assert again.column(key) == [row[key] for row in whole.rows[done:]], (key, done)
    runs.assert_same_state(again.state, whole.state)


@pytest.mark.default_cases(
    'persistent-mmpretrain-none-in a pruned pass',
)
@pytest.mark.parametrize('moment', ['in the first pass', 'at a validation', 'in a pruned pass'])
@pytest.mark.parametrize('workers', WORKERS)
def test_a_run_with_dropout_resumes_bit_for_bit_with_any_workers(whole, tmp_path, moment, workers):
    if whole.cfg.train_dataloader.dataset.pipeline[1]['type'] == 'RandomFlip':
        if workers != 'none':
            pytest.skip('images are flipped with numbers of the process that loads them')
    second = ends(whole.rows)[1]
    done = {'in the first pass': 3, 'at a validation': 8, 'in a pruned pass': second + 2}[moment]
    assert_resumes(whole, tmp_path, f'iter_{done}', done, workers)


@pytest.mark.runs
@pytest.mark.parametrize('workers', ['none', 'persistent'])
def test_a_run_with_dropout_resumes_bit_for_bit_at_the_end_of_a_pass(whole, tmp_path, workers):
    if whole.cfg.train_dataloader.dataset.pipeline[1]['type'] == 'RandomFlip':
        workers = 'none'
    for index in (0, 1, 3):
        done = ends(whole.rows)[index]
        assert_resumes(whole, tmp_path / f'{index}', f'iter_{done}', done, workers)
        if 'max_epochs' in whole.cfg.train_cfg:
            name = f'epoch_{index + 1}'
            assert_resumes(whole, tmp_path / name, name, done, workers)


def test_a_run_resumes_bit_for_bit_behind_a_change_of_the_interval_of_validation(tmp_path):
    data = runs.write_classification_data(tmp_path / 'data')
    cfg = cls_config(data, tmp_path / 'whole', 'none')
    cfg.train_cfg.update(val_interval=4, dynamic_intervals=[(3, 1)])
    recorder = runs.train(cfg)
    whole = SimpleNamespace(cfg=cfg, rows=recorder.rows, state=recorder.state)
    assert_resumes(whole, tmp_path / 'resumed', 'epoch_3', ends(whole.rows)[2], 'none')


MIXED = dict(augments=[dict(type='Mixup', alpha=0.8)])  # draws in this process
BOTH = dict(type='mmpretrain.EMAHook', momentum=0.1, evaluate_on_ema=True, evaluate_on_origin=True)
SWITCH = dict(
    type='SwitchRecipeHook',
    schedule=[
        dict(
            action_epoch=3, train_pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]
        )
    ],
)
PROTOTYPES = dict(type='PrepareProtoBeforeValLoopHook')


@pytest.mark.parametrize('hooks', [[BOTH], [SWITCH], [PROTOTYPES]], ids=lambda all: all[0]['type'])
def test_hooks_that_open_a_dataloader_again_leave_a_run_bit_for_bit(tmp_path, hooks):
    """Unpruned it is the stock run, and it resumes where the next epoch opens one again."""
    data = runs.write_classification_data(tmp_path / 'data')

    def config(name):
        workers = 'persistent' if SWITCH in hooks else 'none'
        cfg = runs.classification_config(data, str(tmp_path / name), max_epochs=4, val_interval=1)
        cfg.model.train_cfg = MIXED
        cfg.model.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=3)
        cfg.train_dataloader.update(WORKERS[workers])
        cfg.custom_hooks = hooks
        if PROTOTYPES in hooks:
            parts = [cfg.model.pop('backbone'), cfg.model.pop('neck')]
            cfg.model.update(type='ImageToImageRetriever', image_encoder=parts)
            cfg.model.prototype = cfg.val_dataloader.to_dict()
            cfg.model.prototype.dataset.indices = 3  # one a class
            cfg.val_evaluator = dict(type='RetrievalRecall', topk=1)
        return runs.checkpoints_every(cfg, 1, by_epoch=True)

    stock = runs.train(config('stock'))
    ours = runs.train(runs.switch_on(config('ours'), prune_ratio=0))
    assert ours.column('loss') == stock.column('loss')
    runs.assert_same_state(ours.state, stock.state)
    cfg = runs.switch_on(config('again'), prune_ratio=0)
    again = runs.train(runs.resumed(cfg, tmp_path / 'ours' / 'epoch_2.pth'))
    assert again.column('loss') == ours.column('loss')[8:]
    runs.assert_same_state(again.state, ours.state)


class Draws(Hook):
    """Draws numbers after InfoBatchHook, as a hook that takes images at random does."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        draw()

    def after_train_epoch(self, runner):
        draw()


@pytest.mark.parametrize('name, done', [('iter_8', 8), ('iter_10', 10), ('epoch_2', None)])
def test_a_run_resumes_bit_for_bit_beside_a_hook_that_draws(tmp_path, name, done):
    data = runs.write_classification_data(tmp_path / 'data')
    cfg = cls_config(data, tmp_path / 'whole', 'none')
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    whole = runs.train(cfg, Draws())
    done = ends(whole.rows)[1] if name.startswith('epoch') else done
    resumed = runs.resumed(cfg, tmp_path / 'whole' / f'{name}.pth', tmp_path / 'resumed')
    again = runs.train(resumed, Draws())
    assert again.column('loss') == whole.column('loss')[done:]
    runs.assert_same_state(again.state, whole.state)


@pytest.mark.default_cases('none-mmseg')
def test_without_the_states_of_the_generators_a_resumed_run_ends_elsewhere(whole, tmp_path):
    """Control: dropout makes the runs differ."""
    path = f'{whole.cfg.work_dir}/iter_8.pth'
    checkpoint = torch.load(path, weights_only=False)
    assert checkpoint['infobatch'].pop('randomness')['states'].shape[0] == 1
    torch.save(checkpoint, tmp_path / 'without.pth')
    again = runs.train(runs.resumed(whole.cfg, tmp_path / 'without.pth', tmp_path))
    assert again.column('indices')[:1] == [whole.rows[8]['indices']]
    assert again.column('loss') != [row['loss'] for row in whole.rows[8:]]


# ------------------------------------------------------- workers that start in each pass


class Drawn(Points):
    """Each sample with a number that the worker draws."""

    def __getitem__(self, index):
        return dict(super().__getitem__(index), drawn=np.random.rand())


class KeepsDrawn(Classifier):
    def __init__(self):
        super().__init__()
        self.drawn = []

    def forward(self, drawn, **kwargs):
        self.drawn += drawn.tolist()
        return super().forward(**kwargs)


def seeds_alike(worker_id):
    np.random.seed(worker_id)


def drawn_in(work_dir, loop, stock=False, **loader):
    """What the workers of a run draw in each of four passes over 8 samples."""
    runner = small_runner(
        work_dir,
        loop,
        length=8,
        sampler=dict(delta=0),
        loader=dict(num_workers=2, **loader),
        model=KeepsDrawn(),
        **(dict(custom_hooks=[]) if stock else {}),
    )
    runner._train_dataloader['dataset'] = Drawn(8)
    if stock:
        runner._train_dataloader['sampler'] = dict(type='DefaultSampler', shuffle=True)
    runner.train()
    return np.reshape(runner.model.drawn, (4, 8)).tolist()


def test_by_iteration_workers_draw_other_numbers_in_each_pass(tmp_path):
    ours = drawn_in(tmp_path, dict(type='InfoBatchIterLoop', max_iters=8))
    stock = drawn_in(tmp_path, dict(type='EpochBasedTrainLoop', max_epochs=4), stock=True)
    assert ours[0] == stock[0]
    assert len(set(sum(ours, []))) == 32
    # the control: the stock loop by epochs, which ours does not change
    assert (
        stock == drawn_in(tmp_path, dict(type='InfoBatchEpochLoop', max_epochs=4)) == 4 * [ours[0]]
    )


def test_a_seeding_of_workers_of_ones_own_stays(tmp_path):
    loop = dict(type='InfoBatchIterLoop', max_iters=8)
    drawn = drawn_in(tmp_path, loop, worker_init_fn=dict(type=seeds_alike))
    assert drawn == 4 * [drawn[0]]
