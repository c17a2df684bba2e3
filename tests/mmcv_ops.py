"""What three heads of mmseg need of mmcv's compiled package, for where that is not installed.

Criss-cross attention and point sampling are mmcv's own files, which need nothing compiled; the
masks of PSANet are written anew.
"""

import functools
import importlib
import importlib.util
from pathlib import Path

import mmcv
import torch
from torch import nn


class PSAMask(nn.Module):
    """The attention maps of PSANet, from masks over the neighbours of a pixel, in PyTorch."""

    def __init__(self, psa_type, mask_size=None):
        super().__init__()
        self.collects, self.mask_size = psa_type == 'collect', mask_size

    def forward(self, inputs):
        """From [B, mask height * mask width, H, W] to [B, H * W, H, W]."""
        height, width = inputs.shape[-2:]
        mask_height, mask_width = self.mask_size
        rows, columns = torch.arange(height), torch.arange(width)
        # where pixel (i, j) lies in the mask around pixel (h, w): [i, j, h, w]
        row = (rows[:, None] - rows[None] + (mask_height - 1) // 2)[:, None, :, None]
        column = (columns[:, None] - columns[None] + (mask_width - 1) // 2)[None, :, None, :]
        inside = (row >= 0) & (row < mask_height) & (column >= 0) & (column < mask_width)
        index = (row * mask_width + column).masked_fill(~inside, 0).flatten(0, 1)
        maps = inputs.gather(1, index.expand(len(inputs), *index.shape)) * inside.flatten(0, 1)
        if self.collects:
            return maps
        return maps.flatten(2).transpose(1, 2).reshape(maps.shape)


@functools.lru_cache(maxsize=None)  # one of them registers what it defines
def own_file(name):
    """A module of ``mmcv.ops`` without the package, whose import needs the compiled one."""
    path = Path(mmcv.__file__).parent / 'ops' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'mmcv_ops_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def missing():
    """What to put into which module of mmseg.

    Yields:
        tuple: The module, the name in it, and the value.
    """
    for head, name, value in (
        ('cc_head', 'CrissCrossAttention', lambda: own_file('cc_attention').CrissCrossAttention),
        ('point_head', 'point_sample', lambda: own_file('point_sample').point_sample),
        ('psa_head', 'PSAMask', lambda: PSAMask),
    ):
        module = importlib.import_module(f'mmseg.models.decode_heads.{head}')
        if getattr(module, name) is None:
            yield module, name, value()
