"""What a run trained and saved, as records: the log lines and ``infobatch.json``."""

import json
import os
from typing import Any, Dict, List, Optional

FORMAT_VERSION = 1


class RunReport:
    """The settings of a run, a record of each pass, and the totals.

    Attributes:
        settings (dict): Plain values that say how samples are chosen.
        passes (list[dict]): A record a pass: ``pass``, ``begin_iter``, ``iterations``, ``kept``,
            ``pruned``, ``pruned_share``, ``annealing``, ``threshold``, ``mean_score``, ``seconds``
            (spent choosing), ``trained`` and ``full`` (samples that the pass has trained so far,
            over all ranks, and that it would have on all data), ``saving`` (of the run so far).
        schedule_iterations (int): The iterations of the unpruned run.
        finished (bool): Whether the schedule has been walked to its end.
    """

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.settings = settings
        self.passes: List[Dict[str, Any]] = []
        self.schedule_iterations = int(settings['schedule_iterations'])
        self.finished = False
        self._warned = False

    def begin_pass(
        self,
        *,
        index: int,
        begin_iter: int,
        kept: int,
        pruned: int,
        annealing: bool,
        threshold: Optional[float],
        mean_score: Optional[float],
        seconds: float,
        will_train: int,
        full: int,
    ) -> Dict[str, Any]:
        """Open the record of a pass.

        Args:
            index (int): The pass, from 0.
            begin_iter (int): The iterations done before it.
            kept (int): The samples of its plan.
            pruned (int): The samples that the plan skips.
            annealing (bool): Whether it lies in the last part of the run.
            threshold (float, optional): The score below which a sample was well-learned.
            mean_score (float, optional): The mean of the scores.
            seconds (float): The time that choosing took.
            will_train (int): The samples that it will train; fewer than ``kept`` under
                ``drop_last``.
            full (int): The samples that a pass over all data would train.

        Returns:
            dict: The record.
        """
        trained_before = sum(record['trained'] for record in self.passes)
        full_before = sum(record['full'] for record in self.passes)
        self.passes.append(
            {
                'pass': index,
                'begin_iter': begin_iter,
                'iterations': 0,
                'kept': kept,
                'pruned': pruned,
                'pruned_share': pruned / (kept + pruned),
                'annealing': annealing,
                'threshold': threshold,
                'mean_score': mean_score,
                'seconds': seconds,
                'trained': 0,
                'full': 0,
                'saving': 1 - (trained_before + will_train) / (full_before + full),
            }
        )
        return self.passes[-1]

    def update_pass(self, iterations: int, trained: int, full: int) -> None:
        """Bring the record of the current pass up to date."""
        record = self.passes[-1]
        record.update(iterations=iterations, trained=trained, full=full)
        record['saving'] = self.totals()['saving']

    def totals(self) -> Dict[str, Any]:
        """dict: The sums over all passes so far."""
        trained = sum(record['trained'] for record in self.passes)
        full = sum(record['full'] for record in self.passes)
        return dict(
            passes=len(self.passes),
            iterations=sum(record['iterations'] for record in self.passes),
            schedule_iterations=self.schedule_iterations,
            samples_trained=trained,
            samples_full=full,
            saving=1 - trained / full if full else 0.0,
            seconds_choosing=sum(record['seconds'] for record in self.passes),
            finished=self.finished,
        )

    def pass_line(self) -> str:
        """str: The log line of the pass that begins."""
        record = self.passes[-1]
        scores = (
            'no scores yet'
            if record['mean_score'] is None
            else f'mean score {record["mean_score"]:.4f}'
        )
        if record['threshold'] is not None:
            scores = f'threshold {record["threshold"]:.4f}, {scores}'
        return (
            f'InfoBatch pass {record["pass"] + 1}: kept {record["kept"]} of '
            f'{record["kept"] + record["pruned"]} samples, pruned {record["pruned"]} '
            f'({record["pruned_share"]:.1%}){", annealing" if record["annealing"] else ""}, '
            f'saving so far {record["saving"]:.1%}, {scores}, '
            f'chosen in {record["seconds"]:.3f} s'
        )

    def last_line(self) -> str:
        """str: The log line at the end of the run."""
        totals = self.totals()
        return (
            f'InfoBatch trained {totals["samples_trained"]} of {totals["samples_full"]} '
            f'samples in {totals["iterations"]} iterations of a schedule of '
            f'{totals["schedule_iterations"]}: saving {totals["saving"]:.1%}, '
            f'{totals["seconds_choosing"]:.3f} s spent choosing'
        )

    def write(self, path: str) -> None:
        """Write the report as JSON, so that a reader sees the old or the new one, never a part."""
        content = dict(
            version=FORMAT_VERSION, settings=self.settings, passes=self.passes, totals=self.totals()
        )
        with open(path + '.tmp', 'w') as file:
            json.dump(content, file, indent=1)
        os.replace(path + '.tmp', path)

    def try_write(self, path: str) -> Optional[str]:
        """Write the report, if that can be done: a full disk or a file that belongs to somebody
        else is no reason to stop a training, whose checkpoints hold the records too.

        Returns:
            str, optional: A line for the log, the first time that it could not be written.
        """
        try:
            self.write(path)
        except OSError as error:
            if not self._warned:
                self._warned = True
                return (
                    f'InfoBatch: {path} cannot be written ({error}); training goes on without '
                    'it, and the records of the passes are in the checkpoints'
                )
        return None
