"""Nothing in a step waits for the device or copies to it, but what the wrapped loss does itself.

On a GPU that is not there: see :mod:`fake_device`.
"""

import pytest
import toolbox_runs as runs
import torch
from fake_device import fake_cuda, watched
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.utils import digit_version
from test_decompositions import CASES as OTHERS
from test_losses import CASES
from test_unknown import ValidMean
from torch import nn

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses.mixing import MixingRecorder
from mm_infobatch.losses.model_losses import ModelLosses

pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
    pytest.mark.skipif(
        digit_version(torch.__version__) < digit_version('2.2'),
        reason='this torch asks for a driver where fake tensors on CUDA are used',
    ),
]

B = 4
WEIGHTS = torch.tensor([1.0, 2.0, 1.5, 3.0])
LOSSES = {
    **{name: (case.loss, (case.pred, case.target), case.kwargs) for name, case in CASES.items()},
    **{name: (config, (pred, *args), {}) for name, (config, pred, args) in OTHERS.items()},
}
# What the toolboxes' own losses cannot do on fake tensors, or anywhere without a GPU
FAILING = {
    'lovasz': 'it looks for the classes of an image',
    'huasdorff': 'it computes with NumPy',
    'mmseg focal, indices': 'it takes no indices without a GPU',
    'mmseg focal, indices, one channel': 'it takes no indices without a GPU',
}


def found_in(loss, args, kwargs, weights=None, uniform=False, batches=1):
    """What a loss reads and copies in the last batch."""
    with fake_cuda() as put:
        args, kwargs, loss = put(args), put(kwargs), put(loss)
        weights = None if weights is None else put(weights)
        for _ in range(batches):
            with watched() as found:
                if weights is not None:
                    loss.begin_batch(weights, uniform)
                loss(*args, **kwargs)
                if weights is not None:
                    loss.end_batch()
    return found


@pytest.mark.parametrize('uniform', [False, True])
@pytest.mark.parametrize('name', LOSSES)
def test_a_wrapped_loss_waits_and_copies_no_more_often_than_it_does_alone(name, uniform):
    if name in FAILING:
        pytest.skip(f'not on fake tensors: {FAILING[name]}')
    config, args, kwargs = LOSSES[name]
    try:
        alone = found_in(MODELS.build(dict(config)), args, kwargs)
    except IndexError as error:
        pytest.skip(f'{config["type"]} itself cannot do it: {error!s:.80}')
    ours = found_in(InfoBatchLoss(dict(config)), args, kwargs, WEIGHTS, uniform, batches=2)
    for each in set(ours):
        assert ours.count(each) <= alone.count(each), (ours, alone)


@pytest.mark.parametrize('uniform', [False, True])
def test_after_the_first_batch_an_unknown_loss_is_checked_without_a_wait(uniform):
    _, (pred, target), _ = LOSSES['mmseg softmax, ignored pixels']
    loss = InfoBatchLoss(ValidMean())
    loss.begin_batch(WEIGHTS, uniform)
    loss(pred, target)  # the first batch, for which the run waits
    loss.end_batch()
    assert found_in(loss, (pred, target), {}, WEIGHTS, uniform, batches=2) == []


def test_the_watch_sees_what_it_looks_for():
    with fake_cuda() as put:
        here, there = torch.ones(3), put(torch.ones(3))
        place = put(torch.tensor(1))
        with watched() as found:
            there[place]
            there[there > 0]
            there.sum().item()
            bool((there > 0).all())
            there.to('cpu')
            there.copy_(here)
            there.new_tensor([1.0, 2.0])
            torch.tensor([1, 2], device='cuda:0')
    assert found == [
        '_local_scalar_dense',
        'index by a mask',
        '_local_scalar_dense',
        '_local_scalar_dense',
        '_to_copy between host and device',
        'copy_ between host and device',
        '_to_copy between host and device',
        '_to_copy between host and device',
    ]


# ------------------------------------------------------------------ the model


class TwoLosses(BaseModel):
    """A head with two losses, of which one is unknown and one gives no scores."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.loss_ce = InfoBatchLoss(dict(type='mmpretrain.CrossEntropyLoss'), score=False)
        self.loss_mine = InfoBatchLoss(ValidMean())

    def forward(self, inputs, labels, mode='loss'):
        scores = self.linear(inputs)
        return dict(
            loss=self.loss_ce(scores, labels, avg_factor=len(labels)),
            loss_mine=self.loss_mine(scores, labels),
        )


def after_the_first_batch():
    """A model of which an unknown loss has seen a batch, for which a run waits."""
    model = TwoLosses()
    losses = ModelLosses(model)
    losses.begin_batch(WEIGHTS, False, 0.7, {})
    model(torch.randn(B, 3), torch.tensor([0, 1, 2, 1]))
    losses.end_batch({})
    return model


@pytest.mark.parametrize('uniform', [False, True])
def test_a_step_of_a_model_neither_waits_nor_copies(uniform):
    inputs, labels = torch.randn(B, 3), torch.tensor([0, 1, 2, 1])
    model = after_the_first_batch()
    with fake_cuda() as put, torch.no_grad():
        model, weights = put(model), put(WEIGHTS)
        inputs, labels, matrix = put(inputs), put(labels), put(torch.full((B, B), 0.25))
        losses = ModelLosses(model)
        for _ in range(2):
            with watched() as found:
                losses.begin_batch(weights, uniform, 0.7, {})
                losses._mix(matrix)
                total, logged = model.parse_losses(model(inputs, labels))
                scores = losses.end_batch(logged)
            assert scores.device == weights.device and found == []


def test_mixing_neither_waits_nor_copies():
    def blend(inputs, targets):
        order = torch.arange(B - 1, -1, -1, device=inputs.device)
        return 0.3 * inputs + 0.7 * inputs[order], 0.3 * targets + 0.7 * targets[order]

    with fake_cuda() as put:
        inputs, targets = put(torch.ones(B, 3, 8, 8)), put(torch.eye(B))
        with watched() as found:
            MixingRecorder(blend, lambda matrix: None)(inputs, targets)
    assert found == []


def test_the_rows_of_all_tasks_are_copied_at_once():
    model = MODELS.get('mmpretrain.MultiTaskHead')(task_heads={})
    model.task_heads = nn.ModuleDict(
        {task: InfoBatchLoss(dict(type='mmpretrain.CrossEntropyLoss')) for task in 'abc'}
    )
    samples = [dict(a=1, b=1), dict(b=1, c=1), dict(a=1), dict(c=1)]  # two of each task
    with fake_cuda() as put, torch.no_grad():
        weights, scores, labels = put(WEIGHTS), put(torch.randn(2, 3)), put(torch.tensor([0, 1]))
        losses = ModelLosses(model)
        with watched() as found:
            losses.begin_batch(weights, False, 0.7, dict(data_samples=samples))
            for loss in model.task_heads.values():
                loss(scores, labels)
            losses.end_batch()
    assert found == ['_to_copy between host and device']


# ------------------------------------------- weights that are not where values are


@pytest.mark.parametrize('name', ['mmseg softmax, ignored pixels, avg_non_ignore', 'ohem, ignored',
                                  'boundary', 'masked patches', 'mmseg focal, one-hot', 'tversky',
                                  'seesaw', 'kl divergence', 'mmpretrain softmax'])  # fmt: skip
@pytest.mark.parametrize('uniform', [False, True])
def test_weights_on_the_host_multiply_values_on_a_device(name, uniform):
    """As where FSDP or ZeRO keep the parameters on the host."""
    config, args, kwargs = LOSSES[name]
    with fake_cuda() as put:
        loss = put(InfoBatchLoss(dict(config)))
        with watched():
            loss.begin_batch(WEIGHTS, uniform)
            value = loss(*put(args), **put(kwargs))
        assert value.is_cuda and loss.end_batch().is_cuda


def test_scores_come_back_to_the_device_of_the_weights():
    model = after_the_first_batch()
    with fake_cuda() as put, torch.no_grad():
        model = put(model)
        losses = ModelLosses(model)
        with watched():
            losses.begin_batch(WEIGHTS, False, 0.7, {})
            model(put(torch.randn(B, 3)), put(torch.tensor([0, 1, 2, 1])))
            assert losses.end_batch({}).device == WEIGHTS.device
