"""The losses of a model: those that carry no weights are refused, and what is left is told of."""

import importlib
import logging
import math
import warnings

import pytest
import toolbox_runs as runs
import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from small_runner import Classifier, small_runner
from torch import nn
from torch.utils.checkpoint import checkpoint

from mm_infobatch import InfoBatchLoss
from mm_infobatch.losses.model_losses import ModelLosses
from mm_infobatch.losses.search import (
    check_plain_losses,
    check_unweighted,
    find_losses,
    plain_losses,
    require_unweighted,
)
from mm_infobatch.losses.trained_loss import unweighted_warning

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # what the toolboxes say when imported is not about us
    importlib.import_module('mmseg.models')
    importlib.import_module('mmpretrain.models')
    from mmseg.models import FCNHead
    from mmseg.structures import SegDataSample

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

CE = dict(type='mmpretrain.CrossEntropyLoss')


def plain(**kwargs):
    return MODELS.build(dict(CE, **kwargs))


def wrapped(**kwargs):
    return InfoBatchLoss(dict(CE), **kwargs)


@MODELS.register_module()
class Composite(nn.Module):
    """A loss made of others."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([plain(), plain()])

    def forward(self, pred, target, reduction_override=None):
        return sum(part(pred, target, reduction_override=reduction_override) for part in self.parts)

    reduction = 'mean'


@MODELS.register_module()
class LossHead(nn.Module):
    """A head, whose name is no reason to take it for a loss."""

    def __init__(self, loss):
        super().__init__()
        self.loss_module = loss
        self.measure = nn.MSELoss()

    def loss(self, inputs, samples):
        return dict(loss=self.loss_module(inputs, samples))


def keeps(value):
    """A head with modules that PyTorch does not know as its own, in lists and dicts."""
    head = LossHead(wrapped())
    head.losses = value
    return head


def model_of(**parts):
    model = nn.Module()
    model.head = LossHead(wrapped())
    for name, part in parts.items():
        model.add_module(name, part)
    return model


# ------------------------------------------------------- losses that are not wrapped


def test_a_model_whose_losses_are_all_wrapped_has_no_other():
    model = model_of(other=nn.ModuleList([LossHead(wrapped()), InfoBatchLoss(Composite())]))
    assert plain_losses(model) == {}
    check_plain_losses(model)


@pytest.mark.parametrize(
    'part, path, line',
    [
        (
            LossHead(plain()),
            'model.part.loss_module',
            "model.part.loss=dict(_delete_=True, type='InfoBatchLoss', "
            "loss=dict(type='CrossEntropyLoss'",
        ),
        (
            nn.ModuleDict(dict(loss_decode=nn.ModuleList([wrapped(), plain()]))),
            'model.part.loss_decode.1',
            'at position 1 of the list',
        ),
        (Composite(), 'model.part', "loss=dict(type='Composite'"),
        (nn.ModuleList([LossHead(wrapped()), LossHead(plain())]), 'model.part.1.loss_module', ''),
        (nn.Sequential(LossHead(plain()).eval()), 'model.part.0.loss_module', 'frozen teacher'),
        (keeps([plain()]), 'model.part.losses.0', 'at position 0 of the list'),
        (keeps(dict(a=[0, plain()])), 'model.part.losses.a.1', 'at position 1 of the list'),
    ],
    ids=[
        'a head',
        'a list',
        'a loss of losses',
        'the second head',
        'in evaluation',
        'a plain list',
        'a list in a dict',
    ],
)
def test_a_loss_beside_wrapped_ones_is_refused_by_its_path_with_the_line(part, path, line):
    model = model_of(part=part)
    assert list(plain_losses(model)) == [path]
    with pytest.raises(ValueError) as error:
        ModelLosses(model)
    for text in (path, line, 'carry no weights', 'score=False', f'unweighted=[{path!r}]'):
        assert text in str(error.value)
    for name in (path, 'model.part', path.replace('.loss_module', '.loss')):
        check_unweighted(model, [name])
        ModelLosses(model, [name])


def test_a_teacher_that_is_hidden_in_a_list_may_have_losses():
    ModelLosses(model_of(part=keeps([LossHead(plain())])))


def test_wrapped_losses_are_found_in_lists_and_dicts_at_any_depth():
    losses = [wrapped(), wrapped(), wrapped()]
    head = keeps([losses[0], dict(a=(losses[1],), b=[[losses[2]]])])
    head.itself = [head, {}]
    head.itself[1]['again'] = head.itself
    assert set(losses) < set(find_losses(head))


def test_the_model_inside_wrappers_of_distributed_runs_is_looked_at():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'mm_infobatch.losses.search.is_model_wrapper', lambda m: isinstance(m, Wrapper)
        )
        model = Wrapper(model_of(teacher=Wrapper(LossHead(plain()))))
        assert list(plain_losses(model)) == ['model.teacher.loss_module']
    assert MMDistributedDataParallel  # of which mmengine's is_model_wrapper knows


class OwnNames(FCNHead):
    """Its ``loss`` evaluates the losses itself."""

    def loss(self, inputs, batch_data_samples, train_cfg):
        logits, labels = self(inputs), self._stack_batch_gt(batch_data_samples)
        return {f'loss_{i}': each(logits, labels) for i, each in enumerate(self.loss_decode)}


class Delegates(FCNHead):
    """Its ``loss`` adds to that of its base class."""

    def loss(self, inputs, batch_data_samples, train_cfg):
        return dict(super().loss(inputs, batch_data_samples, train_cfg), images=len(inputs))


def seg_loss(kind, name):
    return dict(type=f'mmseg.{kind}', loss_name=name)


@pytest.mark.parametrize('wrap', [True, False], ids=['wrapped', 'plain'])
@pytest.mark.parametrize(
    'head, losses, trained',
    [
        (dict(type='FCNHead'), ['CrossEntropyLoss', 'DiceLoss'], 1),
        (dict(type='DAHead', pam_channels=2), ['CrossEntropyLoss', 'DiceLoss'], 1),
        (dict(type=Delegates), ['CrossEntropyLoss', 'DiceLoss'], 1),
        (dict(type=OwnNames), ['CrossEntropyLoss', 'DiceLoss'], 2),
        (dict(type='DDRHead'), ['OhemCrossEntropy', 'OhemCrossEntropy'], 2),
        (
            dict(type='PIDHead'),
            ['CrossEntropyLoss', 'OhemCrossEntropy', 'BoundaryLoss', 'OhemCrossEntropy'],
            4,
        ),
    ],
    ids=lambda value: str(value['type']) if isinstance(value, dict) else None,
)
def test_a_loss_is_only_logged_where_its_head_logs_it_by_its_name(wrap, head, losses, trained):
    """PIDNet's and DDRNet's heads log each loss by a name of their own."""
    configs = [seg_loss(kind, f'part_{i}' if i else 'loss_0') for i, kind in enumerate(losses)]
    if wrap:
        configs = [dict(type='InfoBatchLoss', loss=config) for config in configs]
    model, kind = nn.Module(), head['type']
    model.decode_head = MODELS.build(
        dict(
            head,
            type=kind if isinstance(kind, type) else f'mmseg.{kind}',
            in_channels=4,
            channels=2,
            num_classes=3,
            loss_decode=configs,
        )
    )
    found = find_losses(model) if wrap else plain_losses(model)
    assert len(found) == trained


def test_a_loss_that_is_also_wrapped_is_wrapped():
    loss = plain()
    assert plain_losses(model_of(loss=InfoBatchLoss(loss), raw=loss)) == {}


@pytest.mark.parametrize('names', ['model.head', [1], None, {'model.head': 1}])
def test_names_that_are_no_list_are_refused(names):
    with pytest.raises(TypeError, match=r'has to be a list of paths; write custom_hooks='):
        require_unweighted(names)


@pytest.mark.parametrize('name', ['model.prat', 'part', 'model.head', 'model.part.loss_mod'])
def test_a_name_of_no_such_loss_is_refused_with_those_that_there_are(name):
    with pytest.raises(ValueError, match=f'names {name!r}.*: model.part.loss_module'):
        check_unweighted(model_of(part=LossHead(plain())), ['model.part', name])


# ------------------------------------------------------- what the model trains


class Trained(Classifier):
    """A classifier that adds a loss, times a factor, under a key of its own.

    Args:
        key (str): The key of the first loss; 'loss', as in mmpretrain, hides the total.
        add (str): 'nothing', 'a wrapped loss', 'one in a list' or 'a function'.
        factor (callable): From the number of the iteration to the factor.
    """

    def __init__(self, key='loss', add='a function', factor=lambda index: 0.6):
        super().__init__()
        self.key, self.add, self.factor, self.index = key, add, factor, 0
        if add == 'a wrapped loss':
            self.other = wrapped()
        elif add == 'one in a list':  # which PyTorch does not know
            self.others = [wrapped()]

    def forward(self, inputs, labels, index, mode):
        scores = self.head(inputs)
        losses = {self.key: self.loss(scores, labels)}
        if self.add == 'a wrapped loss':
            losses['loss_other'] = self.other(scores + inputs[:, :3], labels)
        elif self.add == 'one in a list':
            losses['loss_other'] = self.others[0](scores + inputs[:, :3], labels)
        elif self.add == 'a function':
            losses['loss_other'] = self.factor(self.index) * scores.square().add(1).mean()
        self.index += 1
        return losses


def warnings_of(tmp_path, model, epochs=3, **sampler):
    found = []
    runner = small_runner(
        tmp_path,
        dict(type='InfoBatchEpochLoop', max_epochs=epochs),
        sampler=dict(delta=1, **sampler),
    )
    runner.model = model
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    runner.logger.setLevel('WARNING')
    runner.logger.addHandler(handler)
    runner.train()
    return [text for text in found if 'carries no weights' in text]


@pytest.mark.parametrize('key', ['loss', 'loss_ce', 'cls.loss'])
def test_a_part_that_carries_no_weights_is_told_of_once_whatever_hides_the_total(tmp_path, key):
    (warning,) = warnings_of(tmp_path, Trained(key))
    assert 'comes from InfoBatchLoss' in warning


@pytest.mark.parametrize('key', ['loss', 'loss_ce'])
@pytest.mark.parametrize('add', ['nothing', 'a wrapped loss', 'one in a list'])
def test_where_every_part_carries_weights_there_is_no_warning(tmp_path, key, add):
    assert warnings_of(tmp_path, Trained(key, add)) == []


def test_a_wrapped_loss_that_is_kept_in_a_list_is_weighted_and_scored(tmp_path):
    models = [Trained(add=add) for add in ('a wrapped loss', 'one in a list')]
    runners = []
    for index, model in enumerate(models):
        loop = dict(type='InfoBatchEpochLoop', max_epochs=3)
        runners.append(small_runner(tmp_path / str(index), loop, sampler=dict(delta=1)))
        runners[-1].model = model
        runners[-1].train()
    assert runners[0].train_loop.schedule.iters < 3 * 6  # it prunes
    assert torch.equal(*[runner.train_loop.sampler.scores.values for runner in runners])
    assert torch.equal(*[model.head.weight for model in models])


class OwnTasks(Classifier):
    """Has ``task_heads`` as mmpretrain's ``MultiTaskHead``, each of which gets all samples."""

    def __init__(self):
        super().__init__()
        self.task_heads = nn.ModuleDict({'color': nn.Linear(4, 3)})
        self.task_heads['color'].loss = self.loss

    def forward(self, inputs, labels, index, mode):
        return dict(loss=self.loss(self.task_heads['color'](inputs), labels))


def test_tasks_of_a_users_own_head_get_all_samples(tmp_path):
    runner = small_runner(tmp_path, dict(type='InfoBatchEpochLoop', max_epochs=3), model=OwnTasks())
    runner.train()
    assert runner.train_loop.sampler.counter.saving > 0


def test_a_part_whose_factor_grows_from_zero_is_told_of_in_a_later_pass(tmp_path):
    growing = Trained(factor=lambda index: max(0.0, 0.1 * (index - 8)))
    assert len(warnings_of(tmp_path, growing)) == 1
    never = Trained(factor=lambda index: 0.0)
    assert warnings_of(tmp_path, never) == []


def test_a_part_that_is_trained_in_every_other_iteration_is_told_of(tmp_path):
    # each pass of six iterations begins with one without it
    sometimes = Trained(factor=lambda index: float(index % 2))
    whole = dict(type='SoftPruning', prune_ratio=0)
    assert len(warnings_of(tmp_path, sometimes, policy=whole)) == 1


def watch(model, forward, outputs=None):
    """The warning of one batch."""
    losses = ModelLosses(model)
    losses.begin_batch(torch.ones(4), False, 1.0, {})
    forward()
    losses.end_batch(outputs)
    return losses.end_pass()


BATCH = dict(inputs=torch.eye(4), labels=torch.tensor([0, 1, 2, 1]), index=torch.arange(4))


def test_a_model_that_overrides_parse_losses_trains_what_that_gives():
    class Halving(Trained):
        def parse_losses(self, losses):
            total, logged = super().parse_losses({k: v for k, v in losses.items() if k == self.key})
            return total, logged

    model = Halving(factor=lambda index: 5.0)

    def step():
        outputs.update(model.parse_losses(model(**BATCH, mode='loss'))[1])

    outputs = {}
    assert watch(model, step, outputs) is None


def test_a_parse_losses_that_changes_something_is_called_once_in_a_batch(tmp_path):
    class Changing(Trained):
        calls = 0

        def parse_losses(self, losses):
            self.calls += 1
            losses['loss_own'] = losses.pop('loss_other') / self.calls
            return super().parse_losses(losses)

    model = Changing('loss_ce')
    assert len(warnings_of(tmp_path, model)) == 1
    assert model.calls == model.index


def test_a_step_of_several_forward_passes_trains_the_sum_of_them():
    model = Trained(add='nothing')
    assert watch(model, lambda: [model(**BATCH, mode='loss') for _ in range(2)]) is None
    model = Trained()
    assert watch(model, lambda: [model(**BATCH, mode='loss') for _ in range(2)]) is not None


def test_a_model_that_returns_no_losses_is_compared_by_what_it_logs():
    class Own(Trained):
        def forward(self, **kwargs):
            return kwargs['inputs']

    model = Own(add='nothing')
    loss = Trained.forward

    def step():
        model(inputs=torch.ones(1))
        loss(model, **BATCH, mode='loss')

    scores = model.head(BATCH['inputs']).detach()
    ours = float(nn.functional.cross_entropy(scores, BATCH['labels']))
    assert watch(model, step, dict(loss=torch.tensor(ours))) is None
    assert 'carries no weights' in watch(model, step, dict(loss=torch.tensor(ours + 1)))
    assert watch(model, step, None) is None


@pytest.mark.parametrize(
    'logged, told',
    [
        (dict(loss_ce=1.0, acc=9.0), False),
        (dict(loss_ce=1.0, loss_adv=torch.tensor([0.5])), True),
        (dict(loss_ce=1.0, total_loss=torch.tensor(1.0)), False),
        (dict(loss_ce=1.0, total_loss=torch.tensor(1.5)), True),
        (dict(acc=9.0), False),
    ],
)
def test_a_train_step_that_logs_no_loss_by_that_name_is_compared_by_all_that_it_logs(logged, told):
    model = Trained(add='nothing')
    ours = model(**BATCH, mode='loss')['loss'].detach()
    logged = {name: value * ours for name, value in logged.items()}

    warning = watch(model, lambda: Trained.forward(model, **BATCH, mode='loss'), logged)
    assert (warning is not None) == told


def test_a_loss_of_a_head_is_not_the_total_where_parse_losses_is_the_models_own(tmp_path):
    class Own(Trained):
        def parse_losses(self, losses):
            return super().parse_losses(losses)

    assert len(warnings_of(tmp_path / 'a part', Own())) == 1
    assert warnings_of(tmp_path / 'all', Own(add='a wrapped loss')) == []


def test_nothing_stays_on_the_model_after_the_first_batch():
    model = Trained()
    losses = ModelLosses(model)
    assert len(model._forward_hooks) == 1
    losses.begin_batch(torch.ones(4), False, 1.0, {})
    model(**BATCH, mode='loss')
    losses.end_batch()
    assert not model._forward_hooks
    losses = ModelLosses(model)
    losses.release()
    assert not model._forward_hooks


@pytest.mark.parametrize(
    'total, ours, told',
    [(1.0, 1.0, False), (1.0, 1.0005, False), (1.0, 0.997, True), (float('nan'), 1.0, False)],
)
def test_losses_within_a_thousandth_are_the_same(total, ours, told):
    assert (unweighted_warning(total, ours) is not None) == told


# ---------------------------------------------- heads that are not as others


def scored(tmp_path, model):
    """Which samples have a score after a pass."""
    runner = small_runner(tmp_path, dict(type='InfoBatchEpochLoop', max_epochs=1), model=model)
    runner.train()
    return runner.train_loop.sampler.scores.values.isfinite()


def test_a_batch_without_a_loss_gives_no_scores(tmp_path):
    class Guarded(Classifier):
        def forward(self, inputs, labels, index, mode):
            if len(self.seen) != 8:
                return super().forward(inputs, labels, index, mode)
            self.seen += index.tolist()  # as where no pixel is valid
            return dict(loss=self.head(inputs).sum() * 0)

    model = Guarded()
    found = scored(tmp_path, model)
    assert sorted(model.seen[8:12]) == (~found).nonzero().flatten().tolist()


class Parts(nn.Module):
    """A model of several losses: of the whole image, and of each of the parts that are given."""

    def __init__(self, count=1):
        super().__init__()
        self.whole = InfoBatchLoss(seg_loss('CrossEntropyLoss', 'loss_whole'))
        self.parts = nn.ModuleList(
            InfoBatchLoss(seg_loss('CrossEntropyLoss', f'loss_{i}')) for i in range(count)
        )


def scores_of_parts(logits, whole, parts):
    """The scores of a batch, and the losses of each image alone, [losses, images]."""
    model = Parts(len(parts))
    losses = ModelLosses(model)
    losses.begin_batch(torch.ones(len(logits)), True, 1.0, {})
    alone = []
    for loss, target in zip([model.whole, *model.parts], [whole, *parts]):
        loss(logits, target, ignore_index=255)
        with torch.no_grad():
            values = loss.loss(logits, target, ignore_index=255, reduction_override='none')
        alone.append(values.flatten(1).sum(1) / (target != 255).flatten(1).sum(1))
    return losses.end_batch(), torch.stack(alone)


def test_a_loss_without_a_valid_pixel_in_an_image_adds_nothing_to_its_score():
    """PIDNet trains a loss of the pixels that it takes for boundaries, of which it sees none at
    first: no image had a score."""
    logits = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    whole, none = torch.ones(4, 5, 5, dtype=torch.int64), torch.full((4, 5, 5), 255)
    some = none.clone()
    some[1:, 2] = 0
    whole[3], some[3] = 255, 255
    scores, alone = scores_of_parts(logits, whole, [some, none])
    expected = alone.nansum(0).masked_fill(alone.isnan().all(0), math.nan)
    torch.testing.assert_close(scores, expected, equal_nan=True)
    assert scores.isnan().tolist() == [False, False, False, True]


def test_a_nan_loss_beside_others_is_a_nan_score():
    logits = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    whole = torch.ones(4, 5, 5, dtype=torch.int64)
    part = whole.clone()
    part[:, :3] = 255
    whole[1, 0], logits[1, :, 0] = 255, math.nan  # both losses leave out the NaN
    assert scores_of_parts(logits, whole, [part])[0].isfinite().all()
    whole[1, 0] = 1
    assert scores_of_parts(logits, whole, [part])[0].isnan().tolist() == [False, True, False, False]


def test_pidnet_scores_images_in_which_it_sees_no_boundary():
    torch.manual_seed(0)
    model = nn.Module()
    kinds = ['CrossEntropyLoss', 'OhemCrossEntropy', 'BoundaryLoss', 'OhemCrossEntropy']
    configs = [dict(type='InfoBatchLoss', loss=seg_loss(kind, f'loss_{kind}')) for kind in kinds]
    sizes = dict(in_channels=4, channels=2, num_classes=3)
    model.decode_head = MODELS.build(dict(type='mmseg.PIDHead', **sizes, loss_decode=configs))
    logits = [torch.randn(4, channels, 8, 8) for channels in (3, 3, 1)]
    logits[2][1] = -1.0  # no boundary
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 8, 8))),
            gt_edge_map=PixelData(data=torch.randint(0, 2, (1, 8, 8))),
        )
        for _ in range(4)
    ]
    losses = ModelLosses(model)
    losses.begin_batch(torch.ones(4), True, 1.0, {})
    model.decode_head.loss_by_feat(logits, samples)
    of_each = [loss._evaluations[0].scores for loss in losses.losses]
    assert of_each[3].isnan().tolist() == [False, True, False, False]
    torch.testing.assert_close(losses.end_batch(), torch.stack(of_each).nansum(0))


def test_a_head_that_stays_in_evaluation_mode_is_weighted(tmp_path):
    class Frozen(Classifier):
        def train(self, mode=True):
            return super().train(False)

    assert scored(tmp_path, Frozen()).all()
    loss = wrapped().eval()
    pred = torch.randn(4, 3, requires_grad=True)
    loss.begin_batch(torch.tensor([1.0, 2.0, 1.0, 1.0]))
    loss(pred, torch.tensor([0, 1, 2, 1])).backward()
    own = pred.grad.clone()
    pred.grad = None
    plain()(pred, torch.tensor([0, 1, 2, 1])).backward()
    assert torch.allclose(own, pred.grad * torch.tensor([[1.0], [2.0], [1.0], [1.0]]))


# ------------------------------------------------------------ unknown losses


class Foreground(nn.Module):
    """A mean over what is of no background, which only some batches show."""

    reduction = 'mean'

    def forward(self, pred, target, reduction_override=None):
        values = nn.functional.cross_entropy(pred, target, reduction='none') * (target > 0)
        return values if reduction_override == 'none' else values.sum() / (target > 0).sum()


def test_an_unknown_loss_that_was_wrong_is_refused_when_the_pass_ends_by_its_path(monkeypatch):
    monkeypatch.setattr('mm_infobatch.losses.wrapper.is_compiling', lambda: True)  # as on a device

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.head = LossHead(InfoBatchLoss(Foreground()))

        def forward(self, labels):
            return self.head.loss(torch.eye(4)[:, :3], labels)

    model = Model()
    losses = ModelLosses(model)
    for labels in (torch.tensor([1, 2, 1, 1]), torch.tensor([0, 2, 1, 1])):
        losses.begin_batch(torch.ones(4), False, 1.0, {})
        model(labels)
        losses.end_batch()
    with pytest.raises(
        ValueError, match=r'^model.head.loss_module: .*Foreground.*neither a mean over'
    ):
        losses.end_pass()


class Logging(Classifier):
    """Also evaluates its loss where that trains nothing, as for a log, or with a teacher.

    Args:
        before (bool): Whether before what it trains.
        use_reentrant (bool, optional): Which gradient checkpointing it trains with. Defaults to
            None: none.
    """

    def __init__(self, before, use_reentrant=None):
        super().__init__()
        self.before, self.use_reentrant, self.values = before, use_reentrant, []

    def log(self, inputs, labels):
        with torch.no_grad():
            return self.loss(self.head(inputs.flip(0)) + 1, labels)

    def forward(self, inputs, labels, index, mode):
        def trained(inputs):
            return self.loss(self.head(inputs), labels)

        if self.before:
            self.log(inputs, labels)
        if self.use_reentrant is None:
            value = trained(inputs)
        else:
            inputs = inputs.clone().requires_grad_()
            value = checkpoint(trained, inputs, use_reentrant=self.use_reentrant)
        if not self.before:
            self.log(inputs.detach(), labels)
        return dict(loss=value)


class Teaching(Classifier):
    """Evaluates the whole model a second time, without a gradient, in each training step."""

    def train_step(self, data, optim_wrapper):
        with torch.no_grad():
            self(**data, mode='loss')
        return super().train_step(data, optim_wrapper)


class Distilling(Classifier):
    """Logs the loss of a frozen teacher, and that of an average of the weights."""

    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(4, 3).requires_grad_(False)
        cross_entropy = dict(type='mmpretrain.CrossEntropyLoss')
        self.losses = nn.ModuleList(InfoBatchLoss(cross_entropy) for _ in range(2))

    def forward(self, inputs, labels, index, mode):
        losses = super().forward(inputs, labels, index, mode)
        losses['teacher_loss'] = self.losses[0](self.teacher(inputs), labels)
        with torch.no_grad():
            losses['average_loss'] = self.losses[1](self.head(inputs) + 1, labels)
        return losses


LOGGING = {
    'a frozen part': Distilling,
    'before': lambda: Logging(True),
    'after': lambda: Logging(False),
    'reentrant checkpointing, before': lambda: Logging(True, True),
    'reentrant checkpointing, after': lambda: Logging(False, True),
    'other checkpointing, after': lambda: Logging(False, False),
    'another forward': Teaching,
}


@pytest.mark.parametrize('name', LOGGING)
def test_what_a_model_evaluates_without_a_gradient_is_no_part_of_its_scores(name, tmp_path, caplog):
    scores = []
    for number, model in enumerate((Classifier(), LOGGING[name]())):
        runner = small_runner(
            tmp_path / str(number),
            dict(type='InfoBatchEpochLoop', max_epochs=4),
            sampler=dict(delta=1.0),
            model=model,
        )
        with caplog.at_level(logging.WARNING):
            runner.train()
        scores.append(runner.train_loop.sampler.scores.values)
        trained = runner.train_loop.sampler.counter.trained
    assert torch.allclose(*scores, rtol=1e-5) and trained < 4 * 24
    assert 'carries no weights' not in caplog.text
