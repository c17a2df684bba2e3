"""Mixup, CutMix and ResizeMix: who was mixed with whom, and what the mixed rows weigh."""

import importlib
import warnings

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.model import BaseDataPreprocessor
from small_runner import Classifier, small_runner

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses.mixing import (
    MixingRecorder,
    batch_augments_of,
    by_sample,
    mixed_weights,
    put_batch_augments,
    samples_of_rows,
)
from mm_infobatch.policies import Plan, SoftPruning

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    models = importlib.import_module('mmpretrain.models')

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

AUGMENTS = [
    dict(type='Mixup', alpha=0.8),
    dict(type='CutMix', alpha=1.0),
    dict(type='ResizeMix', alpha=1.0),
]


@pytest.fixture(autouse=True)
def seeded():
    """The toolbox draws from the global generators."""
    state, torch_state = np.random.get_state(), torch.get_rng_state()
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    np.random.set_state(state)
    torch.set_rng_state(torch_state)


def recorder(augments, seen, **kwargs):
    return MixingRecorder(models.RandomBatchAugment(augments, **kwargs), seen.append)


# ----------------------------------------------------------- the mixing matrix


@pytest.mark.parametrize('augment', AUGMENTS, ids=lambda cfg: cfg['type'])
def test_the_matrix_says_of_whom_the_targets_are_made(augment):
    targets, seen = torch.eye(6)[torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])], []
    _, mixed = recorder(augment, seen)(torch.randn(8, 3, 16, 16), targets)
    (matrix,) = seen
    assert torch.allclose(matrix @ targets, mixed) and torch.allclose(matrix.sum(1), torch.ones(8))
    assert (matrix.diagonal() > 0).all() and ((matrix != 0).sum(1) <= 2).all()
    assert ((matrix != 0).sum(1) == 2).any()


@pytest.mark.parametrize('augment', AUGMENTS, ids=lambda cfg: cfg['type'])
@pytest.mark.parametrize('probs', [None, 0.4])
def test_images_and_targets_are_those_without_the_recorder_bit_for_bit(augment, probs):
    images, targets = torch.randn(8, 3, 16, 16), torch.eye(6)[torch.randint(6, (8,))].long()
    both = []
    for wrap in (lambda aug: aug, lambda aug: MixingRecorder(aug, lambda matrix: None)):
        np.random.seed(3)
        torch.manual_seed(3)
        augments = wrap(models.RandomBatchAugment(augment, probs))
        both.append([augments(images.clone(), targets) for _ in range(5)])
    for (images_a, targets_a), (images_b, targets_b) in zip(*both):
        assert torch.equal(images_a, images_b) and torch.equal(targets_a, targets_b)
        assert targets_a.dtype == targets_b.dtype


def test_a_batch_that_is_not_mixed_has_the_identity():
    seen = []
    recorder(AUGMENTS[0], seen, probs=[0.0])(torch.randn(4, 3, 8, 8), torch.eye(4))
    assert torch.equal(seen[0], torch.eye(4))


class Smooths:
    """Mixes, or not, and smooths the targets by the number of their columns, as timm's Mixup."""

    def __init__(self, mix=None):
        self.mix = mix

    def __call__(self, inputs, targets):
        if self.mix is not None:
            inputs, targets = self.mix(inputs, targets)
        return inputs, targets * 0.9 + 0.1 / targets.shape[1]


@pytest.mark.parametrize('mix', [None, models.RandomBatchAugment(AUGMENTS[0])])
def test_an_augmentation_that_does_more_than_mix_is_refused(mix):
    wrong = MixingRecorder(Smooths(mix), print)
    wrong(torch.randn(4, 3, 8, 8), torch.eye(4, 6))
    with pytest.raises(ValueError, match=r'do not sum to 1 .*by up to 0.06\)'):
        wrong.check()
    wrong.check()  # of the batches since


@pytest.mark.parametrize('augment', AUGMENTS, ids=lambda cfg: cfg['type'])
def test_an_augmentation_that_only_mixes_is_not(augment):
    right = recorder(augment, [])
    right.check()
    for _ in range(20):
        right(torch.randn(8, 3, 16, 16), torch.eye(8))
    right.check()


def test_a_run_whose_augmentation_smooths_stops_in_its_first_iteration(tmp_path):
    data = runs.write_classification_data(tmp_path / 'data')
    cfg = runs.switch_on(runs.classification_config(data, str(tmp_path / 'run')))
    cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=0.8))
    runner, recorded = runs.build(cfg)
    runner.model.data_preprocessor.batch_augments = Smooths()
    with pytest.raises(ValueError, match='smooth labels in the loss'):
        runner.train()
    assert not recorded.rows


def test_an_augmentation_that_changes_the_rows_is_refused():
    twice = MixingRecorder(lambda x, t: (torch.cat([x, x]), torch.cat([t, t])), print)
    with pytest.raises(ValueError, match='remove it from model.train_cfg.augments'):
        twice(torch.randn(4, 3, 8, 8), torch.eye(4))


def test_an_augmentation_of_data_samples_is_refused():
    paste = MixingRecorder(lambda x, samples: (x, samples), print)
    with pytest.raises(ValueError, match='gets list for its targets, not a tensor'):
        paste(torch.randn(4, 3, 8, 8), [object()] * 4)


# ----------------------------------------------------------------- the weights


def test_a_mixed_row_weighs_the_product_over_the_mean_weight():
    weights = torch.tensor([1.0, 2.0, 4.0, 2.0])
    matrix = torch.tensor([[0.7, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0.4, 0, 0, 0.6]])
    expected = torch.tensor([2 / 1.5, 2, 8 / 1.5, 2 / 1.5])
    assert torch.allclose(mixed_weights(weights, matrix, 1.5), expected)


def test_more_than_two_members_are_as_many_chances_to_be_pruned():
    weights, matrix = torch.tensor([2.0, 3.0, 1.0]), torch.tensor([[0.2, 0.3, 0.5]] * 3)
    assert torch.allclose(mixed_weights(weights, matrix, 2.0), torch.full((3,), 6 / 4))


def test_a_pass_that_prunes_nothing_has_weights_of_one():
    matrix = 0.3 * torch.eye(5) + 0.7 * torch.eye(5)[torch.randperm(5)]
    assert torch.equal(mixed_weights(torch.ones(5), matrix, 1.0), torch.ones(5))


# ----------------------------------------------------- whose score a row gives


class Halves(torch.nn.Module):
    """Mixes each sample with the one before it, and has a buffer, as kornia's augmentations."""

    def __init__(self):
        super().__init__()
        self.register_buffer('share', torch.tensor(0.5))

    def forward(self, inputs, targets):
        return tuple(torch.lerp(each.roll(1, 0), each, self.share) for each in (inputs, targets))


class Mixes(BaseDataPreprocessor):
    """A data preprocessor of one's own."""

    def __init__(self, batch_augments):
        super().__init__()
        self.batch_augments = batch_augments

    def forward(self, data, training=False):
        data = super().forward(data, training)
        targets = torch.nn.functional.one_hot(data['labels'], 3).float()
        inputs, labels = self.batch_augments(data['inputs'], targets)
        return dict(data, inputs=inputs, labels=labels)


class MixesPoints(Classifier):
    def __init__(self, batch_augments):
        super().__init__()
        self.data_preprocessor = Mixes(batch_augments)
        self.loss = InfoBatchLoss(dict(type='mmpretrain.CrossEntropyLoss', use_soft=True))


def trained_with(batch_augments, work_dir):
    runner = small_runner(
        work_dir,
        dict(type='InfoBatchEpochLoop', max_epochs=4),
        model=MixesPoints(batch_augments),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
    )
    runner.train()
    assert runner.train_loop.sampler.counter.saving > 0
    assert runner.model.data_preprocessor.batch_augments is batch_augments
    assert 'batch_augments' not in vars(runner.model.data_preprocessor) or not isinstance(
        batch_augments, torch.nn.Module
    )
    saved = torch.load(f'{work_dir}/epoch_2.pth', weights_only=False)['state_dict']
    return saved, runner.model.state_dict()


def test_a_module_that_mixes_is_recorded_as_a_function_is(tmp_path):
    module = Halves()
    _, by_function = trained_with(lambda *batch: module(*batch), tmp_path / 'function')
    saved, by_module = trained_with(module, tmp_path / 'module')
    name = 'data_preprocessor.batch_augments.share'
    assert by_module.pop(name) == saved[name] == 0.5  # also in a checkpoint of the run
    runs.assert_same_state(by_module, by_function)


def test_a_module_may_be_removed_in_a_run():
    preprocessor = Mixes(Halves())
    augment = batch_augments_of(preprocessor)
    put_batch_augments(preprocessor, MixingRecorder(augment, print))
    assert batch_augments_of(preprocessor) is augment is not preprocessor.batch_augments
    preprocessor.batch_augments = None  # by a hook
    assert batch_augments_of(preprocessor) is None
    put_batch_augments(preprocessor, None)
    assert preprocessor.batch_augments is None


@pytest.mark.parametrize('kind', [list, tuple, torch.nn.ModuleList])
def test_a_list_of_augmentations_is_refused_unless_it_is_empty(kind):
    with pytest.raises(ValueError, match=rf'of Mixes is a {kind.__name__}.* make it one callable'):
        batch_augments_of(Mixes(kind([Halves()])))
    assert batch_augments_of(Mixes(kind([]))) is None


class Turns:
    """Puts each sample into another row, so many further up."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, images, targets):
        return images.roll(-self.rows, 0), targets.roll(-self.rows, 0)


def test_a_row_gives_the_score_of_its_own_sample_or_of_the_one_that_has_most_of_it():
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    mixed = 0.1 * torch.eye(4) + 0.9 * torch.eye(4).roll(1, 0)
    assert torch.equal(by_sample(scores, samples_of_rows(mixed)), scores)
    turned = torch.eye(4)[torch.tensor([1, 0, 3, 3])]
    scores[1] = float('inf')
    found = by_sample(scores, samples_of_rows(turned))
    assert found.tolist()[:2] == [float('inf'), 1.0]
    assert found[2].isnan() and found[3] == 3.5


def test_after_an_augmentation_that_reorders_rows_scores_reach_their_samples(tmp_path):
    data = runs.write_classification_data(tmp_path / 'data')
    scores = []
    for rows in (0, 1):
        cfg = runs.classification_config(data, tmp_path / str(len(scores)), max_epochs=1)
        cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=0.8))
        cfg.optim_wrapper.optimizer.lr = 0.0
        runner, _ = runs.build(runs.switch_on(cfg))
        runner.model.data_preprocessor.batch_augments = Turns(rows)
        runner.train()
        scores.append(runner.train_loop.sampler.scores.values)
    assert len(scores[0].unique()) > 8
    torch.testing.assert_close(*scores)


class Problem:
    """The gradient of a linear classifier over passes of mixed batches, N samples of D values.

    Well-learned samples have other inputs than the rest, so that a partner that comes from too few
    of them shows.
    """

    N, D, C, B = 400, 4, 3, 40

    def __init__(self):
        rng = torch.Generator().manual_seed(1)
        self.scores = torch.rand(self.N, generator=rng)
        self.scores[:250] *= 0.2
        self.x = torch.randn(self.N, self.D, 1, 1, generator=rng)
        self.x[:250] += 1.5
        self.targets = torch.eye(self.C)[torch.randint(self.C, (self.N,), generator=rng)]
        self.model = torch.randn(self.D, self.C, generator=rng)

    def gradients(self, plan, weighings):
        """The weighted mean of a pass's gradients, for each weighing, float64 [W, D * C]."""
        total = torch.zeros(len(weighings), self.D, self.C)
        order = plan.indices[torch.randperm(plan.kept)]
        of = torch.zeros(self.N).index_copy(0, plan.indices, plan.weights)
        seen = []
        mix = recorder(dict(type='Mixup', alpha=1.0), seen)
        for batch in order.split(self.B):
            x, targets = mix(self.x[batch], self.targets[batch])
            x = x.flatten(1)
            error = (x @ self.model).softmax(1) - targets
            for sums, weigh in zip(total, weighings):
                weights = weigh(of[batch], seen[-1], float(plan.weights.mean()))
                sums += x.t() @ (error * weights[:, None])
        return (total.double() / plan.weights.double().sum()).flatten(1)

    def means(self, passes, plan, weighings):
        """The mean over passes and its standard error, float64 [W, D * C] each."""
        drawn = torch.stack([self.gradients(plan(), weighings) for _ in range(passes)])
        return drawn.mean(0), drawn.std(0) / passes**0.5


@pytest.mark.parametrize('rescale', [True, 'normalized'])
def test_the_expected_gradient_of_a_pruned_mixed_pass_is_that_of_an_unpruned_one(rescale):
    """Of the mean over the rows, where weights are normalized.

    Twelve entries of a gradient, each within 5 standard errors: fails once in 100,000 seeds.

    The weights leave out terms of 1/N (the two members of a pair are drawn without replacement),
    which lie far below a standard error here. The controls, with the naive weight of a row (that
    of its own sample) and without weights, are off by more than 8.
    """
    problem, passes = Problem(), 700
    generator = torch.Generator().manual_seed(0)
    policy = SoftPruning(prune_ratio=0.5, rescale=rescale)
    full, full_error = problem.means(passes, lambda: Plan.full(problem.N), [mixed_weights])
    weighings = [
        mixed_weights,
        lambda weights, matrix, mean: weights,
        lambda weights, matrix, mean: torch.ones_like(weights),
    ]
    mean, error = problem.means(passes, lambda: policy.plan(problem.scores, generator), weighings)
    off = ((mean - full).abs() / (error**2 + full_error**2).sqrt()).amax(1)
    assert off[0] < 5
    assert off[1:].min() > 8
