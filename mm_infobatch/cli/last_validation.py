"""Runs the final validation of a resumed run that has no iteration left to train.

The last checkpoint is written before the last validation. A run that is resumed from it has no
iteration left, and MMEngine's loops validate only after an iteration: the run would end without
the result that it was trained for.
"""

from typing import Any

from mmengine.hooks import Hook, LoggerHook


class LastValidationHook(Hook):
    """Validate a run that was resumed at its end.

    A run that had been validated there is validated again: its checkpoint does not say so.
    """

    priority = 'VERY_HIGH'  # what is logged and kept after training follows the validation

    def before_train(self, runner: Any) -> None:
        """Note where training begins."""
        self._begin = runner.iter

    def after_train(self, runner: Any) -> None:
        """Validate where nothing was left to train and the config has a validation at the end."""
        cfg = runner.cfg.train_cfg
        end = cfg.get('max_epochs') or cfg.get('max_iters')
        loop = runner.val_loop
        if runner.iter > self._begin or loop is None or cfg.get('val_begin', 1) > end:
            return
        for hook in runner.hooks:
            if isinstance(hook, LoggerHook) and not cfg.get('max_epochs'):
                # A run by iteration has epoch 0 only, as a validation without training.
                hook.log_metric_by_epoch = False
        runner.logger.info('Nothing is left to train; running the final validation.')
        loop.run()
