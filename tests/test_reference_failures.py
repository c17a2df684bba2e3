"""How the reference implementation fails its users; one test a failure, numbered as in style.md."""

import importlib
import io
import itertools
import math
import os.path as osp
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from small_runner import (
    Numbered,
    collectives,
    default_sampler,
    halves,
    resumed_pass,
    rng_states,
    running_pass,
    scored_sampler,
    small_runner,
    state_of,
    waits,
)
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as torch_dataloader

from mm_infobatch import InfoBatchHook, InfoBatchLoss, InfoBatchSampler
from mm_infobatch.losses.model_losses import ModelLosses
from mm_infobatch.passes.batch_shape import BatchShape
from mm_infobatch.passes.schedule import PassSchedule
from mm_infobatch.policies import SoftPruning
from mm_infobatch.policies.thresholds import mean_score

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolbox says when imported is not about us
    importlib.import_module('mmpretrain.models')

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
CPU = torch.device('cpu')


# ------------------------------------------------ 1. an epoch that never ends


class ResetsItself(InfoBatchSampler):
    """The reference's way: ``__iter__`` starts the epoch again and returns the sampler."""

    def __iter__(self):
        self.numbers = iter(self.due()[0].tolist())
        return self

    def __next__(self):
        return next(self.numbers)


def begins_again_when_asked_for_an_iterator(sampler):
    numbers = iter(sampler)
    first, second = next(numbers), next(iter(numbers))
    return first == second


def test_1_an_epoch_ends_on_one_process():
    sampler = scored_sampler(10, halves(10), num_passes=4)
    loader = DataLoader(Numbered(10), batch_size=4, sampler=sampler)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        # Ten batches are more than there may be; an epoch without an end would give them.
        batches = [batch.tolist() for batch in itertools.islice(loader, 10)]
        expected = list(sampler)
        assert len(batches) == len(loader) == math.ceil(len(expected) / 4)
        assert sum(batches, []) == expected
    assert not begins_again_when_asked_for_an_iterator(sampler)
    # Control: what recent torch asks of a sampler tells the reference's.
    assert begins_again_when_asked_for_an_iterator(ResetsItself(Numbered(10), seed=0))


# ----------------------------------- 2. annealing that keeps doubled weights


@pytest.mark.parametrize('delta', [0.875, 0.5, 0.75, 0.33])
@pytest.mark.parametrize('epochs', [3, 8, 10, 13])
def test_2_annealing_has_weights_of_one_whether_or_not_epochs_times_delta_is_whole(epochs, delta):
    sampler = scored_sampler(40, halves(40), delta=delta)
    schedule = PassSchedule(epochs * 8, 8, delta=delta)
    sampler.join_run(schedule, BatchShape(5))
    for epoch in range(epochs):
        sampler.begin_pass()
        weights = sampler.due()[1]
        if epoch < epochs * delta:
            assert len(weights) == 30 and float(weights.max()) == 2
        else:
            assert weights.tolist() == [1] * 40
        schedule.begin_pass(math.ceil(len(weights) / 5))
        while schedule.iters_left:
            schedule.advance()


# ------------------------------ 3. a mean of equal scores that exceeds them


def test_3_the_mean_of_six_million_equal_scores_does_not_exceed_them():
    scores = torch.full((6_000_001,), 0.3)
    assert mean_score(scores) == float(scores[0])
    # That a plan from such scores keeps all of them, and that a float32 mean would not: see
    # test_policies.py, test_six_million_equal_scores_prune_nothing.
    assert SoftPruning().plan(scores[:1001], torch.Generator()).pruned == 0


# ------------------------------------------- 4. one NaN that ends the pruning


def test_4_one_nan_loss_does_not_end_pruning():
    sampler = scored_sampler(40, halves(40))
    losses = halves(40)
    losses[[3, 33]] = torch.tensor([math.nan, math.inf])
    assert math.isnan(float(losses.mean()))  # control
    sampler.scores.update(torch.arange(40), losses)
    sampler.set_epoch(1)
    assert sampler.plan.pruned == 10 and sampler.plan.threshold == 0.5
    # Nor where the sample has never had another loss: it is unseen then.
    fresh = InfoBatchSampler(Numbered(40), seed=0)
    fresh.scores.update(torch.arange(40), losses)
    fresh.set_epoch(1)
    assert fresh.plan.pruned == 19 // 2
    assert {3, 33} <= set(fresh.plan.indices.tolist())


# -------------------------------------- 5. weights that do not make up for it


def test_5_the_weights_of_the_kept_make_up_for_the_pruned():
    for n, prune_ratio in itertools.product(range(1, 60), (0.5, 0.3, 0.7, 0.9)):
        scores = torch.cat([torch.zeros(n), torch.full((100,), 5.0)])
        plan = SoftPruning(prune_ratio).plan(scores, torch.Generator().manual_seed(n))
        learned = plan.weights[plan.indices < n].double()
        assert float(learned.sum()) == pytest.approx(n, rel=2**-24)
    # Control: int(keep * n) of 3 at weight 1 / keep stand for 2 of 3.
    assert int(0.5 * 3) * (1 / 0.5) == 2


# ------------------------------------------- 6. indices in the loss's own type


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_6_losses_in_half_precision_reach_the_samples_they_belong_to(dtype):
    assert int(torch.tensor(20209, dtype=torch.float16)) == 20208  # control
    length = 20_300
    expected = torch.arange(length) % 7 / 4  # exact in any type
    sampler = InfoBatchSampler(Numbered(length), seed=0)
    sampler.set_epoch(0)
    running = running_pass(sampler)
    for batch in sampler.due()[0].split(4000):
        running.add(expected[batch].to(dtype))
    running.merge()
    assert torch.equal(sampler.scores.values, expected)
    with pytest.raises(TypeError, match='int64'):
        sampler.scores.update(torch.tensor([20209.0]).half(), torch.ones(1))


# ----------------------------------- 7. a checkpoint without what it goes on by


def losses_of(indices, epoch):
    """Some loss of each sample, that changes from pass to pass."""
    return torch.sin(indices * 1.7 + epoch) + 2


class Training:
    """A run without a model: batches of 4 samples, and losses that are made up."""

    def __init__(self, checkpoint=None, passes=8, length=40):
        self.sampler = InfoBatchSampler(Numbered(length), seed=5 if checkpoint is None else 99)
        self.schedule = PassSchedule(passes * 10, 10)
        self.sampler.join_run(self.schedule, BatchShape(4))
        self.running, self.anneals, self.trained = None, False, []
        if checkpoint is not None:
            self.running = resumed_pass(self.sampler, checkpoint)
            self.anneals = checkpoint['anneals']
            left = math.ceil(len(self.sampler.due()[0]) / 4)
            self.schedule.load_state_dict(checkpoint['schedule'], left)

    def state_dict(self):
        state = state_of(self.sampler, self.running)
        return dict(state, schedule=self.schedule.state_dict(), anneals=self.anneals)

    def train(self, iterations=10**6):
        """Train to the end, or for some iterations: (pass, progress, annealing, indices, weights)
        of each batch."""
        while not self.schedule.finished:
            if not self.schedule.iters_left:
                self.sampler.begin_pass()
                self.anneals = self.schedule.anneals
                self.running = running_pass(self.sampler)
                self.schedule.begin_pass(math.ceil(len(self.sampler) / 4))
            while self.schedule.iters_left:
                if iterations == 0:
                    return self.trained
                iterations -= 1
                indices, weights = self.running.indices(4), self.running.weights(4)
                self.trained.append(
                    (
                        self.sampler.epoch,
                        self.schedule.progress,
                        self.anneals,
                        indices,
                        weights.tolist(),
                    )
                )
                self.running.add(losses_of(torch.tensor(indices), self.sampler.epoch))
                self.schedule.advance()
            self.running.merge()
        return self.trained


def test_7_a_resumed_run_prunes_and_anneals_as_the_uninterrupted_one():
    whole = Training().train()
    passes = {epoch: [batch for batch in whole if batch[0] == epoch] for epoch in range(8)}
    assert [batches[0][2] for batches in passes.values()] == [False] * 7 + [True]
    assert [len(batches) == 10 for batches in passes.values()] == [True] + [False] * 6 + [True]
    for stop in range(1, len(whole), 2):
        first = Training()
        before = list(first.train(stop))
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        resumed = Training(torch.load(file, weights_only=True))
        assert before + resumed.train() == whole
        first.train()
        assert torch.equal(resumed.sampler.scores.values, first.sampler.scores.values)
    # Control: a run that only knows how many iterations and passes were made goes on otherwise.
    done = len(passes[0] + passes[1])
    without = Training()
    without.schedule.skip_to(done, 2)
    assert whole[:done] + without.train() != whole


# -------------------------------- 8. a collective and a wait in every iteration


@pytest.mark.parametrize(
    'loop',
    [dict(type='InfoBatchEpochLoop', max_epochs=4), dict(type='InfoBatchIterLoop', max_iters=12)],
    ids=lambda loop: loop['type'],
)
def test_8_a_step_calls_no_collective_and_does_not_wait_for_the_device(tmp_path, monkeypatch, loop):
    # Rank 0 of 2, alone: the other one is imagined to have seen the same losses.
    runner = small_runner(tmp_path, loop, sampler=dict(rank=0, world_size=2))
    monkeypatch.setattr('mm_infobatch.passes.scores.get_world_size', lambda: 2)
    in_steps, per_pass = [], []

    def watched(cls, name):
        original = getattr(cls, name)

        def method(self, *args, **kwargs):
            with waits() as waited:
                calls = len(called)
                result = original(self, *args, **kwargs)
            if not runner.train_loop.schedule.iters_left:  # it ended with this step
                per_pass.append(called[calls:])
            else:
                in_steps.append((name, waited, called[calls:]))
            return result

        monkeypatch.setattr(cls, name, method)

    watched(ModelLosses, 'begin_batch')
    watched(ModelLosses, 'end_batch')
    watched(InfoBatchHook, 'after_train_iter')
    watched(InfoBatchLoss, 'forward')
    with collectives(dict(all_gather=lambda losses: [losses, losses])) as called:
        runner.train()
    assert len(in_steps) > 15 and {name for name, *_ in in_steps} == {
        'begin_batch',
        'end_batch',
        'after_train_iter',
        'forward',
    }
    assert all(waited == [] and collective == [] for _, waited, collective in in_steps)
    assert per_pass == [['all_gather']] * 4 and called == ['all_gather'] * 4  # one a pass


def test_8_the_spies_of_the_test_above_tell_a_step_that_waits_and_one_that_gathers():
    with waits() as waited:
        losses = torch.rand(4)
        losses.mean().item(), losses[losses > 0.5], losses.cpu()
        assert bool(losses.sum() > -1)
    assert waited == ['_local_scalar_dense', 'index by a mask', 'cpu', '_local_scalar_dense']
    from mm_infobatch.passes import scores

    with collectives() as called:
        scores.all_gather(losses)
    assert called == ['all_gather']


# --------------------------------------- 9. what is global is changed for all


def as_a_list(samples):
    return {'samples': samples, 'names': [f'sample {sample}' for sample in samples]}


@pytest.mark.parametrize('num_workers', [0, 2])
def test_9_nothing_global_is_touched_and_a_custom_collate_works(num_workers):
    before = rng_states()
    sampler = scored_sampler(20, halves(20))
    loader = DataLoader(
        Numbered(20),
        batch_size=4,
        sampler=sampler,
        collate_fn=as_a_list,
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(0),
    )
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected = list(sampler)
        batches = list(itertools.islice(loader, 10))
        assert sum((batch['samples'] for batch in batches), []) == expected
        assert batches[0]['names'][0] == f'sample {expected[0]}'
        assert all(set(batch) == {'samples', 'names'} for batch in batches)
    assert rng_states() == before


def test_9_the_dataloaders_of_the_process_are_torchs_own():
    for name in (
        'DataLoader',
        '_BaseDataLoaderIter',
        '_SingleProcessDataLoaderIter',
        '_MultiProcessingDataLoaderIter',
    ):
        cls = getattr(torch_dataloader, name)
        assert cls.__module__ == torch_dataloader.__name__
        for name, attribute in vars(cls).items():
            code = getattr(getattr(attribute, 'fget', attribute), '__code__', None)
            if code is not None:
                assert osp.dirname(code.co_filename) == osp.dirname(torch_dataloader.__file__), name
    other = default_sampler(20, 1, 0, seed=0)
    batches = list(DataLoader(Numbered(20), batch_size=4, sampler=other))
    assert all(isinstance(batch, torch.Tensor) for batch in batches)
    assert torch.cat(batches).tolist() == list(other)


# --------------------- 10. a segmentation example that trains on all the data


def test_10_the_segmentation_configs_prune_and_have_a_control_on_full_data():
    # That such a run does prune: see test_training.py.
    folder = CONFIGS / 'upernet'
    runs = [Config.fromfile(path) for path in sorted(folder.glob('*infobatch*ade20k*.py'))]
    budgets = {cfg.train_cfg.get('budget', 'passes'): cfg for cfg in runs}
    assert set(budgets) == {'passes', 'iterations'}
    for cfg in runs:
        assert cfg.train_dataloader.sampler.type == 'InfoBatchSampler'
        assert cfg.train_cfg.type == 'InfoBatchIterLoop'
        assert 'InfoBatchHook' in [hook['type'] for hook in cfg.custom_hooks]
        for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
            assert head.loss_decode.type == 'InfoBatchLoss'
    pruned = budgets['iterations']
    controls = [
        Config.fromfile(path) for path in folder.glob('*ade20k*.py') if 'infobatch' not in path.name
    ]
    same = [cfg for cfg in controls if cfg.train_cfg.max_iters == pruned.train_cfg.max_iters]
    assert len(same) == 1
    assert same[0].train_cfg.type == 'IterBasedTrainLoop'
    assert same[0].train_dataloader.batch_size == pruned.train_dataloader.batch_size
    assert same[0].param_scheduler == pruned.param_scheduler
    assert same[0].optim_wrapper == pruned.optim_wrapper
