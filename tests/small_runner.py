"""What several tests need: data sets, mmengine's own order, a small run, and spies."""

import contextlib
import io
import random
import sys
import uuid
from unittest import mock

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from mm_infobatch import InfoBatchLoss, InfoBatchSampler
from mm_infobatch.passes.batch_shape import BatchShape
from mm_infobatch.passes.running_pass import RunningPass
from mm_infobatch.passes.schedule import PassSchedule


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


class Numbered(Dataset):
    """Sample i is the number i."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index


def default_sampler(length, world_size, rank, **kwargs):
    """mmengine's ``DefaultSampler``, as it would be built on that rank."""
    with mock.patch('mmengine.dataset.sampler.get_dist_info', return_value=(rank, world_size)):
        return DefaultSampler(Numbered(length), **kwargs)


def halves(length):
    """Scores [length] whose lower half is well-learned."""
    scores = torch.zeros(length)
    scores[length // 2 :] = 1
    return scores


def scored_sampler(length, scores=None, **kwargs):
    """A sampler whose every sample has a score: random ones, the same for the same length."""
    sampler = InfoBatchSampler(Numbered(length), **{'seed': 0, **kwargs})
    if scores is None:
        scores = torch.rand(length, generator=torch.Generator().manual_seed(length))
    sampler.scores.update(torch.arange(length), scores)
    return sampler


class Moment(PassSchedule):
    """A schedule of many passes that nobody asks how long the run will be, which takes long."""

    def _estimate(self):
        return self.total


def begin(sampler, epoch, progress=0.0, batch_size=1, drop_last=False):
    """Begin a pass as in a run, of which that share (a multiple of 1e-4) is done."""
    schedule = Moment(10_000, 1, delta=sampler.delta)
    schedule.skip_to(round(progress * 10_000), epoch)
    sampler.join_run(schedule, BatchShape(batch_size, sampler.world_size, drop_last))
    sampler.begin_pass()
    return sampler


def running_pass(sampler, **kwargs):
    """The current pass of a sampler, from where the sampler stands."""
    return RunningPass(
        sampler.order,
        sampler.scores,
        torch.device('cpu'),
        sampler.rank,
        sampler.shape,
        sampler.start,
        **{'batch_score': sampler.batch_score, **kwargs},
    )


def resumed_pass(sampler, state):
    """The pass of a checkpoint."""
    sampler.load_state_dict(state['sampler'])
    return running_pass(sampler, merged=state['merged'], earlier=state['losses'])


def state_of(sampler, running):
    """What a checkpoint holds of a pass."""
    return dict(running.state_dict(), sampler=sampler.state_dict(running.consumed))


def through_a_file(state):
    """A state as a checkpoint brings it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def rng_states():
    """The state of every global generator, to compare before and after."""
    kind, keys, *rest = np.random.get_state()
    return (
        random.getstate(),
        kind,
        tuple(keys.tolist()),
        tuple(rest),
        tuple(torch.get_rng_state().tolist()),
    )


# ---------------------------------------------------------------- a small run


class Points(Dataset):
    """Points of three classes; every third is hard to tell."""

    def __init__(self, length):
        self.labels = torch.arange(length) % 3
        noise = torch.randn(length, 4, generator=torch.Generator().manual_seed(length))
        hard = (torch.arange(length) // 3 % 3 == 0)[:, None]
        self.inputs = nn.functional.one_hot(self.labels, 4) * 2.0 + noise * (0.1 + 3 * hard)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return dict(inputs=self.inputs[index], labels=self.labels[index], index=index)


class Classifier(BaseModel):
    """A linear classifier with a wrapped loss; remembers the indices that it was trained on, and
    the weights of the last batch."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.loss = InfoBatchLoss(dict(type='mmpretrain.CrossEntropyLoss'))
        self.seen = []

    def forward(self, inputs, labels, index, mode):
        self.seen += index.tolist()
        weights = self.loss._weights
        self.weights = None if weights is None else weights.tolist()
        return dict(loss=self.loss(self.head(inputs), labels))


class Validated(Classifier):
    """A classifier that a validation loop can use."""

    def forward(self, inputs, labels, index, mode):
        return [0] if mode == 'predict' else super().forward(inputs, labels, index, mode)


class Flat(BaseMetric):
    """An accuracy that never changes."""

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(accuracy=0.5)


def small_runner(
    work_dir,
    train_cfg,
    length=24,
    sampler=None,
    drop_last=False,
    batch_size=4,
    loader=None,
    runner=Runner,
    **kwargs,
):
    """A Runner over :class:`Points`.

    Args:
        work_dir: Where it writes.
        train_cfg (dict): The loop.
        length (int): The number of samples.
        sampler (dict): More of the sampler.
        drop_last (bool): Whether a batch that is not full is left out.
        batch_size (int): The samples of a batch.
        loader (dict): More of the dataloader.
        runner (type): Its class.
    """
    kwargs.setdefault('model', Classifier())
    kwargs.setdefault('custom_hooks', [dict(type='InfoBatchHook')])
    kwargs.setdefault('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.1)))
    return runner(
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Points(length),
            batch_size=batch_size,
            drop_last=drop_last,
            sampler=dict(type='InfoBatchSampler', **(sampler or {})),
            collate_fn=dict(type='default_collate'),
            **{'num_workers': 0, **(loader or {})},
        ),
        train_cfg=train_cfg,
        randomness=dict(seed=0),
        log_level='ERROR',
        experiment_name=uuid.uuid4().hex,
        **kwargs,
    )


# ---------------------------------------------------------------------- spies


class _Waits(TorchDispatchMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal'):
            self.found.append(name)
        if name in ('index', 'index_put', 'index_put_') and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.found.append('index by a mask')
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def waits():
    """Collect what would wait for the device, were the tensors on one.

    Yields:
        list[str]: The operations, as they are met.
    """
    found = []

    def spied(name):
        original = getattr(torch.Tensor, name)

        def method(self, *args, **kwargs):
            found.append(name)
            return original(self, *args, **kwargs)

        return mock.patch.object(torch.Tensor, name, method)

    with contextlib.ExitStack() as stack:
        for name in ('cpu', 'numpy', 'tolist', '__array__'):
            stack.enter_context(spied(name))
        stack.enter_context(_Waits(found))
        yield found


COLLECTIVES = [
    'all_gather',
    'all_gather_object',
    'all_reduce',
    'all_reduce_dict',
    'all_reduce_params',
    'barrier',
    'broadcast',
    'broadcast_object_list',
    'collect_results',
    'gather',
    'gather_object',
    'sync_random_seed',
]


@contextlib.contextmanager
def collectives(replaced=None):
    """Collect the collectives that the package calls, wherever it has imported them to.

    Args:
        replaced (dict): What to do instead, by name.

    Yields:
        list[str]: Their names, as they are called.
    """
    found, replaced = [], replaced or {}

    def spied(module, name):
        original = replaced.get(name, getattr(module, name))

        def function(*args, **kwargs):
            found.append(name)
            return original(*args, **kwargs)

        return mock.patch.object(module, name, function)

    modules = [module for name, module in sys.modules.items() if name.startswith('mm_infobatch')]
    with contextlib.ExitStack() as stack:
        for module in [*modules, torch.distributed]:
            for name in COLLECTIVES:
                if callable(getattr(module, name, None)):
                    stack.enter_context(spied(module, name))
        yield found
