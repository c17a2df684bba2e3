"""The position of a run in its schedule: passes, progress and the end, in integers."""

import math
from typing import Any, Dict, Optional

BUDGETS = ('passes', 'iterations')
SUPER = (
    'have run_epoch (or run_pass) of the loop call super().run_epoch(), which trains a whole pass; '
    'for shorter passes set train_dataloader.dataset.indices'
)


class PassSchedule:
    """Where a pruned run stands in the schedule that was written for all data.

    The schedule is ``total`` steps long; the learning rate is a function of the step. With
    ``budget='passes'`` a step is an iteration of the unpruned run: a pass over the dataset walks
    ``pass_length`` steps however few iterations it takes, so the run makes as many passes as the
    unpruned one, in fewer iterations. With ``budget='iterations'`` each iteration walks one step,
    so the run makes as many iterations, and more passes.

    Args:
        total (int, optional): The length of the schedule in steps. None where it is written in
            passes; one of the two is given.
        pass_length (int): The iterations of a pass over all data, on each rank.
        budget (str): 'passes' or 'iterations'. Defaults to 'passes'.
        delta (float): The share of the schedule in which passes may prune. Defaults to 0.875.
        passes (int, optional): The length of the schedule in passes (epochs), which stays the same
            on another number of ranks. Defaults to None.

    Attributes:
        pass_index (int): The current pass, from 0; -1 before the first.
        iters (int): Iterations done.
        walked (int): Steps done, at most ``total``.
        pass_iter (int): Iterations of the current pass that this process has done.
        pass_iters (int): Iterations of the current pass that this process does in all.

    Raises:
        ValueError: If ``budget`` is neither of the two.
    """

    def __init__(
        self,
        total: Optional[int],
        pass_length: int,
        budget: str = 'passes',
        delta: float = 0.875,
        passes: Optional[int] = None,
    ) -> None:
        if budget not in BUDGETS:
            raise ValueError(
                f"budget={budget!r} is neither of {BUDGETS}: with budget='passes' max_iters is "
                "the unpruned schedule and the run ends earlier, with budget='iterations' the "
                'run makes max_iters iterations; change train_cfg.budget'
            )
        self._total, self._passes = total, passes
        self.pass_length, self.budget, self.delta = pass_length, budget, delta
        # The same on this number of ranks; ``pass_length`` stays as it was when the run began.
        self._full_iters = pass_length
        self.pass_index, self.iters, self.walked = -1, 0, 0
        self.pass_iter = self.pass_iters = 0
        # The steps at which this process began, or resumed, the pass, and at which the pass ends.
        self._pass_from = self._pass_to = 0
        self._expected = self.total

    @property
    def total(self) -> int:
        """int: The length of the schedule in steps."""
        if self._total is None:
            assert self._passes is not None
            return self._passes * self.pass_length
        return self._total

    @property
    def by_epoch(self) -> bool:
        """bool: Whether it is written in passes, so that a pass is an epoch of the run."""
        return self._passes is not None

    @property
    def progress(self) -> float:
        """float: The share of the schedule that is done, in [0, 1]."""
        return self.walked / self.total

    @property
    def finished(self) -> bool:
        """bool: Whether the schedule has been walked to its end."""
        return self.walked >= self.total

    @property
    def begun(self) -> bool:
        """bool: Whether the first pass has begun."""
        return self.pass_index >= 0

    @property
    def iters_left(self) -> int:
        """int: Iterations of the current pass that this process still has to do. A last pass that
        the end of the schedule cuts off has some left when it ends."""
        return max(0, self.pass_iters - self.pass_iter)

    @property
    def pass_ended(self) -> bool:
        """bool: Whether the current pass has ended, with its last iteration or with the run."""
        return not self.iters_left or self.finished

    @property
    def pass_share(self) -> float:
        """float: The share of the current pass that the schedule has room for: below 1 in a last
        pass that ``budget='passes'`` cuts off. What a longer schedule has walked before a resume
        counts as room."""
        if self.budget == 'iterations':
            return 1.0
        return min(1.0, 1 - (self._pass_to - max(self.total, self.walked)) / self.pass_length)

    @property
    def compared_iter(self) -> int:
        """int: The iteration of the current pass, from 0, in which the trained loss is compared:
        one of the first eight, another one from pass to pass."""
        return max(self.pass_index, 0) % max(1, min(8, self.pass_iters))

    @property
    def expected_iters(self) -> int:
        """int: Iterations of the whole run. In the last pass the number is exact. Before, it is an
        estimate: that later passes are pruned as this one is."""
        return self._expected

    @property
    def anneals(self) -> bool:
        """bool: Whether a pass that begins now trains all data, as ``delta`` of the schedule is
        done."""
        return self._anneals(self.walked)

    def _anneals(self, step: int) -> bool:
        return step / self.total >= self.delta

    @property
    def will_prune(self) -> bool:
        """bool: Whether a pass after the first, which has no scores, begins before ``delta``."""
        return not self._anneals(self.pass_length)

    @property
    def will_anneal(self) -> bool:
        """bool: Whether a pass of the schedule begins at or after ``delta`` of it; with
        ``budget='iterations'``, whether one may, as a pruned pass can end at any step."""
        last = (self.total - 1) // self.pass_length * self.pass_length
        if last and self.budget == 'iterations':
            last = self.total - 1
        return self._anneals(last)

    def settings(self) -> Dict[str, Any]:
        """What identifies the schedule, for the report and for comparing with a checkpoint."""
        return dict(
            budget=self.budget, schedule_iterations=self.total, pass_length=self.pass_length
        )

    def warning(self) -> Optional[str]:
        """What a user should know before a run of this schedule starts.

        Returns:
            str, optional: A warning where no pass can prune, or none anneals.
        """
        if self.delta > 0 and not self.will_prune:
            number = f'{self.total / self.pass_length:.3g}'
            passes = '1 pass' if number == '1' else f'{number} passes'
            return (
                f'this run makes {passes} over the dataset, and '
                f'only passes after the first that begin before delta={self.delta:g} of it can '
                'prune, so nothing will be skipped; train longer, or where the dataset is a '
                'RepeatDataset, whose samples are the repetitions of an image, set '
                'train_dataloader.dataset.times=1'
            )
        if self.delta < 1 and not self.will_anneal:
            return (
                f'no pass of this run begins after delta={self.delta:g} of it, so none anneals; '
                'lower sampler.delta or train more passes'
            )
        return None

    def begin_pass(self, pass_iters: int) -> None:
        """Begin the next pass, of ``pass_iters`` iterations (at least 1)."""
        self.check_ended()
        self.pass_index += 1
        self._continue_pass(
            pass_iters, pass_iters if self.budget == 'iterations' else self.pass_length
        )

    def check_ended(self) -> None:
        """Refuse to leave the current pass before its end.

        Raises:
            ValueError: If iterations of it are left.
        """
        if not self.pass_ended:
            raise ValueError(
                f'the training loop left pass {self.pass_index} after {self.pass_iter} of its '
                f'{self.pass_iters} batches, so the samples of the others would be skipped and all '
                f'its scores lost; {SUPER}'
            )

    def _continue_pass(self, pass_iters: int, length: int) -> None:
        """Have ``pass_iters`` iterations walk ``length`` steps from here on."""
        self.pass_iter, self.pass_iters = 0, pass_iters
        self._pass_from, self._pass_to = self.walked, self.walked + length
        if not pass_iters:  # the samples due make no batch, so the pass is over
            self.walked = min(self._pass_to, self.total)
        self._expected = self._estimate()

    def advance(self) -> int:
        """Count an iteration as done.

        Returns:
            int: The steps of the schedule that it walked, 0 or more.
        """
        self.pass_iter += 1
        self.iters += 1
        length = self._pass_to - self._pass_from
        walked = min(self.total, self._pass_from + length * self.pass_iter // self.pass_iters)
        moved, self.walked = walked - self.walked, walked
        return moved

    def _estimate(self) -> int:
        """Iterations of the whole run, if later passes are pruned as the current one is."""
        if self.budget == 'iterations':
            return self.iters + self.total - self.walked
        pass_steps = self._pass_to - self._pass_from
        if self.pass_iters and pass_steps:
            end = min(self._pass_to, self.total)
            # The least k with pass_steps * k // pass_iters >= end - _pass_from.
            last = -(-(end - self._pass_from) * self.pass_iters // pass_steps)
            expected = self.iters + last - self.pass_iter
            iters_per_step = self.pass_iters / pass_steps
        else:  # the next pass is the first here, or what is left of the current one makes no batch
            end, expected = self.walked, self.iters
            iters_per_step = self._full_iters / self.pass_length
        while end < self.total:
            steps = min(self.pass_length, self.total - end)
            if self._anneals(end):
                expected += -(-steps * self._full_iters // self.pass_length)
            else:
                expected += max(1, math.ceil(steps * iters_per_step))
            end += steps
        return expected

    def state_dict(self) -> Dict[str, Any]:
        """The position, as plain integers, and the budget that it was walked by."""
        return dict(
            budget=self.budget,
            pass_length=self.pass_length,
            pass_index=self.pass_index,
            iters=self.iters,
            walked=self.walked,
            pass_iter=self.pass_iter,
            pass_iters=self.pass_iters,
            pass_from=self._pass_from,
            pass_to=self._pass_to,
        )

    def load_state_dict(self, state_dict: Dict[str, Any], iters_left: int) -> int:
        """Continue from a checkpoint.

        On another world size or batch size, the rest of the pass takes another number of
        iterations. It walks the same steps of the schedule, at once where no iteration is left.
        With another budget the rest of the pass is walked by that one.

        Args:
            state_dict (dict): What :meth:`state_dict` returned.
            iters_left (int): The iterations that the pass still has for this process.

        Returns:
            int: The steps that were walked at once.
        """
        self.pass_length = int(state_dict['pass_length'])
        self.pass_index = int(state_dict['pass_index'])
        self.iters, self.walked = int(state_dict['iters']), int(state_dict['walked'])
        self.pass_iter, self.pass_iters = state_dict['pass_iter'], state_dict['pass_iters']
        self._pass_from, self._pass_to = int(state_dict['pass_from']), int(state_dict['pass_to'])
        walked_before = self.walked
        same_budget = state_dict.get('budget', self.budget) == self.budget
        if same_budget and self.iters_left == iters_left:
            self._expected = self._estimate()
        elif self.budget == 'iterations':
            self._continue_pass(iters_left, iters_left)
        else:
            self._continue_pass(iters_left, self._pass_to - self.walked)
        return self.walked - walked_before

    def skip_to(self, iters: int, passes: int) -> None:
        """Continue a run without InfoBatch.

        It stands after as many steps as it made iterations; where the schedule is written in passes
        after as many passes, whose iterations may have been of another batch size.

        Args:
            iters (int): The iterations that it made.
            passes (int): The whole passes that it made.
        """
        walked = passes * self.pass_length if self.by_epoch else iters
        self.iters, self.walked = iters, min(walked, self.total)
        self.pass_index = passes - 1
        self._expected = self._estimate()
