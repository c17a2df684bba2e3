"""A dataset that holds the images of another one, and augments a batch at a time."""

from typing import Any, Dict, List, Sequence, Tuple

import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset


@FUNCTIONS.register_module()  # type: ignore[untyped-decorator]
def batched(batch: Dict[str, Any]) -> Dict[str, Any]:
    """A ``collate_fn`` for a dataset whose ``__getitems__`` makes the batch."""
    return batch


@DATASETS.register_module()
class ImagesInMemory(Dataset[Dict[str, Any]]):
    """The images of a dataset, flipped and cropped at random a batch at a time.

    The random flip and crop have the distribution of mmpretrain's ``RandomFlip`` and of its
    ``RandomCrop`` with padding by zeros; the draws come from PyTorch's default generator. The
    dataloader needs ``collate_fn=dict(type='batched')`` and ``num_workers=0``.

    Args:
        dataset (dict): A dataset whose pipeline is not random and ends in ``PackInputs``; all its
            images have one shape, [C, H, W]. The pipeline runs once on each sample, at the start.
        padding (int): Pixels around an image out of which it is cropped. Default: 0, no crop.
        flip (float): The share of the images that are flipped. Default: 0.5.
        part (tuple[int, int]): (first, step): only the images first, first + step, first + 2 step
            and so on. Parts with the same step and another first share no image. Default: (0, 1),
            all images.

    Raises:
        ValueError: Images differ in shape, or there are none in the part.
    """

    def __init__(
        self,
        dataset: Dict[str, Any],
        padding: int = 0,
        flip: float = 0.5,
        part: Tuple[int, int] = (0, 1),
    ) -> None:
        self.dataset: BaseDataset = DATASETS.build(dataset)
        first, step = part
        if not 0 <= first < min(step, len(self.dataset)):
            raise ValueError(
                f'part=({first}, {step}): the first image is from 0 to {step - 1}, and one of the '
                f'{len(self.dataset)} of the dataset'
            )
        if step > 1:
            self.dataset.get_subset_(range(first, len(self.dataset), step))
        samples = [self.dataset[index] for index in range(len(self.dataset))]
        shapes = {tuple(sample['inputs'].shape) for sample in samples}
        if len(shapes) > 1:
            raise ValueError(
                f'dataset: has images of {len(shapes)} shapes, among them {sorted(shapes)[:2]}, '
                'and a batch needs one; resize them in its pipeline'
            )
        self.images = torch.stack([sample['inputs'] for sample in samples])
        self.data_samples = [sample['data_samples'] for sample in samples]
        self.padding = padding
        self.flip = flip

    @property
    def metainfo(self) -> Dict[str, Any]:
        """What the dataset says of its classes."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.data_samples)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        batch = self.__getitems__([index])
        return dict(inputs=batch['inputs'][0], data_samples=batch['data_samples'][0])

    def __getitems__(self, indices: Sequence[int]) -> Dict[str, Any]:
        """A batch: inputs uint8 [B, C, H, W] and data samples; PyTorch's fetcher calls this."""
        images = self.images[torch.as_tensor(indices)]
        flipped = torch.rand(len(images)) < self.flip
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
        samples: List[Any] = [self.data_samples[index] for index in indices]
        return dict(inputs=self._cropped(images), data_samples=samples)

    def _cropped(self, images: Tensor) -> Tensor:
        if not self.padding:
            return images
        height, width = images.shape[2:]
        images = pad(images, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2, len(images)))
        windows = images.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(len(images)), :, top, left]
