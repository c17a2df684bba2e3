"""Configs to convert."""

import toolbox_runs as runs


def segmentation(**changes):
    cfg = runs.segmentation_config('data', 'work')
    cfg.merge_from_dict(changes)
    return cfg


def classification(**changes):
    cfg = runs.classification_config('data', 'work')
    cfg.merge_from_dict(changes)
    return cfg


def wrapped(loss, **settings):
    return dict(type='InfoBatchLoss', loss=loss, **settings)
