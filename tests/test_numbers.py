"""Scores and weights stay right under what real runs do with numbers."""

import json
import math
import warnings

import pytest
import toolbox_runs as runs
import torch
import torch._dynamo
from launch import launch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from test_training import LossesByHand, Updates, steps_early
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


@pytest.fixture(scope='module')
def cls_data(tmp_path_factory):
    return runs.write_classification_data(tmp_path_factory.mktemp('cls'), num_images=12)


@pytest.fixture
def seg(seg_data, tmp_path):
    """Four passes over 12 images of mmseg, at batch size 2."""
    return runs.switch_on(runs.segmentation_config(seg_data, tmp_path, 24), delta=1)


@pytest.fixture
def cls(cls_data, tmp_path):
    """Four passes over 12 images of mmpretrain, at batch size 2."""
    cfg = runs.classification_config(cls_data, tmp_path, 4, batch_size=2)
    return runs.switch_on(cfg, delta=1)


def final_scores(recorder):
    return recorder.runner.train_loop.sampler.scores.values


def assert_plans_are_right(recorder, num_samples=12):
    """Each pass after the first prunes, below the mean alone, and its weights sum to N."""
    for scores, plan in recorder.passes[1:]:
        assert plan.pruned
        assert plan.weights.double().sum().item() == pytest.approx(num_samples)
        assert plan.threshold == pytest.approx(scores.double().nanmean().item())
        kept = set(plan.indices.tolist())
        for index, score in enumerate(scores.tolist()):
            assert index in kept or score < plan.threshold


def assert_same_choices(left, right, rel=0.0):
    """The same samples at the same weights, and the same scores in each pass."""
    assert left.column('indices') == right.column('indices')
    assert left.column('weights') == right.column('weights')
    for (ours, _), (theirs, _) in zip(left.passes, right.passes):
        assert ours.tolist() == pytest.approx(theirs.tolist(), rel=rel, nan_ok=True)


# ------------------------------------------------------------------- NaN and infinity


class Poison(LossesByHand):
    """Make the losses of some samples NaN or infinite, in passes from ``begin`` on.

    The gradient of the others stays finite.
    """

    def __init__(self, value, samples, begin):
        super().__init__()
        self.value, self.samples, self.begin = value, samples, begin
        self.poisoned = 0

    def before_train(self, runner):
        super().before_train(runner)
        for loss in {module for module in runner.model.modules() if hasattr(module, 'end_batch')}:
            loss.loss.register_forward_hook(self.spoil)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        super().before_train_iter(runner, batch_idx, data_batch)
        indices = [sample.sample_idx for sample in data_batch['data_samples']]
        late = runner.train_loop.schedule.pass_index >= self.begin
        self.bad = torch.tensor([late and index in self.samples for index in indices])

    def spoil(self, module, args, output):
        self.poisoned += int(self.bad.sum())
        return output.masked_fill(self.bad.view(-1, *[1] * (output.ndim - 1)), self.value)


BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.default_cases(
    'mmseg-one sample-nan', 'mmpretrain-one sample-inf', 'mmpretrain-every batch-nan'
)
@pytest.mark.parametrize('value', BAD)
@pytest.mark.parametrize('samples', [{5}, set(range(12))], ids=['one sample', 'every batch'])
def test_a_sample_whose_loss_is_no_number_keeps_the_score_that_it_had(either, value, samples):
    poison = Poison(value, samples, begin=1)
    ours = runs.train(either, poison)
    assert poison.poisoned
    assert not all(math.isfinite(loss) for row in ours.rows for loss in row['loss'].values())
    assert_plans_are_right(ours)
    first = ours.passes[1][0]
    for number, (scores, _) in enumerate([*ours.passes[1:], (final_scores(ours), None)]):
        for index in range(12):
            expected = first[index].item() if index in samples else poison.passes[number][index]
            assert scores[index].item() == pytest.approx(expected, rel=1e-5)
    assert all(torch.isfinite(values).all() for values in ours.state.values())


@pytest.mark.default_cases('mmseg-nan', 'mmpretrain-inf')
@pytest.mark.parametrize('value', BAD)
def test_a_sample_whose_loss_was_never_a_number_is_trained_in_every_pass(either, value):
    ours = runs.train(either, Poison(value, {5}, begin=0))
    assert_plans_are_right(ours)
    assert math.isnan(final_scores(ours)[5])
    for indices, weights in zip(ours.by_pass('indices'), ours.by_pass('weights')):
        assert weights[indices.index(5)] == 1


class Breaks(Hook):
    """A model that diverges: its parameters are NaN from an iteration on."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            for parameter in runner.model.parameters():
                parameter.data.fill_(math.nan)


@pytest.mark.default_cases('mmpretrain')
def test_a_model_that_has_diverged_leaves_the_scores_of_the_time_before(either):
    plain = runs.train(either)
    ours = runs.train(either, Breaks(at=8))
    assert ours.column('indices')[:9] == plain.column('indices')[:9]
    assert_plans_are_right(ours)
    seen = {index for row in ours.rows[6:8] for index in row['indices']}
    before = ours.passes[1][0]
    after = final_scores(ours)
    assert torch.isfinite(after).all()
    assert {index for index in range(12) if before[index] != after[index]} == seen


# -------------------------------------------------------------------- mixed precision


class PlainScaler:
    """What ``GradScaler`` does, for a torch that has it on GPUs alone."""

    def __init__(self, init_scale):
        self.value = init_scale

    def scale(self, loss):
        return loss * self.value

    def step(self, optimizer):
        grads = [
            p.grad
            for group in optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        for grad in grads:
            grad /= self.value
        self.found = not all(torch.isfinite(grad).all() for grad in grads)
        if not self.found:
            optimizer.step()

    def update(self, new_scale=None):
        self.value *= 0.5 if self.found else 1

    def get_scale(self):
        return self.value


def make_scaler(init_scale):
    try:
        return torch.amp.GradScaler('cpu', init_scale=init_scale, growth_interval=10**6)
    except AttributeError:
        return PlainScaler(init_scale)


@OPTIM_WRAPPERS.register_module()
class AmpOnCpu(AmpOptimWrapper):
    """mmengine's mixed precision, which it allows on accelerators alone, on the CPU."""

    def __init__(self, dtype, init_scale=1.0, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self.loss_scaler = make_scaler(init_scale)
        self._scale_update_param = None
        self.cast_dtype = getattr(torch, dtype)

    def optim_context(self, model):
        return torch.autocast('cpu', self.cast_dtype)


def cpu_takes(dtype):
    """Whether this torch casts to that type on the CPU."""
    try:
        with torch.autocast('cpu', getattr(torch, dtype)):
            return torch.ones(1, 1).mm(torch.ones(1, 1)).dtype == getattr(torch, dtype)
    except (RuntimeError, UserWarning):
        return False


HALVES = [
    pytest.param(
        dtype, marks=pytest.mark.skipif(not cpu_takes(dtype), reason='this torch cannot on the CPU')
    )
    for dtype in ('bfloat16', 'float16')
]


class InfiniteGradients(Hook):
    """A gradient that overflows in some iterations."""

    def __init__(self, at):
        self.at = at

    def before_train(self, runner):
        parameter = next(runner.model.parameters())
        parameter.register_hook(lambda grad: grad * (math.inf if runner.iter in self.at else 1))


@pytest.mark.default_cases('mmseg-bfloat16-four steps', 'mmpretrain-float16-*')
@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
@pytest.mark.parametrize('skipped', [set(), {0, 1, 7, 8}], ids=['no step', 'four steps'])
@pytest.mark.parametrize('dtype', HALVES)
def test_mixed_precision_that_skips_steps_leaves_scores_and_weights_right(either, dtype, skipped):
    either.optim_wrapper.update(type='AmpOnCpu', dtype=dtype, init_scale=1024.0)
    by_hand, updates = LossesByHand(), Updates()
    ours = runs.train(either, by_hand, updates, InfiniteGradients(skipped))
    assert updates.at == [index for index in range(len(ours.rows)) if index not in skipped]
    assert ours.runner.optim_wrapper.loss_scaler.get_scale() == 1024.0 / 2 ** len(skipped)
    assert_scores_are(by_hand, ours)


@pytest.mark.skipif(not cpu_takes('float16'), reason='this torch cannot on the CPU')
@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
def test_a_loss_scale_that_overflows_float16_leaves_scores_and_weights_right(either):
    either.optim_wrapper.update(type='AmpOnCpu', dtype='float16', init_scale=2.0**24)
    by_hand, updates = LossesByHand(), Updates()
    ours = runs.train(either, by_hand, updates)
    assert 0 < len(updates.at) < len(ours.rows) - 2
    assert_scores_are(by_hand, ours)


def assert_scores_are(by_hand, ours):
    assert_plans_are_right(ours)
    assert final_scores(ours).dtype == torch.float32
    for number, (scores, _) in enumerate([*ours.passes[1:], (final_scores(ours), None)]):
        expected = [by_hand.passes[number][index] for index in range(12)]
        assert scores.tolist() == pytest.approx(expected, rel=1e-4)
    assert all(torch.isfinite(values).all() for values in ours.state.values())


# ------------------------------------------------------------------------ accumulation


@steps_early
def test_accumulated_gradients_of_halves_of_a_batch_are_those_of_the_batch(cls):
    """Two batches of 2 beside one of 4, on the same plan and its weights."""
    cls.param_scheduler = None
    cls.train_dataloader.batch_size = 4
    cls.optim_wrapper.optimizer = dict(type='SGD', lr=0.05)
    whole = runs.train(cls)
    cls.train_dataloader.batch_size = 2
    cls.optim_wrapper.accumulative_counts = 2
    halves = runs.train(cls)
    assert whole.by_pass('indices')[0] == halves.by_pass('indices')[0]
    for (ours, plan), (theirs, expected) in list(zip(halves.passes, whole.passes))[:2]:
        assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-4, nan_ok=True)
        assert torch.equal(plan.indices, expected.indices)
        assert torch.equal(plan.weights, expected.weights)
    count = len(whole.by_pass('indices')[1]) // 4 * 4  # as far as the groups are full
    assert count >= 4
    assert halves.by_pass('weights')[1][:count] == whole.by_pass('weights')[1][:count]
    assert_plans_are_right(halves)


@steps_early
def test_scores_are_of_the_single_batches_where_gradients_accumulate(either):
    either.optim_wrapper.accumulative_counts = 4
    by_hand = LossesByHand()
    ours = runs.train(either, by_hand)
    assert_scores_are(by_hand, ours)


# ------------------------------------------------------------------------- averaging


class AverageByHand(Hook):
    """The exponential moving average of the parameters over the steps, computed beside the run."""

    priority = 'LOWEST'

    def __init__(self, momentum):
        self.momentum, self.steps = momentum, 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        now = {name: value.detach().clone() for name, value in runner.model.named_parameters()}
        for step in range(self.steps, runner.train_loop.schedule.walked):
            if step == 0:
                self.average = now
            else:
                for name, value in now.items():
                    self.average[name].lerp_(value, self.momentum)
        self.steps = runner.train_loop.schedule.walked


@pytest.mark.default_cases('mmpretrain')
def test_an_ema_hook_averages_the_pruned_run_and_resumes_with_it(either, tmp_path):
    either.custom_hooks.append(dict(type='EMAHook', momentum=0.1))
    either = runs.checkpoints_every(either, 1)
    by_hand = AverageByHand(0.1)
    whole = runs.train(either, by_hand)
    assert_plans_are_right(whole)
    ends = torch.load(tmp_path / f'iter_{len(whole.rows)}.pth', weights_only=False)
    # mmengine saves the average as the model, and the model as the average.
    for name, value in by_hand.average.items():
        assert torch.allclose(ends['state_dict'][name], value, atol=1e-6), name
    resumed = runs.train(runs.resumed(either, tmp_path / 'iter_8.pth', tmp_path / 'resumed'))
    assert_goes_on(resumed, whole, 8)


def assert_goes_on(resumed, whole, done):
    for key in ('indices', 'weights', 'loss'):
        assert resumed.column(key) == whole.column(key)[done:], key
    runs.assert_same_state(resumed.state, whole.state)


# ------------------------------------------------------------------- distributed models


@pytest.mark.default_cases('sync_bn')
@pytest.mark.parametrize('sync', ['norm_cfg', 'sync_bn'])
def test_sync_bn_on_one_process_is_batch_norm(seg_data, tmp_path, sync):
    """Between processes it needs GPUs, and tools/train.py refuses it without."""

    def config(kind):
        cfg = runs.segmentation_config(
            seg_data,
            tmp_path,
            24,
            batch_size=3,
            drop_last=True,
            norm_cfg=dict(type=kind, requires_grad=True),
        )
        return runs.switch_on(cfg, delta=1)

    plain = runs.train(config('BN'))
    cfg = config('SyncBN' if sync == 'norm_cfg' else 'BN')
    if sync == 'sync_bn':
        cfg.sync_bn = 'torch'
    ours = runs.train(cfg)
    assert plain.passes[1][1].pruned
    assert_same_choices(ours, plain)
    runs.assert_same_state(ours.state, plain.state)


@pytest.mark.runs
def test_two_processes_train_a_model_with_unused_parameters(cls, tmp_path):
    """A backbone of four stages of which the head reads the third."""
    cls.model.backbone.out_indices = (2,)
    cls.model.head.in_channels = 16
    cls.find_unused_parameters = True
    cls.custom_hooks.append(dict(type='Recorder', path=str(tmp_path / 'rank{rank}')))
    launch(cls)
    ranks = [
        [json.loads(line) for line in (tmp_path / f'rank{rank}').read_text().splitlines()]
        for rank in range(2)
    ]
    states = [torch.load(tmp_path / f'rank{rank}.pth', weights_only=True) for rank in range(2)]
    for key in ('scores', 'pass', 'lr'):
        assert [row[key] for row in ranks[0]] == [row[key] for row in ranks[1]]
    runs.assert_same_state(*states)
    for index in range(4):
        rows = [row for rank in ranks for row in rank if row['pass'] == index]
        weights = {
            sample: weight for row in rows for sample, weight in zip(row['indices'], row['weights'])
        }
        assert sum(weights.values()) == pytest.approx(12)
        assert (len(weights) < 12) == (index > 0)


# --------------------------------------------------------------- gradient checkpointing


class Checkpointed(Hook):
    """Compute a part of the model anew in the backward pass.

    Args:
        part (str): 'backbone', 'head' or 'loss'.
        use_reentrant (bool): Which of PyTorch's two ways.
    """

    def __init__(self, part, use_reentrant):
        self.part, self.use_reentrant = part, use_reentrant
        self.calls = self.evaluations = 0

    def before_train(self, runner):
        model = runner.model
        if self.part == 'loss':
            for loss in [module for module in model.modules() if hasattr(module, 'end_batch')]:
                loss.forward = self.checkpointed(loss.forward)
        elif self.part == 'backbone':
            model.backbone.forward = self.checkpointed(model.backbone.forward)
        else:
            head = getattr(model, 'decode_head', None) or model.head
            head.loss = self.checkpointed(head.loss)

    def checkpointed(self, function):

        def evaluate(*args, **kwargs):
            self.calls += 1
            # The reentrant way sees the tensors alone that it is given and returned one by one,
            # and has a gradient only if one of the former has.
            leaves, spec = tree_flatten((args, kwargs))
            result_spec = []

            def run(_, *leaves):
                self.evaluations += 1
                args, kwargs = tree_unflatten(leaves, spec)
                results, *result_spec[:] = tree_flatten(function(*args, **kwargs))
                return tuple(results)

            results = checkpoint(
                run, torch.ones((), requires_grad=True), *leaves, use_reentrant=self.use_reentrant
            )
            return tree_unflatten(list(results), *result_spec)

        return evaluate


@pytest.mark.default_cases(
    'mmseg-head-reentrant', 'mmpretrain-backbone-not reentrant', 'mmpretrain-loss-reentrant'
)
@pytest.mark.parametrize('use_reentrant', [False, True], ids=['not reentrant', 'reentrant'])
@pytest.mark.parametrize('part', ['backbone', 'head', 'loss'])
def test_a_loss_that_is_computed_anew_for_the_backward_pass_counts_once(
    either, part, use_reentrant
):
    plain = runs.train(either)
    again = Checkpointed(part, use_reentrant)
    ours = runs.train(either, again)
    assert again.evaluations == 2 * again.calls > 0
    assert plain.passes[1][1].pruned
    assert_same_choices(ours, plain)
    assert torch.equal(final_scores(ours), final_scores(plain))
    assert ours.column('loss') == plain.column('loss')
    runs.assert_same_state(ours.state, plain.state)


@pytest.mark.default_cases('mmpretrain')
@pytest.mark.filterwarnings('ignore:.*use_reentrant')
@pytest.mark.filterwarnings('ignore:None of the inputs have requires_grad')
def test_the_toolboxes_own_checkpointing_changes_nothing(either):
    plain = runs.train(either)
    either.model.backbone.with_cp = True
    ours = runs.train(either)
    assert_same_choices(ours, plain, rel=1e-5)
    for name, values in plain.state.items():
        assert torch.allclose(ours.state[name], values, atol=1e-6), name


# --------------------------------------------------------------------------- compiling


@pytest.mark.runs
def test_a_compiled_model_gives_the_scores_and_weights_of_the_same_run(either):
    """Without momentum, which torch 2.1 cannot compile in any run."""
    either.optim_wrapper.optimizer = dict(type='SGD', lr=0.05)
    plain = runs.train(either)
    either.compile = dict(backend='eager')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch warns of itself
        # mmseg's samples, each of another name, would be compiled one by one up to the limit.
        with torch._dynamo.config.patch(cache_size_limit=3):
            ours = runs.train(either)
    assert 'has been "compiled"' in runs.log_of(either.work_dir)
    assert_plans_are_right(ours)
    assert_same_choices(ours, plain, rel=1e-5)
    for name, values in plain.state.items():
        assert torch.allclose(ours.state[name], values, atol=1e-5), name
