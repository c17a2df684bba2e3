"""Refuses loops, hooks and losses that cannot work, with the reason and the line to change."""

from typing import Any, Dict, Optional, Sequence

from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor
from torch.nn import Module

from ..losses.search import check_plain_losses, check_unweighted, find_losses, is_named
from ..losses.whole_batch import check_whole_batch
from ..losses.wrapper import InfoBatchLoss
from ..passes.schedule import SUPER
from .by_steps import is_of_class
from .report import warn

SAMPLER_LINE = "train_dataloader=dict(sampler=dict(_delete_=True, type='InfoBatchSampler'))"
HOOK_LINE = "custom_hooks=[dict(type='InfoBatchHook')]"


def check_losses(model: Module, unweighted: Sequence[str]) -> None:
    """Refuse a model whose losses cannot be weighted.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.
        unweighted (Sequence[str]): The losses that are meant to carry no weights.

    Raises:
        TypeError: If ``unweighted`` is not a list of strings.
        ValueError: If a loss has no values of single samples, no loss is wrapped, one is neither
            wrapped nor named, or a name is not that of a loss.
    """
    check_unweighted(model, unweighted)
    check_whole_batch(model, unweighted)
    find_losses(model)
    check_plain_losses(model, unweighted)


def check_has_hook(runner: Any) -> Any:
    """Refuse to train with our loop and without our hook.

    Returns:
        InfoBatchHook: Our hook.

    Raises:
        ValueError: If no hook, or more than one, would begin passes.
    """
    hooks = [hook for hook in runner.hooks if getattr(hook, 'begins_passes', False)]
    if len(hooks) != 1:
        raise ValueError(
            f'{type(runner.train_loop).__name__} needs one InfoBatchHook, which hands weights to '
            f'the losses and takes scores back, but there are {len(hooks)}; write {HOOK_LINE}'
        )
    return hooks[0]


def check_scores_taken(scores: Optional[Tensor], loop: Any) -> Tensor:
    """Refuse an iteration in which the losses carried no weights.

    Args:
        scores (Tensor, optional): Those of the batch, float32 [B]; None if none were taken.
        loop (BaseLoop): The loop.

    Raises:
        ValueError: If there are none: the loop's own ``run_iter`` called ``train_step``.
    """
    if scores is None:
        raise ValueError(
            f'{type(loop).__name__}.run_iter calls train_step itself, so the losses got no weights '
            'and gave no scores; have it call super().run_iter(...), which does both'
        )
    return scores


def check_in_pass(loop: Any) -> None:
    """Refuse a batch that belongs to no pass.

    Raises:
        ValueError: If no pass has begun, or all its batches are trained.
    """
    if not loop.schedule.iters_left:
        raise ValueError(
            f'{type(loop).__name__} trains a batch that belongs to no pass, so it has no weights; '
            f'{SUPER}'
        )


def check_recipes(runner: Any, unweighted: Sequence[str]) -> None:
    """Refuse a loss that mmpretrain's ``SwitchRecipeHook`` puts into the model later, unwrapped.

    Raises:
        ValueError: If there is one, which would stop the run when it is put there.
    """
    named = isinstance(unweighted, (list, tuple)) and is_named('model.head.loss', unweighted)
    for hook in runner.hooks:
        if not is_of_class(hook, ['SwitchRecipeHook']):
            continue
        for epoch, recipe in hook.schedule.items():
            loss = recipe.get('loss')
            if isinstance(loss, Module) and not isinstance(loss, InfoBatchLoss) and not named:
                name = type(loss).__name__
                raise ValueError(
                    f'{type(hook).__name__} puts a {name} into the model at epoch {epoch}, which '
                    'would carry no weights; write in its schedule '
                    f"loss=dict(type='InfoBatchLoss', loss=dict(type={name!r}, ...))"
                )


def check_loop(loop: Any) -> None:
    """Refuse to train with our hook and a stock loop.

    Raises:
        ValueError: If the training loop is not one of ours, or its own ``run`` leaves out ours.
    """
    if not hasattr(loop, 'schedule'):
        ours = 'InfoBatchIterLoop' if isinstance(loop, IterBasedTrainLoop) else 'InfoBatchEpochLoop'
        raise ValueError(
            f'InfoBatchHook needs a loop that knows passes, but train_cfg built '
            f'{type(loop).__name__}; write train_cfg=dict(type={ours!r}) (with by_epoch removed) '
            f'and {SAMPLER_LINE}'
        )
    if loop.hook is None:
        raise ValueError(
            f'{type(loop).__name__}.run does not call super().run(), which checks the run and has '
            'hooks follow the schedule; have it do so, and override run_iter or write a hook for '
            'what the loop does besides'
        )


def check_run(runner: Any, loop: Any, state: Optional[Dict[str, Any]] = None) -> None:
    """Let the policy refuse a run that begins or resumes, and warn where nothing would be skipped.

    Args:
        runner (Runner): The runner, to log.
        loop (PassLoop): The loop, before it has loaded the state.
        state (dict, optional): The state that the run resumes from, in which a pass may have
            another length than on this number of ranks. Defaults to None.

    Raises:
        ValueError: If the policy refuses it.
    """
    sampler, schedule = loop.sampler, loop.schedule
    if state is not None:
        schedule.pass_length = state['schedule']['pass_length']
    sampler.begin_run()
    warn(runner, schedule.warning())
    if sampler.delta > 0:
        warn(runner, sampler.shape.warning(len(sampler.scores)))


def check_hook_order(runner: Any, hook: Any) -> None:
    """Refuse a priority at which checkpoints would be written before the hook is up to date.

    Raises:
        ValueError: If a checkpoint hook runs first.
    """
    hooks: Sequence[Any] = runner.hooks
    before = hooks[: hooks.index(hook)]
    if any(isinstance(other, CheckpointHook) for other in before):
        raise ValueError(
            f'InfoBatchHook has priority {hook.priority!r} and would run after CheckpointHook, so '
            'that checkpoints would hold the state of the iteration before; remove priority from '
            f'{HOOK_LINE}'
        )
