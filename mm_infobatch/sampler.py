"""Hands out this rank's share of the plan of a pass."""
import math
import time
from typing import Any, Dict, Iterator, Optional, Sized, Tuple, Union

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch import Tensor
from torch.utils.data import IterableDataset, Sampler

from .policies import Plan
from .registry import PRUNING_POLICIES
from .scores import ScoreTable


def shuffled(num_samples: int, seed: int, epoch: int) -> Tensor:
    """The permutation that mmengine's ``DefaultSampler`` uses in that epoch, int64 [N]."""
    generator = torch.Generator()
    generator.manual_seed(seed + epoch)
    return torch.randperm(num_samples, generator=generator)


def policy_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of a pass's policy: a function of seed and pass, apart from the shuffle's."""
    state = np.random.SeedSequence([seed % 2**63, epoch, 0x1B]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def round_up(due: Tensor, whole: Tensor, world_size: int) -> Tensor:
    """Extend ``due`` to a multiple of the world size as ``DefaultSampler`` does.

    Args:
        due (Tensor): [M], what is still to be handed out, the end of ``whole``.
        whole (Tensor): [K], the whole pass, whose beginning fills up the last round.
        world_size (int): W.

    Returns:
        Tensor: [ceil(M / W) * W].
    """
    missing = -len(due) % world_size
    if not missing:
        return due
    return torch.cat([due, whole.repeat(math.ceil(missing / len(whole)))[:missing]])


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
            object with ``plan(scores, generator) -> Plan``.
            Defaults to ``dict(type='SoftPruning', prune_ratio=0.5)``.
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

    def __init__(self,
                 dataset: Sized,
                 policy: Union[dict, Any, None] = None,
                 delta: float = 0.875,
                 num_passes: Optional[int] = None,
                 shuffle: bool = True,
                 seed: Optional[int] = None,
                 rank: Optional[int] = None,
                 world_size: Optional[int] = None) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, '__len__'):
            raise TypeError(
                f'InfoBatchSampler names samples by index, but {type(dataset).__name__} is '
                'iterable or has no length; use a map-style dataset in train_dataloader.dataset')
        if len(dataset) == 0:
            raise ValueError(
                'InfoBatchSampler got a training dataset of 0 samples; look at data_root, ann_file '
                'and the filters of train_dataloader.dataset')
        if isinstance(delta, bool) or not isinstance(delta, (int, float)):
            raise TypeError(f'delta has to be a number in [0, 1], but is {delta!r}; '
                            "write sampler=dict(type='InfoBatchSampler', delta=0.875)")
        if not 0 <= delta <= 1:
            raise ValueError(
                f'delta={delta} lies outside [0, 1]: it is the share of the run in which passes '
                "may prune; write sampler=dict(type='InfoBatchSampler', delta=0.875)")
        if num_passes is not None and (isinstance(num_passes, bool)
                                       or not isinstance(num_passes, int) or num_passes < 1):
            raise ValueError(f'num_passes has to be None or an integer above 0, but is '
                             f'{num_passes!r}')
        if policy is None:
            policy = dict(type='SoftPruning', prune_ratio=0.5)
        self.policy = PRUNING_POLICIES.build(policy) if isinstance(policy, dict) else policy
        if not callable(getattr(self.policy, 'plan', None)):
            raise TypeError(
                f'policy={policy!r} has no method plan(scores, generator); write '
                "policy=dict(type='SoftPruning', prune_ratio=0.5) or register one of your own in "
                'PRUNING_POLICIES')
        dist_rank, dist_world_size = get_dist_info()
        self.rank = dist_rank if rank is None else rank
        self.world_size = dist_world_size if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f'rank={self.rank} is none of the {self.world_size} ranks '
                             f'0 to {self.world_size - 1} of world_size')
        self.dataset = dataset
        self.delta = float(delta)
        self.num_passes = num_passes
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else int(seed)
        self.scores = ScoreTable(len(dataset))
        self.epoch = 0
        self.min_kept = 1
        self.seconds = 0.0
        self._progress: Optional[float] = None
        self._plan: Optional[Plan] = None
        self._planned_from = -1  # the version of the scores
        self._order: Tensor  # int64 [K], the kept samples in the order of the pass
        self._weights: Tensor  # float32 [K], beside _order
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
        """
        same = (epoch, progress) == (self.epoch, self._progress)
        if same and self._planned_from == self.scores.version:
            return
        self.epoch, self._progress = epoch, progress
        self._plan, self._start = None, 0

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
    def plan(self) -> Plan:
        """Plan: What the current pass trains on, on all ranks together."""
        if self._plan is None:
            began = time.perf_counter()
            self._make_plan()
            self.seconds = time.perf_counter() - began
        assert self._plan is not None
        return self._plan

    def _make_plan(self) -> None:
        num_samples = len(self.scores)
        plan = Plan.full(num_samples)
        if not self.annealing:
            chosen = self.policy.plan(self.scores.values,
                                      policy_generator(self.seed, self.epoch))
            if chosen.num_samples != num_samples:
                raise ValueError(f'{self.policy!r} planned for {chosen.num_samples} samples, but '
                                 f'the dataset has {num_samples}')
            if chosen.kept >= self.min_kept:
                plan = chosen
        order = (shuffled(num_samples, self.seed, self.epoch)
                 if self.shuffle else torch.arange(num_samples))
        weights = torch.zeros(num_samples)
        weights[plan.indices] = plan.weights
        weights = weights[order]
        if plan.pruned:
            kept = weights > 0
            order, weights = order[kept], weights[kept]
        self._plan, self._planned_from = plan, self.scores.version
        self._order, self._weights = order, weights

    def pass_order(self) -> Tuple[Tensor, Tensor]:
        """The whole pass over all ranks: indices, int64 [K] in order, and weights, float32 [K]."""
        self.plan  # noqa: B018
        return self._order, self._weights

    def share(self) -> Tuple[Tensor, Tensor]:
        """What this rank has still to train in this pass when it begins or resumes it.

        Returns:
            tuple[Tensor, Tensor]: Indices, int64 [M] in order, and their weights, float32 [M]; M
            is the same on every rank.
        """
        order, weights = self.pass_order()
        mine = slice(self.rank, None, self.world_size)
        return (round_up(order[self._start:], order, self.world_size)[mine],
                round_up(weights[self._start:], weights, self.world_size)[mine])

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
        """Iterate over the indices that this rank has still to train in this pass."""
        return iter(self.share()[0].tolist())

    def __len__(self) -> int:
        """The number of samples of this rank in the whole pass, the resumed part included."""
        due = max(self.plan.kept - self._start, 0)
        return self._start // self.world_size + math.ceil(due / self.world_size)

    def state_dict(self, consumed: int = 0) -> Dict[str, Any]:
        """The state, as tensors and plain numbers.

        Args:
            consumed (int): How many samples of the pass, over all ranks and repeated ones
                included, have been trained since it began. Defaults to 0.

        Returns:
            dict: ``epoch``, ``seed``, ``progress``, ``consumed``, ``threshold``, ``scores``
            (float32 [N]), ``order`` (int64 [K]) and ``weights`` (float32 [K]).
        """
        order, weights = self.pass_order()
        return dict(
            epoch=self.epoch,
            seed=self.seed,
            progress=self._progress,
            consumed=consumed,
            threshold=self.plan.threshold,
            scores=self.scores.state_dict()['values'],
            order=order.clone(),
            weights=weights.clone())

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
        self._order = state_dict['order'].cpu().clone()
        self._weights = state_dict['weights'].cpu().clone()
        indices, position = self._order.sort()
        self._plan = Plan(indices, self._weights[position], len(self.scores),
                          state_dict['threshold'])
        self._planned_from = self.scores.version
        self._start = int(state_dict['consumed'])
