"""Any training config of mmseg or mmpretrain, with InfoBatch switched on."""

from .check import check_config
from .convert import convert
from .refusals import CannotConvert

__all__ = ['CannotConvert', 'check_config', 'convert']
