"""Saves and restores the global random generators, for checkpoints and around dataloaders.

A model with dropout draws from them in every iteration, and a dataset without worker processes for
every sample. PyTorch's ``DataLoader`` draws one seed whenever it is opened, but with persistent
workers only the first time. A resumed run opens it once more than the original run. So it restores
the generators afterwards, or it would draw other numbers from there on.
"""

import contextlib
import functools
import random
from typing import Any, Dict, Iterator, Optional, Sequence

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor

from ..losses.search import unwrap
from .by_steps import is_of_class

# The states of ``random`` and ``numpy.random``, which are both Mersenne Twisters.
TWISTERS = np.dtype(
    [
        ('python_words', np.uint32, 625),
        ('python_gauss', np.float64),  # NaN: none
        ('numpy_keys', np.uint32, 624),
        ('numpy_position', np.int64),
        ('numpy_has_gauss', np.int64),
        ('numpy_gauss', np.float64),
    ]
)
PYTHON_VERSION = 3  # of the state of ``random``, in every version of Python 3


def capture() -> Tensor:
    """The state of ``random``, ``numpy.random`` and PyTorch's generators, uint8 [L].

    L is the same on every rank of a run. With a GPU, that of the current device is included.
    """
    _, words, gauss = random.getstate()
    _, *numpy_state = np.random.get_state()
    twisters = np.array([(words, np.nan if gauss is None else gauss, *numpy_state)], TWISTERS)
    state = [torch.from_numpy(twisters.view(np.uint8)), torch.get_rng_state()]
    if torch.cuda.is_available():
        state.append(torch.cuda.get_rng_state())
    return torch.cat(state)


def restore(state: Tensor) -> None:
    """Restore what :func:`capture` returned, unless it was captured with other devices."""
    if len(state) != len(capture()):
        return
    state = state.cpu()
    twisters, rest = state[: TWISTERS.itemsize], state[TWISTERS.itemsize :]
    words, gauss, *numpy_state = np.frombuffer(twisters.numpy().tobytes(), TWISTERS)[0].item()
    python_gauss = None if np.isnan(gauss) else gauss
    random.setstate((PYTHON_VERSION, tuple(words.tolist()), python_gauss))
    np.random.set_state(('MT19937', *numpy_state))
    torch_length = len(torch.get_rng_state())
    torch.set_rng_state(rest[:torch_length].clone())
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(rest[torch_length:].clone())


def all_states() -> Tensor:
    """The states of all ranks, uint8 [W, L] on the CPU; a collective."""
    state = capture()
    if get_world_size() == 1:
        return state.unsqueeze(0)
    return torch.stack([each.cpu() for each in all_gather(state)])


@contextlib.contextmanager
def unaffected() -> Iterator[None]:
    """Restore the generators when the block ends."""
    state = capture()
    yield
    restore(state)


def openings_of_validation(hooks: Sequence[Any]) -> int:
    """How often a validation opens its dataloader: again for each of mmpretrain's ``EMAHook`` that
    evaluates both the averaged weights and the trained ones."""
    both = ('evaluate_on_ema', 'evaluate_on_origin')
    return 1 + sum(all(getattr(hook, name, False) for name in both) for hook in hooks)


def prototypes_of(hooks: Sequence[Any], model: Any) -> Optional[Dict[str, Any]]:
    """The config of the dataloader of prototypes that mmpretrain's hook for retrievers has the
    model build in each validation; None where it builds none.

    Args:
        hooks (Sequence[Hook]): The hooks of the run.
        model (nn.Module): The model, or its wrapper of a distributed run.
    """
    prototype = getattr(unwrap(model), 'prototype', None)
    prepares = any(is_of_class(hook, ['PrepareProtoBeforeValLoopHook']) for hook in hooks)
    return prototype if prepares and isinstance(prototype, dict) else None


def restarts_workers(hooks: Sequence[Any], epoch: int) -> bool:
    """Whether mmpretrain's ``SwitchRecipeHook`` has the workers of the training dataloader start
    again with another pipeline.

    Args:
        hooks (Sequence[Hook]): The hooks of the run.
        epoch (int): The epoch that begins, from 1.
    """
    switches = [hook for hook in hooks if is_of_class(hook, ['SwitchRecipeHook'])]
    return any('train_pipeline' in hook.schedule.get(epoch, {}) for hook in switches)


class RunRandomness:
    """The generators of a run, and of the run that it resumes.

    A run that is never resumed draws what stock mmengine draws: one seed whenever a dataloader is
    opened, but for a dataloader with persistent workers only the first time. A resumed run draws as
    the run that it continues, also if its own dataloaders have other workers.

    Args:
        train_dataloader (DataLoader): The training dataloader.
        val_dataloader (DataLoader, optional): The one of the validation.
        val_openings (int): How often a validation opens that.
        prototypes (dict, optional): The config of a dataloader that a validation builds and opens,
            see :func:`prototypes_of`. Defaults to None: it builds none.
    """

    def __init__(
        self,
        train_dataloader: Any,
        val_dataloader: Any,
        val_openings: int,
        prototypes: Optional[Dict[str, Any]] = None,
    ) -> None:
        self._train_dataloader, self._val_openings = train_dataloader, val_openings
        self._prototypes = prototypes
        self._worker_init = getattr(train_dataloader, 'worker_init_fn', None)
        self._persistent = dict(
            train=getattr(train_dataloader, 'persistent_workers', False),
            val=getattr(val_dataloader, 'persistent_workers', False),
        )
        self._opened = dict(train=False, val=False)
        self._gathered: Optional[Tensor] = None
        self._gathered_at = -1
        self._validating = False
        self._resumed: Optional[Tensor] = None

    def _draw_seed(self, name: str) -> None:
        """Draw the seed that opening the dataloader 'train' or 'val' draws, if it does."""
        if not (self._opened[name] and self._persistent[name]):
            torch.empty((), dtype=torch.int64).random_()
        self._opened[name] = True

    def _draw_seeds_of_validation(self) -> None:
        for _ in range(self._val_openings):
            self._draw_seed('val')
        if self._prototypes is not None:
            sampler = self._prototypes.get('sampler')
            if isinstance(sampler, dict) and sampler.get('seed') is None:
                np.random.randint(2**31)  # mmengine's samplers draw a seed of their own
            torch.empty((), dtype=torch.int64).random_()

    def seed_workers(self, pass_index: int) -> None:
        """Have the workers that are started for a pass draw other numbers than in earlier passes.

        MMEngine seeds a worker by its number alone. Behind an endless sampler workers start once,
        but the loop that replaces it starts them in each pass, where they would augment as in the
        first. A ``worker_init_fn`` of the user's own stays.

        Args:
            pass_index (int): The pass, from 0, in which the seeds are MMEngine's.
        """
        init = self._worker_init
        if not isinstance(init, functools.partial) or init.func is not worker_init_fn:
            return
        if {'seed', 'num_workers'} <= init.keywords.keys():
            workers = init.keywords['num_workers'] * get_world_size()
            seed = init.keywords['seed'] + pass_index * workers
            self._train_dataloader.worker_init_fn = functools.partial(init, seed=seed)

    def open(self, mid_pass: bool, validated: bool, restarted: bool = False) -> Any:
        """Open the training dataloader for a pass, or for what is left of it after a resume.

        Args:
            mid_pass (bool): Whether the run that is resumed had opened it for this pass.
            validated (bool): Whether that run validated before the batches that come next.
            restarted (bool): Whether a hook has had persistent workers end before this pass.
                Defaults to False.

        Returns:
            Iterator: Over the batches.
        """
        with unaffected():
            batches = iter(self._train_dataloader)
        if self._resumed is not None:
            restore(self._resumed)
            self._resumed = None
            if validated:
                self._draw_seeds_of_validation()
        if not mid_pass:
            self._opened['train'] &= not restarted
            self._draw_seed('train')
        return batches

    def validate(self, val_loop: Any) -> None:
        """Run a validation, which draws the seeds of its dataloader from the generators."""
        self._validating = True
        with unaffected():
            val_loop.run()
        self._validating = False
        self._draw_seeds_of_validation()

    def gather(self, iters: int) -> None:
        """Collect the states of all ranks for a checkpoint of that iteration; a collective."""
        self._gathered, self._gathered_at = all_states(), iters

    def state_dict(self, iters: int) -> Dict[str, Any]:
        """The state: ``states`` (uint8 [W, L], or [1, L] where only rank 0 is known), and of the
        dataloaders 'train' and 'val' whether they have ``persistent`` workers and were
        ``opened``.

        A single process saves the current states, as another hook may have drawn numbers since they
        were gathered; but within a validation those from before it.
        """
        current = get_world_size() == 1 and not self._validating
        states = self._gathered if self._gathered_at == iters and not current else None
        return dict(
            states=capture().unsqueeze(0) if states is None else states.clone(),
            persistent=dict(self._persistent),
            opened=dict(self._opened),
        )

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Take the state of a checkpoint; the generators follow when the dataloader is opened.

        With another number of ranks they stay as they are.
        """
        self._persistent.update(state_dict['persistent'])
        self._opened.update(state_dict['opened'])
        if len(state_dict['states']) == get_world_size():
            self._resumed = state_dict['states'][get_rank()].cpu()
