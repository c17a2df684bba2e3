"""Small images for the page: JPEG as text, label maps laid over."""

import base64
from typing import Tuple

import cv2
import numpy as np

QUALITY = 82  # of JPEG, in [0, 100]


def fitted(shape: Tuple[int, int], size: int) -> Tuple[int, int]:
    """Height and width of an image whose longer side is scaled down to ``size`` or left smaller."""
    height, width = shape
    scale = min(1.0, size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """Scale an image [H, W, 3] down so that its longer side is at most ``size`` pixels."""
    height, width = fitted(image.shape[:2], size)
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def overlay(image: np.ndarray, labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Lay a label map over an image; pixels of no class stay as they are.

    Args:
        image (np.ndarray): RGB uint8 [H, W, 3].
        labels (np.ndarray): int [h, w], of any size: it is scaled to the image.
        palette (np.ndarray): uint8 [C, 3], RGB.

    Returns:
        np.ndarray: RGB uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    labels = labels.astype(np.int32)
    if labels.shape != (height, width):
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    valid = (labels >= 0) & (labels < len(palette))
    result = image.copy()
    colors = palette[labels[valid]].astype(np.uint16)
    result[valid] = ((2 * image[valid].astype(np.uint16) + 3 * colors) // 5).astype(np.uint8)
    return result


def data_uri(image: np.ndarray) -> str:
    """An RGB uint8 image [H, W, 3] as the text of an ``src``, in JPEG."""
    done, data = cv2.imencode(
        '.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    if not done:
        raise ValueError(f'an array of shape {image.shape} cannot be written as JPEG')
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode('ascii')
