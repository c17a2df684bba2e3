"""Hands out this rank's share of the plan of a pass."""

import math
import time
from typing import Any, Dict, Iterator, Optional, Sized, Tuple, Union

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch import Tensor
from torch.utils.data import Sampler

from . import arguments
from .passes.order import policy_generator, shuffled, spread_evenly
from .passes.pass_order import PassOrder, Weights, as_integers, index_type
from .passes.planner import Planner
from .passes.schedule import PassSchedule
from .passes.scores import ScoreTable
from .policies import Plan
from .policies.thresholds import below, mean_score
from .seeding import PassIndex, SeededDataset


@DATA_SAMPLERS.register_module()
class InfoBatchSampler(Sampler):
    """Hands out, pass by pass, the samples that the policy keeps.

    Same seed, pass, scores and length give the same plan on every rank; the ranks' shares have
    equal length and are disjoint but for the samples that ``DefaultSampler`` would also repeat.
    A pass that prunes nothing has ``DefaultSampler``'s own order, index for index.

    A pass begins at :meth:`set_epoch`, as in every mm sampler. In training
    :class:`~mm_infobatch.InfoBatchHook` begins it (with the progress of the run) and fills
    ``scores``.

    Args:
        dataset (Sized): The training dataset, of N samples.
        policy (dict or object): The rule that chooses, a config for ``PRUNING_POLICIES`` or an
            object with ``plan(scores, generator) -> Plan``; docs/policies.md says what else it may
            have. Defaults to ``dict(type='SoftPruning', prune_ratio=0.5)``.
        delta (float): The share of the run, in [0, 1], in which passes may prune; the rest
            (annealing) trains on all data. 1 never anneals, 0 never prunes. A pass belongs to the
            part of the run in which it begins, as in equation 10 of the `paper
            <https://arxiv.org/abs/2303.04947>`_. Defaults to 0.875.
        num_passes (int, optional): The passes of the run, for whoever iterates the sampler without
            the hook. Defaults to None: unknown, so every pass may prune.
        shuffle (bool): Whether to shuffle each pass. Defaults to True.
        seed (int, optional): The seed, one for all ranks. Defaults to None: drawn by rank 0.
        rank (int, optional): This process. Defaults to None: that of ``torch.distributed``.
        world_size (int, optional): The number of processes. Defaults to None, likewise.
        warmup_passes (int): The first passes that prune nothing, whatever the policy says. 0 and
            1 are the same for every policy that keeps samples without a score. Defaults to 0.
        score_smoothing (float): s in [0, 1): a score becomes s * old + (1 - s) * loss.
            Defaults to 0: the latest loss.
        stratify (bool): Whether a pass that prunes spreads the samples whose score lies below the
            mean evenly over the batches of each rank. Defaults to False: as they are shuffled.

    Attributes:
        scores (ScoreTable): The latest loss of every sample.
        epoch (int): The current pass.
        min_kept (int): A plan that keeps fewer samples than this is given up for the whole
            dataset; the training loop sets it to one batch of every rank under ``drop_last``,
            where a shorter pass would have no iteration at all.
        seconds (float): The time that choosing the current pass took.

    Raises:
        TypeError: If an argument has the wrong type, or the dataset no length.
        ValueError: If ``delta`` or ``num_passes`` is out of range, or the dataset is empty.
    """

    def __init__(
        self,
        dataset: Sized,
        policy: Union[dict, Any, None] = None,
        delta: float = 0.875,
        num_passes: Optional[int] = None,
        shuffle: bool = True,
        seed: Optional[int] = None,
        rank: Optional[int] = None,
        world_size: Optional[int] = None,
        warmup_passes: int = 0,
        score_smoothing: float = 0.0,
        stratify: bool = False,
    ) -> None:
        arguments.require_dataset(dataset)
        delta = arguments.require_share(
            'delta',
            delta,
            "sampler=dict(type='InfoBatchSampler', delta=0.875)",
            zero=True,
            one=True,
            why='it is the share of the run in which passes may prune',
        )
        if num_passes is not None:
            arguments.require_count('num_passes', num_passes)
        line = "sampler=dict(type='InfoBatchSampler', shuffle=True, stratify=False)"
        arguments.require_bool('shuffle', shuffle, line)
        arguments.require_bool('stratify', stratify, line)
        dist_rank, dist_world_size = get_dist_info()
        self.rank = dist_rank if rank is None else rank
        self.world_size = dist_world_size if world_size is None else world_size
        for name, value in (('rank', self.rank), ('world_size', self.world_size)):
            line = f"sampler=dict(type='InfoBatchSampler') without {name}"
            arguments.require_integer(name, value, line)
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f'rank={self.rank} is none of the {self.world_size} ranks '
                f'0 to {self.world_size - 1} of world_size'
            )
        self.dataset = dataset
        self.delta = delta
        self.num_passes = num_passes
        self.shuffle = shuffle
        if seed is not None:
            arguments.require_seed(seed)
        self.seed = sync_random_seed() if seed is None else int(seed)
        self.stratify = stratify
        self._planner = Planner(policy, self.delta, num_passes, warmup_passes)
        self.policy = self._planner.policy
        self.scores = ScoreTable(len(dataset), score_smoothing, self._planner.observer)
        self.epoch = 0
        self.min_kept = 1
        self._waits = False
        self.seconds = 0.0
        self._progress: Optional[float] = None
        self._order: Optional[PassOrder] = None
        self._planned_from = -1  # the version of the scores
        self._start = 0  # how far into _order an earlier process already was

    def set_epoch(self, epoch: int) -> None:
        """Begin pass ``epoch``; within the same pass, with the same scores, this does nothing."""
        self.start_pass(epoch, None if epoch != self.epoch else self._progress)

    def start_pass(self, epoch: int, progress: Optional[float]) -> None:
        """Begin a pass.

        Args:
            epoch (int): The pass, from 0.
            progress (float, optional): The share of the run that is done, in [0, 1]. None where
                nobody reports it.

        Raises:
            ValueError: If they are out of range.
        """
        arguments.require_count('epoch', epoch, 0)
        if progress is not None and not (isinstance(progress, (int, float)) and 0 <= progress <= 1):
            raise ValueError(f'progress={progress!r} is no share of the run, in [0, 1]')
        same = (epoch, progress) == (self.epoch, self._progress)
        if same and self._planned_from == self.scores.version:
            return
        if epoch != self.epoch:
            self._planner.end_pass(
                None if self._order is None else self._order.kept,
                len(self.scores),
                began_again=epoch < self.epoch,
            )
        self._waits = self._waits and progress is None
        self.epoch, self._progress = epoch, progress
        self._order, self._start = None, 0

    def wait_for_run(self) -> None:
        """Have every pass be whole until the first one begins with the progress of a run.

        mmengine reads the length of the schedule from that of the sampler.
        """
        self._waits, self._order = True, None

    def begin_run(self, schedule: PassSchedule, batch_size: int, drop_last: bool) -> None:
        """Learn what run this is, and let the policy refuse one that it cannot plan.

        Args:
            schedule (PassSchedule): Where the run stands, now and whenever a pass begins.
            batch_size (int): The samples of a batch, on each rank.
            drop_last (bool): Whether what does not fill a batch is left out.
        """
        self._planner.begin_run(schedule, len(self.scores), batch_size, self.world_size, drop_last)

    @property
    def annealing(self) -> bool:
        """bool: Whether the current pass lies in the last part of the run, which never prunes."""
        progress = self._progress
        if progress is None:
            if self.num_passes is None:
                return False
            progress = self.epoch / self.num_passes
        return progress >= self.delta

    @property
    def order(self) -> PassOrder:
        """PassOrder: What the current pass trains on, on all ranks together, in order."""
        if self._order is None:
            began = time.perf_counter()
            self._order, self._planned_from = self._make_order(), self.scores.version
            self.seconds = time.perf_counter() - began
        return self._order

    @property
    def plan(self) -> Plan:
        """Plan: The same in the order of the dataset, made anew each time: O(N)."""
        return self.order.plan()

    @property
    def kept(self) -> int:
        """int: K, how many samples the current pass trains on."""
        return self.order.kept

    def _make_order(self) -> PassOrder:
        num_samples, plan = len(self.scores), None
        if not (self.annealing or self._waits):
            plan = self._planner.plan(
                self.scores.values, self.epoch, policy_generator(self.seed, self.epoch)
            )
            if plan is not None and plan.kept < self.min_kept:
                plan = None
        dtype = index_type(num_samples)
        order = PassOrder.of(
            plan,
            shuffled(num_samples, self.seed, self.epoch, dtype)
            if self.shuffle
            else torch.arange(num_samples, dtype=dtype),
        )
        if self.stratify and order.kept < num_samples:
            scores = self.scores.values
            order = order.rearranged(
                spread_evenly(below(scores, mean_score(scores))[order.indices()], self.world_size)
            )
        return order

    def pass_order(self) -> Tuple[Tensor, Tensor]:
        """The whole pass over all ranks: indices, int64 [K] in order, and weights, float32 [K]."""
        return self.order.indices(), self.order.weights()

    def share(self) -> Tuple[Tensor, Tensor]:
        """What this rank has still to train in this pass when it begins or resumes it.

        Returns:
            tuple[Tensor, Tensor]: Indices, int64 [M] in order, and their weights, float32 [M]; M
            is the same on every rank.
        """
        indices, weights = self.small_share()
        return indices.long(), weights.cut()

    def small_share(self) -> Tuple[Tensor, Weights]:
        """The same in as few bytes as it needs, which may not be a copy."""
        return self.order.share(self._start, self.rank, self.world_size)

    @property
    def start(self) -> int:
        """int: How many samples of the pass, over all ranks, were done when this process took it
        up."""
        return self._start

    def rewind(self) -> None:
        """Hand out the whole pass from now on, also where it was taken up in the middle: the loop
        has its batches, and whoever iterates beside it (mmpretrain's ``PreciseBNHook`` does, and
        divides by the length) means all of them."""
        self._start = 0

    def __iter__(self) -> Iterator[int]:
        """Iterate over the indices that this rank has still to train in this pass.

        For a :class:`~mm_infobatch.SeededDataset` they say which pass that is.
        """
        indices = as_integers(self.small_share()[0])
        if isinstance(self.dataset, SeededDataset):
            seed, epoch = self.seed, self.epoch
            return (PassIndex(index, seed, epoch) for index in indices)
        return indices

    def __len__(self) -> int:
        """The number of samples of this rank in the whole pass, the resumed part included."""
        due = max(self.kept - self._start, 0)
        return self._start // self.world_size + math.ceil(due / self.world_size)

    def state_dict(self, consumed: int = 0) -> Dict[str, Any]:
        """The state, as tensors and plain numbers.

        Args:
            consumed (int): How many samples of the pass, over all ranks and repeated ones
                included, have been trained since it began. Defaults to 0.

        Returns:
            dict: ``epoch``, ``seed``, ``progress``, ``consumed``, ``threshold``, ``scores``
            (float32 [N]), ``order`` (int64 [K]), ``weights`` (float32 [K]), ``trained`` and
            ``skipped`` (in the passes before), and ``policy`` where the policy has a state.
        """
        order, weights = self.pass_order()
        return dict(
            epoch=self.epoch,
            seed=self.seed,
            progress=self._progress,
            consumed=consumed,
            threshold=self.order.threshold,
            scores=self.scores.state_dict()['values'],
            order=order.clone(),
            weights=weights.clone(),
            **self._planner.state_dict(),
        )

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Go on with the pass of a checkpoint, on this number of ranks.

        Args:
            state_dict (dict): What :meth:`state_dict` gave.

        Raises:
            ValueError: If it belongs to a dataset of another length.
        """
        self.scores.load_state_dict(dict(values=state_dict['scores']))
        self.epoch, self.seed = int(state_dict['epoch']), int(state_dict['seed'])
        self._progress = state_dict['progress']
        self._planner.load_state_dict(state_dict)
        self._waits = False
        self._order = PassOrder(
            state_dict['order'].cpu().clone(),
            Weights.of(state_dict['weights'].cpu().clone()),
            len(self.scores),
            state_dict['threshold'],
        )
        self._planned_from = self.scores.version
        self._start = int(state_dict['consumed'])
