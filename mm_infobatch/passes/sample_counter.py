"""Counts the samples that a run trains, and those that it would train on all data."""

from typing import Dict, Tuple


class SampleCounter:
    """Samples trained and skipped, over all ranks, pass by pass.

    The only count, for policies (:class:`~mm_infobatch.policies.Run`), the report and checkpoints.
    """

    def __init__(self) -> None:
        self._passes: Dict[int, Tuple[int, int]] = {}

    def count(self, pass_index: int, trained: int, full: int) -> None:
        """Set the counts of a pass; the counts of later ones are dropped.

        Args:
            pass_index (int): The pass, from 0.
            trained (int): The samples that it trains.
            full (int): The samples that it would train on all data.
        """
        self._passes = {key: value for key, value in self._passes.items() if key < pass_index}
        self._passes[pass_index] = trained, full

    def of(self, pass_index: int) -> Tuple[int, int]:
        """Samples that a pass trains, and that it would train on all data."""
        return self._passes[pass_index]

    def before(self, pass_index: int) -> Tuple[int, int]:
        """Samples trained and skipped in the passes before ``pass_index``."""
        earlier = [counts for key, counts in self._passes.items() if key < pass_index]
        total = sum(trained for trained, _ in earlier)
        return total, sum(full for _, full in earlier) - total

    @property
    def trained(self) -> int:
        """int: The samples that all passes train."""
        return sum(trained for trained, _ in self._passes.values())

    @property
    def full(self) -> int:
        """int: The samples that they would train on all data."""
        return sum(full for _, full in self._passes.values())

    @property
    def saving(self) -> float:
        """float: The share of the samples that is skipped."""
        return 1 - self.trained / self.full if self.full else 0.0
