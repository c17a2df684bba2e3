"""Reads annotations, images and label maps of single samples through the dataset of a config."""

import copy
import os
import warnings
from typing import Any, Dict, List, Optional, Tuple

import cv2
import numpy as np
from mmengine.fileio import get
from mmengine.registry import DATASETS, DefaultScope

from ..training.sample_idx import inside

Info = Dict[str, Any]


def build_dataset(cfg: Any) -> Any:
    """Build the training dataset of a config, as a Runner would.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If it cannot be built: the config has none, or its data is not there.
    """
    config = (cfg.get('train_dataloader') or {}).get('dataset')
    if config is None:
        raise ValueError('the config has no train_dataloader.dataset')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        try:
            dataset = DATASETS.build(copy.deepcopy(config))
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
        except Exception as error:  # whatever a user's dataset raises
            raise ValueError(in_one_line(error)) from error
    return dataset


def in_one_line(error: BaseException) -> str:
    """The type and the text of an error, on one line and not too long."""
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text[:300]}' if text else type(error).__name__


def innermost(dataset: Any, index: int) -> Tuple[Any, int]:
    """The dataset inside all wrappers that has a sample, and the index of the sample in it."""
    inner = inside(dataset, index)
    while inner is not None:
        dataset, index = inner
        inner = inside(dataset, index)
    return dataset, index


def info_of(dataset: Any, index: int) -> Info:
    """The annotation of a sample; nothing of it is loaded.

    Raises:
        ValueError: If no dataset inside the wrappers has ``get_data_info``, or it fails.
    """
    if not hasattr(dataset, 'get_data_info'):
        dataset, index = innermost(dataset, index)
    if not hasattr(dataset, 'get_data_info'):
        raise ValueError(f'{type(dataset).__name__} has no get_data_info')
    try:
        return dict(dataset.get_data_info(index))
    except Exception as error:  # whatever a user's dataset raises
        raise ValueError(in_one_line(error)) from error


def info_if_any(dataset: Any, index: int) -> Optional[Info]:
    """The annotation of a sample; None for a plain dataset of PyTorch, which has none.

    Raises:
        ValueError: If ``get_data_info`` fails.
    """
    try:
        return info_of(dataset, index)
    except ValueError:
        if hasattr(innermost(dataset, index)[0], 'get_data_info'):
            raise
        return None


def path_of(info: Info) -> str:
    """The path of the image in an annotation, '' if there is none."""
    return as_text(info.get('img_path', info.get('filename')))


def as_text(path: Any) -> str:
    """A path or a name as text, '' if it is none; bytes that are not UTF-8 are written out."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ''
    return text.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')


def labels_of(info: Info) -> List[int]:
    """The labels in an annotation for classification; none for tasks, texts and NaN."""
    label = info.get('gt_label')
    if isinstance(label, int):
        return [label]
    if label is None or isinstance(label, dict):
        return []
    labels = np.asarray(label).ravel()
    if labels.dtype.kind not in 'biuf' or not np.isfinite(labels).all():
        return []
    return [int(label) for label in labels]


def class_names(dataset: Any) -> List[str]:
    """The names of the classes, as the dataset or one inside it has them."""
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    names = getattr(dataset, 'CLASSES', None) if names is None else names
    if names is None:
        within = inside(dataset, 0) if len(dataset) else None
        return [] if within is None else class_names(within[0])
    return [as_text(names)] if isinstance(names, str) else [as_text(str(name)) for name in names]


def palette_of(dataset: Any, num_classes: int) -> np.ndarray:
    """The colors of the classes in RGB, uint8 [C, 3]; hues in equal steps if it has none."""
    palette = (getattr(innermost(dataset, 0)[0], 'metainfo', None) or {}).get('palette')
    if palette is not None and len(palette) >= num_classes and len(palette):
        return np.array(palette, np.uint8).reshape(-1, 3)
    steps = np.arange(num_classes)
    hsv = np.stack([steps * 180 // max(num_classes, 1), 0 * steps + 170, 0 * steps + 230], 1)
    return cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0]


def ignored_label(dataset: Any, index: int) -> Optional[int]:
    """The label of pixels without a class in the label map of a sample; None if there is none."""
    ignored = getattr(innermost(dataset, index)[0], 'ignore_index', None)
    return ignored if isinstance(ignored, int) else None


def _loaders(dataset: Any) -> List[Any]:
    """The transforms that load files, of the pipeline of an innermost dataset."""
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', None) or []
    return [step for step in transforms if type(step).__name__.startswith('Load')]


def _apply(loaders: List[Any], info: Info) -> Info:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for loader in loaders:
            loaded = loader(info)
            info = info if loaded is None else loaded
    return info


def read_label_map(dataset: Any, index: int) -> np.ndarray:
    """The label map of a sample as it is trained on, before augmentation, int [H, W].

    Raises:
        ValueError: If the dataset has none, or it cannot be read.
    """
    info = info_of(dataset, index)
    loaders = _loaders(innermost(dataset, index)[0])
    without_image = [step for step in loaders if 'Image' not in type(step).__name__]
    for chosen in (without_image, loaders):  # some need the image
        try:
            labels = _apply(chosen, copy.deepcopy(info)).get('gt_seg_map')
        except Exception as error:  # whatever a user's transform raises
            if chosen is loaders:
                raise ValueError(in_one_line(error)) from error
            continue
        if labels is not None:
            return as_label_map(np.asarray(labels))
    raise ValueError('the pipeline of the dataset loads no label map')


def as_label_map(labels: np.ndarray) -> np.ndarray:
    """Bring a label map to int [H, W]; one more axis of length 1 is left out.

    Raises:
        ValueError: If it has another shape, or holds no numbers.
    """
    shape = labels.shape
    if labels.ndim == 3 and 1 in (shape[0], shape[2]):
        labels = labels[0] if shape[0] == 1 else labels[..., 0]
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in 'biuf':
        raise ValueError(f'an array of shape {shape} and type {labels.dtype} is not a label map')
    return labels if labels.dtype.kind in 'iu' else np.nan_to_num(labels, nan=-1).astype(np.int64)


def read_image(dataset: Any, index: int, bgr: bool) -> np.ndarray:
    """The image of a sample before augmentation, RGB uint8 [H, W, 3].

    Args:
        dataset (Dataset): The outermost dataset.
        index (int): The index into it.
        bgr (bool): Whether the model swaps the channels of its input (``to_rgb``): then images
            that an annotation holds are BGR. Those that a loader reads always are.

    Raises:
        ValueError: If the dataset gives none.
    """
    leaf, inner_index = innermost(dataset, index)
    info = info_if_any(dataset, index)
    if info is None:  # only whole samples
        return _image_of_sample(leaf, inner_index, bgr)
    try:
        image = info.get('img')
        if image is None:
            loaders = [step for step in _loaders(leaf) if 'Annotation' not in type(step).__name__]
            image, bgr = _apply(loaders, info).get('img'), True
        if image is None and path_of(info):
            data = np.frombuffer(get(info.get('img_path', info.get('filename'))), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except Exception as error:  # whatever a user's transform raises
        raise ValueError(in_one_line(error)) from error
    if image is None:
        raise ValueError('the dataset gives no image for this index')
    return as_rgb(np.asarray(image), bgr)


def _image_of_sample(dataset: Any, index: int, bgr: bool) -> np.ndarray:
    """The image of a sample that the dataset gives whole, after its augmentation."""
    try:
        sample = dataset[index]
        if isinstance(sample, (tuple, list)):
            sample = {'inputs': sample[0]}
        image = np.asarray(sample['inputs'])
    except Exception as error:  # whatever a user's dataset raises
        raise ValueError(in_one_line(error)) from error
    return as_rgb(image.transpose(1, 2, 0) if image.ndim == 3 else image, bgr)


def as_rgb(image: np.ndarray, bgr: bool = False) -> np.ndarray:
    """Bring an image to RGB uint8 [H, W, 3].

    Args:
        image (np.ndarray): [H, W] or [H, W, C]. Values that are not uint8 are stretched from their
            range to 0..255. Of four channels or more, the first three are taken.
        bgr (bool): Whether the channels are in the order of OpenCV. Defaults to False.

    Raises:
        ValueError: If it has another shape.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f'an array of shape {image.shape} is not an image')
    image = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if image.dtype != np.uint8:
        values = np.nan_to_num(image.astype(np.float64))
        low, high = values.min(), values.max()
        image = ((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return np.ascontiguousarray(image[..., ::-1] if bgr else image)
