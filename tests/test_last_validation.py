"""A run that was killed before its last validation is resumed, and has its result."""

from pathlib import Path

import pytest
import toolbox_runs as runs
from mmengine.hooks import Hook

from experiment_engine.jobs import Job, Places
from experiment_engine.runner import keep
from experiment_engine.spec import load_experiment
from mm_infobatch import cli
from mm_infobatch.cli.run_logs import read_run

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]


class Killed(Exception):
    """Stands for a kill."""


class KillBeforeLastValidation(Hook):
    def __init__(self, validations):
        self.left = validations

    def before_val(self, runner):
        self.left -= 1
        if self.left == 0:
            raise Killed


def config(tmp_path, name, switched_on):
    """Four passes with a validation after each second one."""
    if name == 'mmseg':
        data = runs.write_segmentation_data(tmp_path / 'data')
        cfg = runs.segmentation_config(data, tmp_path / 'run', max_iters=24, val_interval=12)
        runs.checkpoints_every(cfg, 12)
    else:
        data = runs.write_classification_data(tmp_path / 'data')
        cfg = runs.classification_config(data, tmp_path / 'run', max_epochs=4, val_interval=2)
        runs.checkpoints_every(cfg, 2, by_epoch=True)
    return runs.switch_on(cfg) if switched_on else cfg


def killed(cfg):
    """Train until the kill."""
    with pytest.raises(Killed):
        runs.train(cfg, KillBeforeLastValidation(2))
    return read_run(Path(cfg.work_dir))


def results(run):
    return [{key: row[key] for key in row if 'time' not in key} for row in run.metrics]


def resume(cfg, tmp_path, *arguments):
    """Go on as the command does."""
    cfg = runs.copy_of(cfg)
    cfg.experiment_name = runs.new_name()
    cfg.dump(str(tmp_path / 'config.py'))
    cli.main(['train', str(tmp_path / 'config.py'), '--resume', *arguments])
    return read_run(Path(cfg.work_dir))


@pytest.mark.parametrize('switched_on', [True, False], ids=['InfoBatch', 'all data'])
@pytest.mark.parametrize('name', ['mmseg', 'mmpretrain'])
def test_the_result_is_that_of_the_run_that_was_not_killed(tmp_path, name, switched_on):
    cfg = config(tmp_path, name, switched_on)
    whole = runs.copy_of(cfg)
    whole.work_dir = str(tmp_path / 'whole')
    runs.train(whole)
    whole = read_run(Path(whole.work_dir))
    assert whole.metrics[-1]['iter'] == whole.iterations

    before = killed(cfg)
    assert len(before.metrics) == len(whole.metrics) - 1
    after = resume(cfg, tmp_path)
    assert [row['iter'] for row in after.train] == [row['iter'] for row in whole.train]
    assert results(after) == results(whole)


@pytest.mark.parametrize('switched_on', [True, False], ids=['InfoBatch', 'all data'])
def test_by_iteration_the_result_is_found_where_metrics_are_logged_by_epoch(tmp_path, switched_on):
    """As a LoggerHook does by default."""
    cfg = config(tmp_path, 'mmseg', switched_on)
    cfg.default_hooks.logger.log_metric_by_epoch = True
    (before,) = killed(cfg).metrics
    for _ in range(2):  # the second time it is validated again
        after = resume(cfg, tmp_path)
        assert [row['iter'] for row in after.metrics] == [before['iter'], after.iterations]
    assert before['iter'] < after.iterations


def test_validation_that_is_off_stays_off(tmp_path):
    cfg = config(tmp_path, 'mmpretrain', True)
    before = killed(cfg)
    assert resume(cfg, tmp_path, '--no-validate').metrics == before.metrics
    cfg.train_cfg.val_begin = 5
    assert resume(cfg, tmp_path).metrics == before.metrics


ONE_ARM = """
title = 'Tiny'
config = {config!r}
seeds = [0]
arms = [dict(name='all', label='all data')]
"""


def test_a_run_without_its_result_gives_no_record(tmp_path):
    cfg = config(tmp_path, 'mmpretrain', False)
    cfg.dump(str(tmp_path / 'config.py'))
    (tmp_path / 'tiny.py').write_text(ONE_ARM.format(config=str(tmp_path / 'config.py')))
    job = Job(load_experiment('tiny', tmp_path).arms['all'], 0)
    places = Places(tmp_path / 'work', tmp_path / 'records')
    cfg.work_dir = str(places.work_dir(job))
    killed(cfg)
    with pytest.raises(ValueError, match='has no validation after its last iteration'):
        keep(job, places)
    assert not places.record(job).exists()
    resume(cfg, tmp_path)
    assert keep(job, places).exists()
