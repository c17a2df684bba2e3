"""Finds what reads from or copies to a device, without one: fake tensors on CUDA have no data, and
every operation on them passes by."""

import contextlib

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

READS = ('_local_scalar_dense', 'nonzero', 'masked_select', '_unique2', 'unique_dim', 'equal')


def tensors_in(values):
    return [value for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]


class Watch(TorchDispatchMode):
    """Notes operations that wait for the device, and copies between it and the host.

    What depends on data gets some value: each number is 1, and each mask true everywhere.
    """

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, kwargs = function.overloadpacket.__name__, kwargs or {}
        given = tensors_in((args, kwargs))
        if name in READS and any(tensor.is_cuda for tensor in given):
            self.found.append(name)
        if name == '_local_scalar_dense':
            dtype = args[0].dtype
            return True if dtype is torch.bool else 1.0 if dtype.is_floating_point else 1
        if name == 'nonzero':
            return args[0].new_zeros(args[0].numel(), args[0].ndim, dtype=torch.int64)
        if name == 'masked_select':
            return args[0].flatten()
        if name == '_unique2':
            return args[0].flatten(), args[0], args[0].flatten()
        if name in ('index', 'index_put', 'index_put_'):
            args = (args[0], self.without_masks(args[1]), *args[2:])
        out = function(*args, **kwargs)
        for tensor in tensors_in(out):
            if any(tensor.is_cuda != other.is_cuda and other.ndim for other in given) or (
                name in ('_to_copy', 'copy_')
                and len({each.is_cuda for each in given + [tensor]}) > 1
            ):
                self.found.append(f'{name} between host and device')
        return out

    def without_masks(self, indices):
        """Boolean masks as the indices of all positions."""
        found = []
        for index in indices:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                if index.is_cuda:
                    self.found.append('index by a mask')
                zeros = [index.new_zeros(index.numel(), dtype=torch.int64)]
                found += zeros * index.ndim
            else:
                found.append(index)
        return found


@contextlib.contextmanager
def fake_cuda():
    """Tensors on a GPU that is not there.

    Yields:
        callable: Puts the tensors in a nest of values, or those of a module, on it.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def place(value):
            if isinstance(value, torch.nn.Module):
                for module in value.modules():
                    for kept in (module._buffers, module._parameters):
                        kept.update(tree_map(place, dict(kept)))
                return value
            if isinstance(value, torch.Tensor):
                return mode.from_tensor(value.detach()).to('cuda:0')
            return value

        yield (
            lambda values: (
                place(values) if isinstance(values, torch.nn.Module) else tree_map(place, values)
            )
        )


@contextlib.contextmanager
def watched():
    """Collect reads and copies.

    Yields:
        list[str]: The operations, as they are met.
    """
    with Watch() as watch:
        yield watch.found
