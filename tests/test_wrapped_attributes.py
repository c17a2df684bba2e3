"""What others read and set of a loss reaches the loss, though it is wrapped."""

import copy
import math
import pickle

import pytest
import toolbox_runs as runs
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from mmengine.registry import MODELS

from mm_infobatch import InfoBatchLoss

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


@MODELS.register_module()
class LossWithInitCfg(BaseModule):
    """A cross entropy with a learned scale, which its ``init_cfg`` sets to 0.5."""

    def __init__(self, reduction='mean', loss_weight=1.0):
        super().__init__(dict(type='Constant', layer='Linear', val=0.5))
        self.reduction, self.loss_weight = reduction, loss_weight
        self.scale = torch.nn.Linear(1, 1, bias=False)

    def forward(self, cls_score, label, reduction_override=None, **kwargs):
        loss = F.cross_entropy(cls_score * self.scale.weight, label, reduction='none')
        return loss if (reduction_override or self.reduction) == 'none' else loss.mean()


class ChangedByHook(Hook):
    """Sets an attribute of the loss when the second epoch begins."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            setattr(runner.model.head.loss_module, self.name, self.value)


def losses(cfg, *hooks):
    return runs.train(cfg, *hooks).column('loss')


@pytest.mark.parametrize(('name', 'value'), [('class_weight', [0.1, 5.0, 1.0]),
                                             ('loss_weight', 0.5)])  # fmt: skip
def test_a_hook_that_changes_a_loss_changes_the_wrapped_one(cls_data, tmp_path, name, value):
    cfg = runs.classification_config(cls_data, tmp_path / 'stock', max_epochs=2)
    stock, unchanged = losses(cfg, ChangedByHook(name, value)), losses(cfg)
    cfg = runs.switch_on(cfg, prune_ratio=0)
    cfg.work_dir = str(tmp_path / 'ours')
    assert losses(cfg, ChangedByHook(name, value)) == stock != unchanged


def test_mmpretrains_hook_warms_up_the_weight_of_a_wrapped_loss(cls_data, tmp_path):
    cfg = runs.classification_config(cls_data, tmp_path / 'stock', max_epochs=2)
    warm_up = dict(param_name='loss_weight', module_name='head.loss_module', warmup_epochs=1)
    cfg.custom_hooks = [dict(type='WarmupParamHook', **warm_up)]
    stock = losses(cfg)
    assert stock[0]['loss'] == 0 < stock[-1]['loss']
    cfg = runs.switch_on(cfg, prune_ratio=0)
    cfg.work_dir = str(tmp_path / 'ours')
    assert losses(cfg) == stock


def test_a_wrapped_loss_is_initialized_as_its_init_cfg_says(cls_data, tmp_path):
    cfg = runs.classification_config(cls_data, tmp_path / 'stock', max_epochs=1)
    cfg.model.head.loss = dict(type='LossWithInitCfg')
    stock = losses(cfg)
    cfg = runs.switch_on(cfg, prune_ratio=0)
    cfg.work_dir = str(tmp_path / 'ours')
    runner, recorder = runs.build(cfg)
    runner.train()
    assert recorder.column('loss') == stock
    assert not hasattr(runner.model.head.loss_module, '_params_init_info')


def test_what_a_loss_has_can_be_read_and_set_and_stays_when_it_is_copied():
    wrapper = InfoBatchLoss(dict(type='mmseg.CrossEntropyLoss', loss_name='loss_own'))
    assert wrapper.loss_name == 'loss_own' and wrapper.use_sigmoid is False
    wrapper.class_weight, wrapper.epoch = [1.0, 2.0], 3  # it may have had no such attribute
    for each in (wrapper, copy.deepcopy(wrapper), pickle.loads(pickle.dumps(wrapper))):
        assert each.loss.class_weight == each.class_weight == [1.0, 2.0]
        assert each.loss.epoch == each.epoch == 3
    wrapper.eval()
    assert not wrapper.training and not wrapper.loss.training
    wrapper.loss = MODELS.build(dict(type='mmseg.CrossEntropyLoss'))
    assert wrapper.class_weight is None
    with pytest.raises(AttributeError, match='CrossEntropyLoss.* has no attribute'):
        _ = wrapper.no_such_name


def test_what_a_subclass_sets_stays_with_the_subclass():

    class Own(InfoBatchLoss):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.class_weight = 'own'

    wrapper = Own(dict(type='mmseg.CrossEntropyLoss'))
    assert wrapper.class_weight == 'own' and wrapper.loss.class_weight is None


def test_the_scores_of_a_loss_that_learns_its_weight_have_no_gradient():
    wrapper = InfoBatchLoss(dict(type='mmpretrain.CrossEntropyLoss', loss_weight=0.5))
    wrapper.loss_weight = torch.nn.Parameter(torch.tensor(0.5))
    wrapper.begin_batch(torch.tensor([1.0, 2.0]))
    value = wrapper(torch.zeros(2, 4), torch.tensor([0, 1]))
    scores = wrapper.end_batch()
    torch.testing.assert_close(scores, torch.full((2,), 0.5 * math.log(4)))
    assert not scores.requires_grad
    value.backward()
    assert wrapper.loss.loss_weight.grad == pytest.approx(1.5 * math.log(4))
