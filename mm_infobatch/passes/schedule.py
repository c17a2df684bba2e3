"""Passes, progress and the end of a run, as arithmetic on integers."""

import math
from typing import Any, Dict, Optional

BUDGETS = ('passes', 'iterations')


class PassSchedule:
    """Where a pruned run stands in the schedule that was written for all data.

    The schedule is ``total`` steps long; the learning rate is a function of the step. With
    ``budget='passes'`` a step is an iteration of the unpruned run: a pass over the dataset walks
    ``pass_length`` steps however few iterations it takes, so the run makes as many passes as the
    unpruned one, in fewer iterations. With ``budget='iterations'`` each iteration walks one step,
    so the run makes as many iterations, and more passes.

    Args:
        total (int, optional): The length of the schedule in steps. None where it is written in
            passes.
        pass_length (int): The iterations of a pass over all data, on each rank.
        budget (str): 'passes' or 'iterations'. Defaults to 'passes'.
        delta (float): The share of the schedule in which passes may prune, to estimate the end.
            Defaults to 0.875.
        passes (int, optional): The length of the schedule in passes (epochs), which stays the same
            on another number of ranks. Defaults to None.

    Attributes:
        pass_index (int): The current pass, from 0; -1 before the first.
        iters (int): Iterations done.
        walked (int): Steps done, at most ``total``.
        step (int): Iterations done of the current pass by this process.
        steps (int): Iterations that the current pass has for this process.

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
        self.pass_index, self.iters, self.walked = -1, 0, 0
        self.step = self.steps = 0
        self._from = self._to = 0  # the steps at which this pass was taken up and will end
        self._expected = self.total

    @property
    def total(self) -> int:
        """int: The length of the schedule in steps."""
        if self._total is None:
            assert self._passes is not None
            return self._passes * self.pass_length
        return self._total

    @property
    def progress(self) -> float:
        """float: The share of the schedule that is done, in [0, 1]."""
        return self.walked / self.total

    @property
    def done(self) -> bool:
        """bool: Whether the schedule has been walked to its end."""
        return self.walked >= self.total

    @property
    def pass_done(self) -> bool:
        """bool: Whether the current pass has no iteration left."""
        return self.step >= self.steps

    @property
    def will_anneal(self) -> bool:
        """bool: Whether a pass of the schedule begins at or after ``delta`` of it."""
        if self.budget == 'iterations':
            return True
        last = (self.total - 1) // self.pass_length * self.pass_length
        return last / self.total >= self.delta

    @property
    def will_prune(self) -> bool:
        """bool: Whether a pass after the first, which has no scores, begins before ``delta``."""
        return self.pass_length / self.total < self.delta

    @property
    def is_last_pass(self) -> bool:
        """bool: Whether the schedule ends with the current pass."""
        return self._to >= self.total

    @property
    def expected_iters(self) -> int:
        """int: Iterations of the whole run: exact in its last pass, before that an estimate that
        takes later passes to be pruned as this one is."""
        return self._expected

    def begin_pass(self, steps: int) -> None:
        """Begin the next pass, of ``steps`` iterations (at least 1)."""
        self.pass_index += 1
        self._take_up(steps, steps if self.budget == 'iterations' else self.pass_length)

    def _take_up(self, steps: int, length: int) -> None:
        self.step, self.steps = 0, steps
        self._from, self._to = self.walked, self.walked + length
        if not steps:  # what is due makes no batch, so the pass is over
            self.walked = min(self._to, self.total)
        self._expected = self._estimate()

    def advance(self) -> int:
        """Count an iteration as done.

        Returns:
            int: The steps of the schedule that it walked, 0 or more.
        """
        self.step += 1
        self.iters += 1
        length = self._to - self._from
        walked = min(self.total, self._from + length * self.step // self.steps)
        moved, self.walked = walked - self.walked, walked
        return moved

    def _estimate(self) -> int:
        if self.budget == 'iterations':
            return self.iters + self.total - self.walked
        goal, length = min(self._to, self.total), self._to - self._from
        if not self.steps or not length:
            goal, expected, share = self.walked, self.iters, 1.0
        else:
            # the least k with length * k // steps >= goal - _from
            last = -(-(goal - self._from) * self.steps // length)
            expected, share = self.iters + last - self.step, self.steps / length
        while goal < self.total:
            length = min(self.pass_length, self.total - goal)
            pruned = goal / self.total < self.delta
            expected += max(1, math.ceil(length * share)) if pruned else length
            goal += length
        return expected

    def state_dict(self) -> Dict[str, Any]:
        """The position, as plain integers, and the budget that it was walked by."""
        return dict(
            budget=self.budget,
            pass_length=self.pass_length,
            pass_index=self.pass_index,
            iters=self.iters,
            walked=self.walked,
            step=self.step,
            steps=self.steps,
            taken_up_at=self._from,
            ends_at=self._to,
        )

    def load_state_dict(self, state_dict: Dict[str, Any], steps_left: int) -> None:
        """Go on from a checkpoint.

        On another world size or batch size, the rest of the pass takes another number of
        iterations; it walks the same steps of the schedule, at once where no iteration is left.
        With another budget the rest of the pass is walked by that one.

        Args:
            state_dict (dict): What :meth:`state_dict` gave.
            steps_left (int): The iterations that the pass still has for this process.
        """
        self.pass_length = int(state_dict['pass_length'])
        self.pass_index = int(state_dict['pass_index'])
        self.iters, self.walked = int(state_dict['iters']), int(state_dict['walked'])
        self.step, self.steps = int(state_dict['step']), int(state_dict['steps'])
        self._from, self._to = int(state_dict['taken_up_at']), int(state_dict['ends_at'])
        same_budget = state_dict.get('budget', self.budget) == self.budget
        if same_budget and self.steps - self.step == steps_left:
            self._expected = self._estimate()
        elif self.budget == 'iterations':
            self._take_up(steps_left, steps_left)
        else:
            self._take_up(steps_left, self._to - self.walked)

    def skip_to(self, iters: int, passes: int) -> None:
        """Go on from a run without InfoBatch, which walked one step an iteration.

        Args:
            iters (int): The iterations that it made.
            passes (int): The whole passes that it made.
        """
        self.iters, self.walked = iters, min(iters, self.total)
        self.pass_index = passes - 1
        self._expected = self._estimate()
