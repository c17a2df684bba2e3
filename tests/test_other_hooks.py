"""Hooks that evaluate the model beside the training step: their losses are nobody's scores."""

import contextlib
import copy
import random

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from small_runner import Classifier, Points, small_runner
from torch.nn.functional import cross_entropy

from mm_infobatch import InfoBatchLoss

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
# Before and after InfoBatchHook, whose priority is ABOVE_NORMAL
PLACES = [(moment, priority) for moment in ('before', 'after') for priority in ('HIGH', 'NORMAL')]


@contextlib.contextmanager
def numbers_kept():
    """Leave the global generators as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


class Probe(Hook):
    """Evaluates the training loss of the first samples of the dataset in each iteration.

    Args:
        moment (str): 'before' or 'after' the step.
        size (int): The samples.
        grad (bool): Whether with gradients. Defaults to False.
    """

    def __init__(self, moment, size, grad=False):
        self.moment, self.size, self.grad = moment, size, grad
        self.losses, self.expected = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.moment == 'before':
            self.look(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.moment == 'after':
            self.look(runner)

    def look(self, runner):
        loader, model = runner.train_dataloader, runner.model
        with numbers_kept(), torch.set_grad_enabled(self.grad):
            batch = loader.collate_fn([loader.dataset[index] for index in range(self.size)])
            losses = model(**model.data_preprocessor(batch, True), mode='loss')
            self.losses.append(model.parse_losses(losses)[0].item())
            if hasattr(loader.dataset, 'labels'):
                logits = model.head(batch['inputs'])
                self.expected.append(cross_entropy(logits, batch['labels']).item())


@pytest.mark.parametrize(('moment', 'priority'), PLACES)
@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('size', [4, 7])  # a batch of the run has 4
def test_a_probe_has_the_plain_loss_and_changes_nothing(tmp_path, moment, priority, grad, size):
    trained = []
    for name, probe in (('alone', None), ('probed', Probe(moment, size, grad))):
        runner = small_runner(tmp_path / name, dict(type='InfoBatchEpochLoop', max_epochs=4))
        if probe:
            runner.register_hook(probe, priority)
        runner.train()
        trained.append((runner.train_loop.sampler.scores.values, runner.model.head.weight))
    for alone, probed in zip(*trained):
        assert torch.equal(alone, probed)
    assert len(probe.losses) > 12
    assert probe.losses == pytest.approx(probe.expected)


class FailsOnce(Classifier):
    """Runs out of memory in its tenth step."""

    steps = 0

    def forward(self, inputs, labels, index, mode):
        losses = super().forward(inputs, labels, index, mode)
        self.steps += 1
        if self.steps == 10:
            raise RuntimeError('out of memory')
        return losses


def test_after_a_step_that_failed_the_losses_are_plain(tmp_path):
    model = FailsOnce()
    runner = small_runner(tmp_path, dict(type='InfoBatchEpochLoop', max_epochs=4), model=model)
    with pytest.raises(RuntimeError, match='out of memory'):
        runner.train()
    assert max(model.weights) > 1  # of a pruned pass
    batch = torch.utils.data.default_collate([Points(24)[index] for index in range(7)])
    plain = cross_entropy(model.head(batch['inputs']), batch['labels'])
    assert model(**batch, mode='loss')['loss'].item() == pytest.approx(plain.item())


MODELS = {'segmentation': runs.segmentation_config, 'classification': runs.classification_config}


def config_of(name, tmp_path):
    write = getattr(runs, f'write_{name.partition("-")[0]}_data')
    cfg = MODELS[name.partition('-')[0]](write(tmp_path / 'data', num_images=16), str(tmp_path))
    if name.endswith('-mixup'):
        cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=0.8))
        cfg.model.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    return runs.switch_on(cfg)


@pytest.mark.parametrize(('moment', 'priority'), PLACES)
@pytest.mark.parametrize('name', ['segmentation', 'classification', 'classification-mixup'])
def test_of_the_toolboxes_models_too(tmp_path, name, moment, priority):
    cfg = config_of(name, tmp_path)
    found = []
    for probe in (None, Probe(moment, 6)):
        runner, recorder = runs.build(cfg)
        # Mixing hands out weights a second time, which the recorder does not take.
        runner.hooks.remove(recorder)
        if probe:
            runner.register_hook(probe, priority)
        runner.train()
        found.append((runner.train_loop.sampler.scores.values, runner.model.state_dict()))
        totals = runs.report_of(tmp_path)['totals']
        assert totals['samples_trained'] < totals['samples_full']
    assert torch.equal(found[0][0], found[1][0])
    for key, value in found[0][1].items():
        assert torch.equal(value, found[1][1][key]), key
    assert 'carries no weights' not in runs.log_of(tmp_path)


# ------------------------------------------------------- hooks that replace parts of the model


class Replaces(Hook):
    """Replaces a part of the model in the middle of a pass that prunes, and keeps the weights that
    the losses are handed from then on.

    Args:
        replace (callable): Is called with the model; may return another one.
    """

    priority = 'LOW'

    def __init__(self, replace):
        self.replace, self.weights, self.due = replace, [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != 9:
            return
        assert not runner.train_loop.hook._pass.uniform and runner.train_loop.schedule.pass_iter
        due = runner.train_loop.hook._pass.weights(2).tolist()
        runner.model = self.replace(runner.model) or runner.model
        for module in runner.model.modules():
            if isinstance(module, InfoBatchLoss):
                module.register_forward_pre_hook(
                    lambda module, args: self.note(module._weights, runner.iter, due)
                )

    def note(self, weights, iteration, due):
        if iteration == 9:
            self.due.append(due)
            self.weights.append(None if weights is None else weights.tolist())


def replace_head_loss(model):
    loss = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, num_classes=3)
    model.head.loss_module = InfoBatchLoss(loss)


def replace_auxiliary_loss(model):
    loss = dict(type='mmseg.CrossEntropyLoss', loss_weight=0.1)
    model.auxiliary_head.loss_decode = torch.nn.ModuleList([InfoBatchLoss(loss)])


def add_auxiliary_loss(model):
    loss = dict(type='mmseg.DiceLoss', loss_weight=0.1)
    model.auxiliary_head.loss_decode.append(InfoBatchLoss(loss))


def replaced_run(work_dir, replace):
    if replace in (replace_auxiliary_loss, add_auxiliary_loss, add_plain_loss):
        data = runs.write_segmentation_data(work_dir / 'data')
        cfg = runs.segmentation_config(data, work_dir, max_iters=12)
        cfg.model.auxiliary_head.loss_decode = [dict(type='CrossEntropyLoss')]
    else:
        data = runs.write_classification_data(work_dir / 'data')
        cfg = runs.classification_config(data, work_dir, max_epochs=2, batch_size=2)
        loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=3, mode='original')
        cfg.model.head.loss = loss
        cfg.data_preprocessor.to_onehot = True  # as a batch augmentation needs them
    runner = Runner.from_cfg(runs.switch_on(cfg, delta=1.0))
    hook = Replaces(replace)
    runner.register_hook(hook)
    return runner, hook


@pytest.mark.parametrize(
    'replace', [replace_head_loss, replace_auxiliary_loss, add_auxiliary_loss, copy.deepcopy]
)
def test_a_loss_or_model_that_a_hook_puts_in_in_mid_pass_is_weighted_at_once(tmp_path, replace):
    runner, hook = replaced_run(tmp_path, replace)
    runner.train()
    assert hook.weights and hook.weights == hook.due
    assert not runner.train_loop.sampler.scores.values.isnan().any()


def unwrap_head_loss(model):
    model.head.loss_module = model.head.loss_module.loss


def add_plain_loss(model):
    model.auxiliary_head.loss_decode.append(InfoBatchLoss(dict(type='mmseg.DiceLoss')).loss)


@pytest.mark.parametrize(
    ('put_in', 'reason'),
    [
        (unwrap_head_loss, 'no loss of ImageClassifier is an InfoBatchLoss'),
        (add_plain_loss, r'model.auxiliary_head.loss_decode.1 \(DiceLoss\) would carry no weights'),
    ],
)
def test_a_plain_loss_that_a_hook_puts_in_is_refused_at_once(tmp_path, put_in, reason):
    runner, _ = replaced_run(tmp_path, put_in)
    with pytest.raises(ValueError, match=reason):
        runner.train()
    assert runner.iter == 9


def halves_mixed(inputs, targets):
    """A batch augmentation that mixes each image with its neighbor."""
    return (inputs + inputs.flip(0)) / 2, (targets + targets.flip(0)) / 2


def test_a_batch_augmentation_that_a_hook_puts_in_mixes_the_weights_at_once(tmp_path):

    def replace(model):
        model.data_preprocessor.batch_augments = halves_mixed

    runner, hook = replaced_run(tmp_path, replace)
    runner.train()
    mean = runner.train_loop.sampler.plan.weights.double().mean().item()
    assert mean > 1 and hook.due != [[1, 1]]
    assert hook.weights == [[pytest.approx(np.prod(hook.due) / mean)] * 2]
    assert runner.model.data_preprocessor.batch_augments is halves_mixed
