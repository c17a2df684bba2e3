"""Hands out this rank's samples of a pass."""

from typing import Any, Dict, Iterator, Optional, Sized, Tuple, Union

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch import Tensor
from torch.utils.data import Sampler

from . import arguments
from .passes.batch_scores import check_same_kind, require_batch_score
from .passes.batch_shape import BatchShape
from .passes.order import PassOrder, as_integers, policy_generator, shuffled, spread_evenly
from .passes.planner import Planner
from .passes.schedule import PassSchedule
from .passes.scores import ScoreTable, check_smoothing
from .policies import Plan
from .policies.thresholds import below, mean_score
from .seeding import PassIndex, SeededDataset


@DATA_SAMPLERS.register_module()
class InfoBatchSampler(Sampler[int]):
    """Yield the samples that the policy keeps, pass by pass.

    Same seed, pass, scores and length give the same plan on every rank. Each rank gets equally many
    samples. No two ranks get the same sample, except for those that ``DefaultSampler`` would also
    repeat. A pass that prunes nothing has ``DefaultSampler``'s own order, index for index.

    Used on its own, it begins a pass at :meth:`set_epoch`, like every sampler of OpenMMLab. In a
    training run, the loop gives it the schedule (:meth:`join_run`), and
    :class:`~mm_infobatch.InfoBatchHook` begins each pass (:meth:`begin_pass`) or continues the pass
    of a checkpoint (:meth:`load_state_dict`).

    Args:
        dataset (Sized): The training dataset, of N samples.
        policy (dict or object): The rule that chooses, a config for ``PRUNING_POLICIES`` or an
            object with ``plan(scores, generator) -> Plan``; docs/policies.md says what else it may
            have. Defaults to ``dict(type='SoftPruning', prune_ratio=0.5)``.
        delta (float): The share of the run, in [0, 1], in which passes may prune; the rest
            (annealing) trains on all data. 1 never anneals, 0 never prunes. A pass belongs to the
            part of the run in which it begins, as in equation 10 of the `paper
            <https://arxiv.org/abs/2303.04947>`_. Defaults to 0.875.
        num_passes (int, optional): The passes of the run, if the sampler is used without the hook.
            Defaults to None: unknown, so every pass may prune.
        shuffle (bool): Whether to shuffle each pass. Defaults to True.
        seed (int, optional): The seed, one for all ranks. Defaults to None: drawn by rank 0.
        rank (int, optional): This process. Defaults to None: that of ``torch.distributed``.
        world_size (int, optional): The number of processes. Defaults to None, likewise.
        warmup_passes (int): How many passes at the start prune nothing, whatever the policy. 0 and
            1 are the same for every policy that keeps samples without a score. Defaults to 0.
        score_smoothing (float): s in [0, 1): a score becomes s * old + (1 - s) * loss.
            Defaults to 0: the latest loss.
        batch_score (str, optional): ``'mean'`` or ``'excess'``, scores that depend on a batch, see
            :mod:`~mm_infobatch.passes.batch_scores`. Defaults to None: what the policy needs.
        stratify (bool): Whether a pass that prunes spreads the samples whose score lies below the
            mean evenly over the batches of each rank. Defaults to False.
        track (bool): Whether to track how often each sample is trained, and the mean and spread of
            what enters its score, in 10 bytes per sample: ``scores.tracker``. Defaults to True.

    Attributes:
        scores (ScoreTable): The latest loss of every sample.
        epoch (int): The current pass, from 0.
        start (int): How many samples of the pass, over all ranks, the next iterator skips because
            they are trained already.
        iterators (int): How many times :meth:`__iter__` was called.
        counter (SampleCounter): The samples that the passes train.

    Raises:
        TypeError: If an argument has the wrong type, or the dataset no length.
        ValueError: If ``delta`` or ``num_passes`` is out of range, or the dataset is empty.
    """

    policy = arguments.set_once('policy')
    delta = arguments.set_once('delta')
    num_passes = arguments.set_once('num_passes')
    warmup_passes = arguments.set_once('warmup_passes')

    def __init__(
        self,
        dataset: Sized,
        policy: Union[Dict[str, Any], Any, None] = None,
        delta: float = 0.875,
        num_passes: Optional[int] = None,
        shuffle: bool = True,
        seed: Optional[int] = None,
        rank: Optional[int] = None,
        world_size: Optional[int] = None,
        warmup_passes: int = 0,
        score_smoothing: float = 0.0,
        stratify: bool = False,
        batch_score: Optional[str] = None,
        track: bool = True,
    ) -> None:
        arguments.require_dataset(dataset)
        delta = arguments.require_delta(delta, "sampler=dict(type='InfoBatchSampler', delta=0.875)")
        if num_passes is not None:
            num_passes = arguments.require_count('num_passes', num_passes)
        line = "sampler=dict(type='InfoBatchSampler', shuffle=True, stratify=False, track=True)"
        for name, value in (('shuffle', shuffle), ('stratify', stratify), ('track', track)):
            arguments.require_bool(name, value, line)
        dist_rank, dist_world_size = get_dist_info()
        self.rank = dist_rank if rank is None else rank
        self.world_size = dist_world_size if world_size is None else world_size
        arguments.require_rank(self.rank, self.world_size)
        self.dataset = dataset
        self.delta, self.num_passes, self.shuffle = delta, num_passes, shuffle
        if seed is not None:
            arguments.require_seed(seed)
        self.seed = sync_random_seed() if seed is None else int(seed)
        self.stratify = stratify
        shape = BatchShape(world_size=self.world_size)
        self._planner = Planner(policy, len(dataset), warmup_passes, shape)
        self.policy, self.counter = self._planner.policy, self._planner.counter
        self.warmup_passes = int(warmup_passes)
        self.batch_score = require_batch_score(batch_score, self.policy)
        self.scores = ScoreTable(len(dataset), score_smoothing, self._planner.observer, track)
        check_smoothing(self.scores.smoothing, self.policy)
        self.epoch = 0
        # Outside a run, a schedule of one step per pass, if the number of passes is known.
        self._schedule = None if num_passes is None else PassSchedule(num_passes, 1, delta=delta)
        self._in_run = False
        self._order: Optional[PassOrder] = None
        self._planned_from = -1  # the version of the scores that the order was planned from
        self.start, self.iterators = 0, 0

    @property
    def shape(self) -> BatchShape:
        """BatchShape: The shape of a batch; of one sample, outside a run."""
        return self._planner.shape

    def set_epoch(self, epoch: int) -> None:
        """Begin pass ``epoch``; within the same pass, with the same scores, this does nothing.

        In a training run the hook begins passes, and this does nothing.

        Raises:
            ValueError: If ``epoch`` is not an integer of at least 0.
        """
        epoch = arguments.require_count('epoch', epoch, 0)
        if self._in_run or epoch == self.epoch and self._planned_from == self.scores.version:
            return
        if self._schedule is not None:
            self._schedule.skip_to(epoch, epoch)
        self.epoch, self._order, self.start = epoch, None, 0

    def join_run(self, schedule: PassSchedule, shape: BatchShape) -> None:
        """Take the schedule of a training run, and the shape of its batches.

        Until the first pass begins, the length of the sampler is that of a whole pass, from which
        mmengine computes the length of the schedule.
        """
        self._schedule, self._in_run, self._order = schedule, True, None
        self._planner.shape = shape

    def begin_run(self) -> None:
        """Let the policy refuse the run, before its first pass or the state of a checkpoint."""
        assert self._schedule is not None
        self._planner.begin_run(self._schedule)

    def begin_pass(self) -> PassOrder:
        """Plan the pass that follows the current one, and return what all ranks train in it."""
        assert self._schedule is not None
        self.epoch, self.start = self._schedule.pass_index + 1, 0
        self._order = self._planned_order()
        return self._order

    def continue_at(self, consumed: int) -> None:
        """Skip the first ``consumed`` samples of the pass, over all ranks, in the next iterator, as
        a second ``runner.train()`` continues an interrupted pass."""
        self.start = consumed

    @property
    def order(self) -> PassOrder:
        """PassOrder: What the current pass trains, over all ranks, in order."""
        if self._order is None:
            self._order = self._order_of(None) if self._in_run else self._planned_order()
        return self._order

    @property
    def plan(self) -> Plan:
        """Plan: The samples and weights of the current pass, in the order of the dataset; computed
        on each access, O(N)."""
        return self.order.plan

    def _planned_order(self) -> PassOrder:
        generator = policy_generator(self.seed, self.epoch)
        with self.scores.track_in_thread():
            plan = self._planner.plan(self.scores.values, self._schedule, self.epoch, generator)
            self._planned_from = self.scores.version
            return self._order_of(plan)

    def _order_of(self, plan: Optional[Plan]) -> PassOrder:
        """The order of the current pass, of the whole dataset where there is no plan."""
        num_samples = len(self.scores)
        order_of_all = (
            shuffled(num_samples, self.seed, self.epoch)
            if self.shuffle
            else torch.arange(num_samples)
        )
        order = PassOrder.of(plan, order_of_all)
        if self.stratify and order.kept < num_samples:
            scores = self.scores.values
            marked = below(scores, mean_score(scores))[order.indices.long()]
            order = order.rearranged(spread_evenly(marked, self.world_size))
        return order

    def due(self) -> Tuple[Tensor, Tensor]:
        """The samples that this rank still has to train in this pass.

        Returns:
            tuple[Tensor, Tensor]: Indices, int64 [M] in order, and their weights, float32 [M]; M
            is the same on every rank.
        """
        indices, weights = self.order.of_rank(self.start, self.rank, self.shape)
        return indices.long(), weights

    def __iter__(self) -> Iterator[int]:
        """Iterate over the indices that this rank still has to train in this pass.

        In a run, only the first iterator after a resume begins in the middle of a pass: it is the
        loop's, and later ones (of mmpretrain's ``PreciseBNHook``) begin at the beginning.
        For a :class:`~mm_infobatch.SeededDataset` the indices carry seed and pass.
        """
        indices = as_integers(self.order.of_rank(self.start, self.rank, self.shape)[0])
        self.iterators += 1
        if self._in_run:
            self.start = 0
        if isinstance(self.dataset, SeededDataset):
            seed, epoch = self.seed, self.epoch
            return (PassIndex(index, seed, epoch) for index in indices)
        return indices

    def __len__(self) -> int:
        """The number of samples of this rank in the whole pass."""
        due = self.order.rank_samples(self.start, self.shape)
        return self.start // self.world_size + due

    def state_dict(self, consumed: int = 0) -> Dict[str, Any]:
        """The state, as tensors and plain numbers.

        Args:
            consumed (int): How many samples of the pass, over all ranks and repeated ones
                included, have been trained since it began. Defaults to 0.

        Returns:
            dict: ``epoch``, ``seed``, ``consumed``, ``samples_trained`` and ``samples_skipped``
            (in the passes before), ``threshold``, ``scores`` (float32 [N]), ``order`` (int32, or
            int64 for 2**31 samples and more, [K]), ``weights`` (float32 [K]); ``tracked``,
            ``batch_score`` and ``policy`` where there are any.
        """
        order = self.order
        trained, skipped = self.counter.before(self.epoch)
        scores = self.scores.state_dict()
        state: Dict[str, Any] = dict(
            epoch=self.epoch,
            seed=self.seed,
            consumed=consumed,
            samples_trained=trained,
            samples_skipped=skipped,
            threshold=order.threshold,
            scores=scores.pop('values'),
            order=order.indices.clone(),
            weights=order.weights if order.uniform else order.weights.clone(),
            **scores,
        )
        if self.batch_score:
            state['batch_score'] = self.batch_score
        if hasattr(self.policy, 'state_dict'):
            state['policy'] = self.policy.state_dict()
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Continue the pass of a checkpoint, on this number of ranks.

        Args:
            state_dict (dict): What :meth:`state_dict` returned.

        Raises:
            ValueError: If it belongs to a dataset of another length, or has scores of another kind.
        """
        check_same_kind(state_dict.get('batch_score'), self.batch_score)
        self.scores.load_state_dict(dict(state_dict, values=state_dict['scores']))
        self.epoch, self.seed = int(state_dict['epoch']), int(state_dict['seed'])
        if 'policy' in state_dict and hasattr(self.policy, 'load_state_dict'):
            self.policy.load_state_dict(state_dict['policy'])
        self._order = PassOrder(
            state_dict['order'].cpu().clone(),
            state_dict['weights'].cpu().clone(),
            len(self.scores),
            state_dict['threshold'],
        )
        trained, skipped = (int(state_dict[f'samples_{key}']) for key in ('trained', 'skipped'))
        self.counter.count(self.epoch - 1, trained, trained + skipped)
        self._planner.resume(self.epoch, self._order.kept)
        if self._schedule is not None and not self._in_run:
            self._schedule.skip_to(self.epoch, self.epoch)
        self._planned_from = self.scores.version
        self.start = int(state_dict['consumed'])
