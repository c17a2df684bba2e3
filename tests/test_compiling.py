"""``torch.compile``: a wrapped loss is one graph, and gradient checkpointing stays right."""

import warnings

import pytest
import toolbox_runs as runs
import torch
import torch._dynamo
from mmengine.registry import MODELS
from mmengine.utils import digit_version
from test_decompositions import CASES as OTHERS
from test_losses import CASES
from test_unknown import ValidMean
from torch import nn
from torch.utils.checkpoint import checkpoint

from mm_infobatch import InfoBatchLoss

# It does not notice when a module's attributes change, so that nothing of ours is compiled.
OLD = digit_version(torch.__version__) < digit_version('2.5')
one_graph = pytest.mark.skipif(OLD, reason='this torch cannot compile a module that changes')
pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
    pytest.mark.filterwarnings('ignore::DeprecationWarning'),  # torch's of itself
    pytest.mark.filterwarnings('ignore:.*torch.jit'),
]

B = 4
WEIGHTS = torch.tensor([1.0, 2.0, 1.5, 3.0])
NAMES = (
    'mmseg softmax',
    'mmseg softmax, ignored pixels, avg_non_ignore',
    'mmseg softmax, pixel weights',
    'mmseg focal, one-hot',
    'mmpretrain softmax',
    'mmpretrain softmax, avg_factor',
    'mmpretrain soft',
    'mmpretrain label smooth, multi_label',
    'mmpretrain focal',
)
LOSSES = {
    **{name: (CASES[name].loss, (CASES[name].pred, CASES[name].target), CASES[name].kwargs)
       for name in NAMES},
    **{name: (OTHERS[name][0], (OTHERS[name][1], *OTHERS[name][2]), {})
       for name in ('ohem, ignored', 'boundary', 'tversky', 'silog', 'kl divergence', 'asymmetric',
                    'masked patches', 'masked cosine')},
    'unknown': (None, (CASES['mmseg softmax, ignored pixels'].pred,
                       CASES['mmseg softmax, ignored pixels'].target), {}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def anew():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def wrapper(name, **changes):
    config = LOSSES[name][0]
    return InfoBatchLoss(ValidMean() if config is None else dict(config, **changes))


def evaluate(loss, function, name, uniform=False):
    """The value, the gradient and the scores."""
    _, (pred, *others), kwargs = LOSSES[name]
    pred = pred.clone().requires_grad_()
    loss.begin_batch(torch.ones(B) if uniform else WEIGHTS, uniform)
    value = function(pred, *others, **kwargs)
    value.sum().backward()
    return value.detach(), pred.grad, loss.end_batch()


def compiled(function, **kwargs):
    return torch.compile(function, backend='eager', **kwargs)


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs):
        assert torch.allclose(one, other, rtol=1e-5, equal_nan=True)


@one_graph
@pytest.mark.parametrize('uniform', [False, True])
@pytest.mark.parametrize('name', LOSSES)
def test_a_wrapped_loss_is_one_graph_with_the_values_that_it_has_without(name, uniform):
    if name.startswith('ohem') and uniform:
        pytest.skip("the loss's own value breaks the graph")
    loss = wrapper(name)
    expected = evaluate(loss, loss, name, uniform)
    assert_same(evaluate(loss, compiled(loss, fullgraph=True), name, uniform), expected)


@one_graph
@pytest.mark.parametrize('name', ['mmseg softmax', 'mmpretrain label smooth, multi_label'])
def test_another_loss_weight_breaks_no_graph_either(name):
    loss = wrapper(name, loss_weight=0.4)
    expected = evaluate(loss, loss, name)
    assert_same(evaluate(loss, compiled(loss, fullgraph=True), name), expected)


def test_the_next_batches_and_passes_that_prune_nothing_are_compiled_too():
    name = 'mmseg softmax, ignored pixels, avg_non_ignore'
    loss = wrapper(name)
    function = compiled(loss, fullgraph=not OLD)
    for uniform in (True, False, False, True, False):
        assert_same(evaluate(loss, function, name, uniform), evaluate(loss, loss, name, uniform))


def breaks(head, samples):
    feats = (torch.randn(B, 8, generator=torch.Generator().manual_seed(0)),)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch's of itself
        return torch._dynamo.explain(head.loss)(feats, samples).graph_break_count


@one_graph
def test_a_head_of_mmpretrain_has_as_many_graphs_as_with_the_loss_alone():
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(index % 3) for index in range(B)]
    # `_scope_`, and not a prefix: the head looks its loss up in the default scope, which is another
    # one once a runner has been built in this process.
    config = dict(type='LinearClsHead', num_classes=3, in_channels=8, _scope_='mmpretrain')
    head = MODELS.build(config)
    alone = breaks(head, samples)
    torch._dynamo.reset()
    head.loss_module = InfoBatchLoss(head.loss_module)
    head.loss_module.begin_batch(WEIGHTS)
    assert breaks(head, samples) == alone


# --------------------------------------------------------- gradient checkpointing


class Head(nn.Module):
    """A head whose loss is computed anew for the backward pass.

    Args:
        where (str): Of checkpointing and compiling, which is inside the other, or 'not compiled'.
        use_reentrant (bool): Which of PyTorch's two ways.
    """

    def __init__(self, where, use_reentrant):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        nn.init.constant_(self.linear.weight, 0.1)
        nn.init.zeros_(self.linear.bias)
        self.loss = InfoBatchLoss(dict(type='mmpretrain.CrossEntropyLoss'))
        self.where, self.use_reentrant = where, use_reentrant
        self.labels = torch.tensor([0, 1, 2, 1])

    def one(self, inputs):
        return self.loss(self.linear(inputs).sin() * 3, self.labels)

    def checkpointed(self, function):
        return lambda inputs: checkpoint(function, inputs, use_reentrant=self.use_reentrant)

    def forward(self, inputs):
        """Twice, as a model may call a loss, with other inputs."""
        if self.where == 'compiled inside':
            function = self.checkpointed(compiled(self.one))
        elif self.where == 'checkpointed inside':
            function = compiled(self.checkpointed(self.one))
        else:
            function = self.checkpointed(self.one)
        return function(inputs) + function(inputs.flip(0))


@pytest.mark.filterwarnings('ignore:.*')
@pytest.mark.parametrize('use_reentrant', [False, True])
@pytest.mark.parametrize('where', ['not compiled', 'compiled inside', 'checkpointed inside'])
def test_a_compiled_loss_that_is_computed_anew_counts_once(where, use_reentrant):
    if OLD and where == 'compiled inside' and not use_reentrant:
        pytest.skip('this torch cannot do it with any loss')
    inputs = torch.arange(12.0).view(4, 3).requires_grad_()
    head = Head(where, use_reentrant)
    head.loss.begin_batch(WEIGHTS)
    value = head(inputs)
    value.backward()
    trained, scores = head.loss.trained, head.loss.end_batch()
    plain = Head('', False)
    plain.loss.begin_batch(WEIGHTS)
    expected = plain.one(inputs) + plain.one(inputs.flip(0))
    assert torch.allclose(value, expected) and torch.allclose(trained, expected)
    assert torch.allclose(scores, plain.loss.end_batch())
