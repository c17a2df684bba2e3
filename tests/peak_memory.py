"""The peak of the memory that tensors take, as every operation on them passes by."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, while they live.

    Attributes:
        live (int): Those that live.
        peak (int): The most that lived at a time.
    """

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.seen = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        given = {
            value.untyped_storage()._cdata
            for value in tree_flatten((args, kwargs))[0]
            if isinstance(value, torch.Tensor)
        }
        for value in tree_flatten(out)[0]:
            if isinstance(value, torch.Tensor):
                self.note(value.untyped_storage(), given)
        return out

    def note(self, storage, given):
        key = storage._cdata
        if key in given or key in self.seen:
            return
        size = storage.nbytes()
        self.seen[key] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.drop, key)

    def drop(self, key):
        self.live -= self.seen.pop(key, 0)
