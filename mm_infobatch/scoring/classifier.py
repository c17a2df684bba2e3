"""A trained classifier and its training set, without augmentation, as a config says."""

import hashlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.utils.data import default_collate

from ..seeding import SeededDataset


def prepare(cfg: Config) -> None:
    """Register the modules of mmpretrain.

    Raises:
        ValueError: If the config is of another toolbox, or has no model or no training data.
    """
    import mmpretrain.utils

    mmpretrain.utils.register_all_modules(init_default_scope=False)
    if cfg.get('default_scope') != 'mmpretrain':
        raise ValueError(
            f'default_scope is {cfg.get("default_scope")!r}: these scores are defined for '
            'classification; give a config of mmpretrain'
        )
    for name, value in (
        ('model', cfg.get('model')),
        ('train_dataloader.dataset', (cfg.get('train_dataloader') or {}).get('dataset')),
    ):
        if not value:
            raise ValueError(f'the config has no {name}; give the config of a training')


def build_model(cfg: Config) -> Any:
    """Build the classifier of a config, as a Runner would, but without gradient checkpointing: the
    reentrant kind, which backbones use with ``with_cp=True``, cannot take ``torch.autograd.grad``.

    Raises:
        ValueError: If the model does not classify.
    """
    from mmpretrain.models import BaseRetriever, BaseSelfSupervisor

    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    preprocessor = dict({'type': 'ClsDataPreprocessor'}, **preprocessor)
    model = MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))
    no_head = getattr(model, 'with_head', True) is False
    if no_head or isinstance(model, (BaseRetriever, BaseSelfSupervisor)):
        raise ValueError(
            f'{type(model).__name__}{" without a head" if no_head else ""} does not classify, and '
            'these scores are defined for classification; give the config of a classifier'
        )
    for module in model.modules():
        if getattr(module, 'with_cp', False):
            module.with_cp = False
    return model


def load_weights(model: Any, state: Any, path: Path) -> None:
    """Load the weights of a checkpoint into a classifier, and move it to the device.

    Args:
        model (BaseModel): The classifier, changed in place.
        state (dict): The ``state_dict`` of the checkpoint.
        path (Path): The checkpoint, for the message.

    Raises:
        ValueError: If they do not fit.
    """
    if state is None:
        raise ValueError(
            f'checkpoint {path} does not fit the model: it has no state_dict, where MMEngine saves '
            'the weights; give a checkpoint of a training, or torch.save(dict(state_dict=weights))'
        )
    try:
        consume_prefix_in_state_dict_if_present(state, 'module.')  # as Runner.load_checkpoint
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'checkpoint {path} does not fit the model: {reason}') from error
    model.to(get_device()).eval()


def check_classes(meta: Dict[str, Any], dataset: Any, path: Path) -> None:
    """Check that a checkpoint was trained on the classes of a dataset, if both name them.

    Args:
        meta (dict): ``meta`` of the checkpoint, where MMEngine saves that of its dataset.
        dataset (Dataset): The training data.
        path (Path): The checkpoint, for the message.

    Raises:
        ValueError: If they are others, see :func:`other_class`.
    """
    now = classes_of(dataset)
    names = (meta.get('dataset_meta') or {}).get('classes') or ()
    other = other_class(names, now)
    if other is not None:
        raise ValueError(
            f'checkpoint {path} is of another dataset: its class {other} is {names[other]!r}, and '
            f'that of the training dataset is {now[other]!r}; give the config that it was trained '
            'with, or, if the classes are the same, their names in '
            'train_dataloader.dataset.metainfo.classes'
        )


def check_validation_classes(validation: Any, dataset: Any) -> None:
    """Check that a label means the same class in the validation data as in the training data.

    Raises:
        ValueError: If it does not, see :func:`other_class`: a class without an image, in folders
            of images, moves all those behind it.
    """
    names, now = classes_of(validation), classes_of(dataset)
    other = other_class(names, now)
    if other is not None:
        raise ValueError(
            f'class {other} of val_dataloader.dataset is {names[other]!r}, and that of the '
            f'training dataset is {now[other]!r}; give both the same classes, in '
            'val_dataloader.dataset.metainfo.classes'
        )


def other_class(names: Sequence[str], others: Sequence[str]) -> Optional[int]:
    """The first class with another name, where the names are not of the same classes.

    Single names may differ, as ImageNet's do between releases, but not have changed places.

    Args:
        names (list[str]): The names of classes, by their labels.
        others (list[str]): Those to compare with.

    Returns:
        int, optional: None where the classes are the same, or one list has no names.
    """
    different = [index for index, (name, other) in enumerate(zip(names, others)) if name != other]
    if 2 * len(different) > min(len(names), len(others)):
        return different[0]
    places = {name: index for index, name in enumerate(others)}
    for index in different:
        place = places.get(names[index])
        # Where both lists have the name at that place, it is the name of two classes.
        if place is not None and names[index] not in names[place : place + 1]:
            return index
    return None


def classes_of(dataset: Any) -> Sequence[str]:
    """The names of the classes of a dataset; empty where it does not say."""
    return (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()


def train_set_config(cfg: Config) -> Dict[str, Any]:
    """The training dataset of a config, with the pipeline of the validation.

    Raises:
        ValueError: If the config has no plain dataset for training, or none for validation.
    """
    dataset: Dict[str, Any] = dict(cfg.train_dataloader.dataset)
    if dataset.get('type') in ('SeededDataset', SeededDataset):  # which only seeds augmentation
        dataset = dict(dataset['dataset'])
    if 'pipeline' not in dataset:
        raise ValueError(
            f'the training dataset {dataset.get("type")} has no pipeline of its own that could be '
            'replaced with that of val_dataloader.dataset; give a config with a plain dataset'
        )
    if 'pipeline' not in (cfg.get('val_dataloader') or {}).get('dataset', {}):
        raise ValueError(
            'the training images are loaded as those of the validation are, but the config has no '
            'val_dataloader.dataset.pipeline; give a config with a plain dataset for validation'
        )
    dataset['pipeline'] = cfg.val_dataloader.dataset.pipeline
    return dataset


def build_train_set(cfg: Config) -> Any:
    """Build the training dataset of a config, with the pipeline of the validation.

    Raises:
        ValueError: If the config has no plain dataset for training, or none for validation.
    """
    return DATASETS.build(train_set_config(cfg))


def digest_of(dataset: Any) -> str:
    """A digest of what a dataset lists, such as paths and labels, in its order.

    Args:
        dataset (Dataset): The dataset; one that is not MMEngine's counts as empty.
    """
    digest = hashlib.sha256()
    if isinstance(dataset, BaseDataset):
        for index in range(len(dataset)):
            for name, value in sorted(dataset.get_data_info(index).items()):
                plain = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
                digest.update(name.encode() + plain)
    return digest.hexdigest()


def collate(samples: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Put samples into a batch, their annotations in a list.

    One sample becomes two of the same: mmpretrain's LeNet-5 cannot take one. Images of different
    sizes stay a list, for :func:`check_sizes`.
    """
    samples = samples * 2 if len(samples) == 1 else samples
    inputs = [sample['inputs'] for sample in samples]
    same = len({image.shape for image in inputs}) == 1
    return dict(
        inputs=default_collate(inputs) if same else inputs,
        data_samples=[sample['data_samples'] for sample in samples],
    )


def check_sizes(batch: Dict[str, Any]) -> None:
    """Check that the images of a batch have one size: padded ones would be predicted otherwise in
    another batch.

    Raises:
        ValueError: If they have several.
    """
    if isinstance(batch['inputs'], list):
        first, other, *_ = dict.fromkeys(tuple(image.shape) for image in batch['inputs'])
        raise ValueError(
            f'the pipeline of val_dataloader.dataset gives images of different sizes, such as '
            f'{first} and {other}, which make no batch; give --batch-size 1, or have it resize or '
            'crop them to one size'
        )


def check_probabilities(predicted: Tensor) -> None:
    """Check that a classifier predicts one class per sample, by a softmax.

    Args:
        predicted (Tensor): Its scores, float [B, C]. NaN is not checked.

    Raises:
        ValueError: If those of a sample are negative or do not sum to 1, or there is one class.
    """
    if predicted.shape[1] < 2:
        raise ValueError(
            'the classifier has one class, so all its probabilities are 1 and its samples have no '
            'scores; give one that chooses between two classes or more, with an output for each'
        )
    wrong = ((predicted.sum(1) - 1).abs() > 1e-2) | (predicted < 0).any(1)
    if bool(wrong.any()):
        values = ', '.join(f'{value:.4g}' for value in predicted[wrong][0][:4].tolist())
        raise ValueError(
            f'the classifier predicts {values}, ... for a sample, which are not probabilities that '
            'sum to 1, but those of a head for several labels or for numbers; these scores are '
            'defined for one class per sample: give a classifier whose head predicts by a softmax'
        )


def gt_label_of(sample: Any) -> int:
    """The class of a sample.

    Args:
        sample (DataSample): Its annotations.

    Raises:
        ValueError: If it has none, or several.
    """
    label = getattr(sample, 'gt_label', None)
    if label is None or label.numel() != 1 or 'gt_score' in sample:
        count = 0 if label is None else label.numel()
        raise ValueError(
            f'a sample of the training dataset has {count} labels: these scores are defined for '
            'one class per sample; give the config of a dataset with single labels'
        )
    return int(label)
