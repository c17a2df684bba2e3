"""What a GPU could change: other kernels, mixed precision, NCCL, waiting for the device.

``make test-gpu`` runs this file on a GPU. Without one it runs on the CPU, as a test of itself:
there everything is equal bit for bit, and half precision is bfloat16. On a GPU sums are rounded in
another order from run to run, so that values are compared within ``TOLERANCE``.
"""

import copy
import os
from pathlib import Path

import launch
import pytest
import toolbox_runs as runs
import torch
from mmengine.device import get_device
from test_losses import CASES, B, C, call, each, skip_if_the_toolbox_cannot
from torch import nn

from overhead.cuda import refuse_syncs
from overhead.step import measure_step

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

DEVICE = torch.device(get_device())
ON_GPU = DEVICE.type != 'cpu'
HALF = torch.float16 if ON_GPU else torch.bfloat16
TOLERANCE = dict(rtol=1e-4, atol=1e-6) if ON_GPU else dict(rtol=0, atol=0)
NEEDS_A_GPU = pytest.mark.skipif(not ON_GPU, reason='needs a GPU and --gpu')


def on_device(case):
    case = copy.copy(case)
    case.pred, case.target = case.pred.to(DEVICE), case.target.to(DEVICE)
    case.kwargs = {
        key: value.to(DEVICE) if torch.is_tensor(value) else value
        for key, value in case.kwargs.items()
    }
    return case


def assert_close(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, theirs, **{**TOLERANCE, **tolerance})


def test_only_with_the_option_is_a_gpu_seen(request):
    if request.config.getoption('--gpu'):
        assert ON_GPU, 'there is none: run the tests without --gpu'
    else:
        assert os.environ['CUDA_VISIBLE_DEVICES'] == '' and not torch.cuda.is_available()


# --------------------------------------------------------------------- losses


@each()
def test_a_wrapped_loss_is_the_toolboxes_own_and_scores_as_on_the_cpu(case):
    skip_if_the_toolbox_cannot(case)  # tried on the CPU: on a GPU it could end the process
    here, weights = on_device(case), torch.ones(B, device=DEVICE)
    value, gradient = call(here.wrapped(), here)
    wrapper = here.wrapper()
    ours, our_gradient = call(wrapper, here, weights)
    assert_close(ours, value)
    assert_close(our_gradient, gradient)
    scores = wrapper.end_batch()
    assert scores.device.type == DEVICE.type and scores.dtype == torch.float32
    on_cpu = case.wrapper()
    call(on_cpu, case, torch.ones(B))
    assert_close(scores.cpu(), on_cpu.end_batch(), equal_nan=True)


@pytest.mark.parametrize(
    'name',
    [
        'mmseg softmax, ignored pixels',
        'mmseg softmax, ignored pixels, avg_non_ignore',
        'mmseg sigmoid, ignored pixels',
        'mmseg focal, one-hot',
        'mmpretrain softmax',
        'mmpretrain sigmoid',
        'mmpretrain label smooth, original',
        'mmpretrain label smooth, multi_label',
        'mmpretrain focal',
    ],
)
def test_under_autocast_scores_are_float32_and_the_loss_the_toolboxes_own(name):
    case = on_device(CASES[name])

    def trained(loss, weights=None):
        torch.manual_seed(0)
        model = (nn.Linear(C, C) if case.pred.ndim == 2 else nn.Conv2d(C, C, 1)).to(DEVICE)
        with torch.autocast(DEVICE.type, dtype=HALF):
            pred = model(case.pred)
            assert pred.dtype == HALF
            if weights is not None:
                loss.begin_batch(weights)
            value = loss(pred, case.target, **case.kwargs)
        (1024 * value).backward()  # as a gradient scaler would
        return value.detach(), model.weight.grad / 1024

    value, gradient = trained(case.wrapped())
    wrapper = case.wrapper()
    ours, our_gradient = trained(wrapper, torch.ones(B, device=DEVICE))
    assert_close(ours, value)
    assert_close(our_gradient, gradient, rtol=2e-2, atol=1e-3)
    scores = wrapper.end_batch()
    assert scores.dtype == torch.float32 and scores.isfinite().all()
    doubled, _ = trained(wrapper, torch.full((B,), 2.0, device=DEVICE))
    assert_close(doubled, 2 * value, rtol=2e-2, atol=1e-3)


# ----------------------------------------------------------------------- runs


def config(task, tmp_path, amp=False):
    if task == 'segmentation':
        cfg = runs.segmentation_config(
            runs.write_segmentation_data(tmp_path / 'data'), tmp_path / 'run', max_iters=30
        )
    else:
        cfg = runs.classification_config(
            runs.write_classification_data(tmp_path / 'data'), tmp_path / 'run', max_epochs=6
        )
    if amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    return cfg


TASKS = pytest.mark.parametrize('task', ['segmentation', 'classification'])
# The CPU has no gradient scaler in mmengine.
AMP = pytest.mark.parametrize(
    'amp', [False, pytest.param(True, marks=NEEDS_A_GPU)], ids=['fp32', 'amp']
)


@pytest.mark.default_cases('*-classification')
@TASKS
@AMP
def test_with_nothing_to_prune_a_run_is_the_stock_one(task, amp, tmp_path, no_pause):
    cfg = runs.checkpoints_every(config(task, tmp_path, amp), 1)
    runs.train(cfg)
    # From one checkpoint: some stock loops draw a number when built, and so begin elsewhere.
    cfg = runs.resumed(cfg, f'{cfg.work_dir}/iter_1.pth')
    cfg.resume = False
    stock, ours = runs.train(cfg), runs.train(runs.switch_on(cfg, prune_ratio=0))
    count = min(12, len(stock.rows))  # differences of rounding grow from step to step
    assert ours.column('indices')[:count] == stock.column('indices')[:count]
    assert ours.column('lr') == stock.column('lr')
    for one, other in zip(ours.rows[:count], stock.rows[:count]):
        assert one['loss'] == pytest.approx(
            other['loss'], rel=(5e-2 if amp else 1e-2) if ON_GPU else 0
        )


@pytest.mark.default_cases('*-classification')
@TASKS
@AMP
def test_a_run_prunes_and_resumes_within_a_pass(task, amp, tmp_path):
    cfg = runs.switch_on(runs.checkpoints_every(config(task, tmp_path, amp), 1), delta=0.8)
    whole = runs.train(cfg)
    sampler = whole.runner.train_loop.sampler
    assert sampler.scores.values.isfinite().all()
    counts = [len(indices) for indices in whole.by_pass('indices')]
    assert min(counts) < counts[0], 'some pass pruned'
    assert max(map(max, whole.by_pass('weights'))) > 1
    pruned = counts.index(min(counts))
    rows = [row for row in whole.rows if row['pass'] == whole.rows[0]['pass'] + pruned]
    middle = rows[len(rows) // 2]
    again = runs.train(
        runs.resumed(cfg, f'{cfg.work_dir}/iter_{middle["iter"]}.pth', tmp_path / 'again')
    )
    rest = [row for row in again.rows if row['pass'] == middle['pass']]
    expected = [row for row in rows if row['iter'] >= middle['iter']]
    assert len(rest) == len(expected) > 0
    for one, other in zip(rest, expected):
        for key in ('iter', 'indices', 'weights', 'lr'):
            assert one[key] == other[key]
        assert one['loss'] == pytest.approx(other['loss'], rel=5e-2 if ON_GPU else 0)


@pytest.mark.runs
def test_dist_train_trains_on_one_device(tmp_path):
    cfg = runs.switch_on(config('segmentation', tmp_path, amp=ON_GPU))
    cfg.env_cfg.dist_cfg.backend = 'nccl' if ON_GPU else 'gloo'
    launch.launch_by_script(cfg, processes=1, gpu=ON_GPU)
    report = runs.report_of(cfg.work_dir)
    assert report['totals']['finished'] and report['totals']['saving'] > 0
    assert Path(cfg.work_dir, 'config.py').is_file()


@NEEDS_A_GPU
def test_a_step_does_not_wait_for_the_device():
    for row in measure_step(60, DEVICE, refuse_syncs)['rows']:
        assert row['collectives_in_steps'] == 0
