"""InfoBatch for OpenMMLab: the same accuracy from fewer samples."""

from .convert import CannotConvert, convert
from .hook import InfoBatchHook
from .loops import InfoBatchEpochLoop, InfoBatchIterLoop
from .losses import InfoBatchLoss
from .registry import PRUNING_POLICIES
from .sampler import InfoBatchSampler
from .seeding import SeededDataset
from .training.one_cycle_momentum import OneCycleMomentum
from .version import __version__

__all__ = [
    'PRUNING_POLICIES',
    'CannotConvert',
    'InfoBatchEpochLoop',
    'InfoBatchHook',
    'InfoBatchIterLoop',
    'InfoBatchLoss',
    'InfoBatchSampler',
    'OneCycleMomentum',
    'SeededDataset',
    '__version__',
    'convert',
]
