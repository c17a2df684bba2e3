"""Whether PyTorch compiles what runs, in every version of it."""

try:
    from torch.compiler import is_compiling
except ImportError:  # torch 2.1
    from torch._utils import is_compiling

__all__ = ['is_compiling']
