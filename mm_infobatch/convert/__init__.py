"""Any training config of mmseg or mmpretrain, with InfoBatch switched on."""

from .convert import convert
from .refusals import CannotConvert

__all__ = ['CannotConvert', 'convert']
