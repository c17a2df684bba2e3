"""Gives the numbers of a pass and the histogram of the scores to the visualizer."""

from typing import Any, Dict, List, Tuple

from mmengine.dist import is_main_process
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend, WandbVisBackend

from .report import RunReport


def show_pass(visualizer: Any, report: RunReport, step: int) -> None:
    """Give the numbers of the pass that begins to the backends of the visualizer, and the
    histogram of the scores to TensorBoard and WandB, which draw one.

    ``LocalVisBackend`` gets neither: the tools of the toolboxes read its ``scalars.json``, and take
    every row without a learning rate for a validation. ``infobatch.json`` has the numbers.

    Args:
        visualizer (Visualizer): The visualizer of the run.
        report (RunReport): Its report.
        step (int): The iterations done.
    """
    if not is_main_process():
        return
    for backend in visualizer._vis_backends.values():
        if not isinstance(backend, LocalVisBackend):
            backend.add_scalars(report.scalars(), step=step)
    histogram = report.passes[-1]['histogram']
    if histogram is not None:
        add_histogram(visualizer, 'infobatch/scores', histogram, step)


def add_histogram(visualizer: Any, name: str, histogram: Dict[str, Any], step: int) -> None:
    """Give a histogram to the backends that draw one; for rank 0 alone.

    mmengine's ``Visualizer`` has no method for it, so it goes to what its backends call their
    ``experiment``.

    Args:
        visualizer (Visualizer): The visualizer of the run.
        name (str): The name of the histogram.
        histogram (dict): ``edges`` (B + 1 floats) and ``counts`` (B integers).
        step (int): The iterations done. WandB counts its own steps, as for mmengine's scalars.
    """
    counts, edges = trimmed(histogram['counts'], histogram['edges'])
    centers = [(low + high) / 2 for low, high in zip(edges, edges[1:])]
    for backend in visualizer._vis_backends.values():
        if isinstance(backend, TensorboardVisBackend):
            backend.experiment.add_histogram_raw(
                name,
                min=edges[0],
                max=edges[-1],
                num=sum(counts),
                # Estimates from the bins, which TensorBoard's histograms do not show.
                sum=sum(count * center for count, center in zip(counts, centers)),
                sum_squares=sum(count * center**2 for count, center in zip(counts, centers)),
                bucket_limits=edges[1:],
                bucket_counts=counts,
                global_step=step,
            )
        elif isinstance(backend, WandbVisBackend):
            drawn = backend.experiment.Histogram(np_histogram=(counts, edges))
            backend.add_scalar(name, drawn, step)


def trimmed(counts: List[int], edges: List[float]) -> Tuple[List[int], List[float]]:
    """The bins from the first to the last that is not empty.

    Args:
        counts (list[int]): The B counts, not all of them 0.
        edges (list[float]): The B + 1 edges.

    Returns:
        tuple[list[int], list[float]]: Their counts and edges.
    """
    filled = [index for index, count in enumerate(counts) if count]
    first, last = filled[0], filled[-1] + 1
    return counts[first:last], edges[first : last + 1]
