"""Settings of the optimizer for the parameters of a loss hold once it is wrapped."""

import re

import pytest
import toolbox_runs as runs
import torch
from mmengine.registry import MODELS

from mm_infobatch import convert


@MODELS.register_module()
class LossWithCenters(torch.nn.Module):
    """The distance to a learned center of the class."""

    def __init__(self, reduction='mean', loss_weight=1.0):
        super().__init__()
        self.reduction, self.loss_weight = reduction, loss_weight
        self.centers = torch.nn.Parameter(torch.eye(3))

    def forward(self, cls_score, label, reduction_override=None, **kwargs):
        loss = (cls_score - self.centers[label]).square().mean(1)
        return loss if (reduction_override or self.reduction) == 'none' else loss.mean()


def config(cls_data, work_dir, key, lr_mult=10.0):
    cfg = runs.classification_config(cls_data, work_dir, max_epochs=1)
    cfg.model.head.loss = dict(type='LossWithCenters')
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={key: dict(lr_mult=lr_mult)})
    return cfg


@pytest.mark.parametrize('key', ['loss_module.centers', 'head.loss_module.centers', 'centers'])
def test_the_flag_trains_the_parameters_of_a_loss_at_their_own_rate(cls_data, tmp_path, key):
    cfg = config(cls_data, tmp_path / 'stock', key)
    stock = runs.train(cfg).column('loss')
    assert runs.train(config(cls_data, tmp_path, key, 1.0)).column('loss') != stock
    cfg = convert(cfg, prune_ratio=0)
    cfg.work_dir = str(tmp_path / 'ours')
    assert runs.train(cfg).column('loss') == stock
    again = convert(cfg)
    assert again.optim_wrapper == cfg.optim_wrapper


def test_by_hand_a_key_of_the_old_name_is_refused_with_the_new_one(cls_data, tmp_path):
    cfg = runs.switch_on(config(cls_data, tmp_path, 'loss_module.centers'))
    line = "custom_keys={'loss_module.loss.centers': {'lr_mult': 10.0}}"
    with pytest.raises(ValueError, match=re.escape(line)):
        runs.train(cfg)
