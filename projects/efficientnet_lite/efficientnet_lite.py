"""The backbone: EfficientNet-Lite0, made of mmpretrain's EfficientNet."""

from typing import Any, Sequence

from mmpretrain.models import EfficientNet
from mmpretrain.registry import MODELS

SQUEEZE_RATIO = 2  # the place of the ratio among the six numbers of a block


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """EfficientNet-B0 without squeeze and excitation, and with ReLU6 for Swish.

    Outputs 2 to 5 have strides 4, 8, 16 and 32 and 24, 40, 112 and 320 channels; output 6 is the
    1x1 convolution to 1,280 channels that the classifier has on top. Layers above the last output
    are not built.

    Args:
        arch (str): 'lite0'. Defaults to 'lite0'.
        out_indices (Sequence[int]): Which outputs to return. Defaults to (6,).
        **kwargs: As of mmpretrain's ``EfficientNet``, whose convolutions pad as TensorFlow's do.
    """

    arch_settings = {'lite0': (1.0, 1.0, 224)}
    layer_settings = {
        'l': [
            [
                [0 if place == SQUEEZE_RATIO else number for place, number in enumerate(block)]
                for block in layer
            ]
            for layer in EfficientNet.layer_settings['b']
        ]
    }

    def __init__(
        self, arch: str = 'lite0', out_indices: Sequence[int] = (6,), **kwargs: Any
    ) -> None:
        kwargs.setdefault('act_cfg', dict(type='ReLU6'))
        super().__init__(arch=arch, out_indices=out_indices, **kwargs)
        del self.layers[max(out_indices) + 1 :]
