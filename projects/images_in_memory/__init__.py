"""Small images on a CPU: held in memory, and augmented a batch at a time."""

from .images_in_memory import ImagesInMemory, batched

__all__ = ['ImagesInMemory', 'batched']
