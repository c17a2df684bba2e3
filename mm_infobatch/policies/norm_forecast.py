"""Forecasts the norms of the next gradients, by how well the latest scores foretold the losses."""

from typing import Dict

import torch
from torch import Tensor

from .importance import gradient_norms


class NormForecast:
    """Forecasts the root mean square of each sample's next gradient norm from its score.

    Losses are noisy, mostly where an augmentation changes much of an image, as random crops do: a
    sample with a low score will have a higher loss on average, and one with a high score a lower
    one (`regression toward the mean <https://en.wikipedia.org/wiki/Regression_toward_the_mean>`_).
    Importance sampling has the least variance if probabilities are proportional to the root of the
    expected squared norm. With the norm x that a score tells, it is taken to be

        (1 - slope) * mean(x^2) + slope * x^2.

    The slope is learned from each pass, by least squares: that of the squared norms in the pass
    over those that the scores before it told, both divided by their means, and clamped to [0, 1].
    A sample's score decides how likely it is trained, which does not bias a slope over scores. The
    slope is 0 until a pass has been learned from, so that all forecasts are equal.
    """

    def __init__(self) -> None:
        self.slope = 0.0

    def learn(self, scores: Tensor, losses: Tensor) -> None:
        """Update the slope with the losses of a pass.

        Args:
            scores (Tensor): What its samples had before it, float32 [M]; those that are NaN are
                left out.
            losses (Tensor): The losses in it, float32 [M], finite.
        """
        seen = ~scores.isnan()
        if int(seen.sum()) < 2:
            return
        told, found = (gradient_norms(each[seen]).double().square() for each in (scores, losses))
        told, found = told / told.mean() - 1, found / found.mean() - 1
        spread = float(told.square().mean())
        self.slope = 0.0
        if spread > 0:
            self.slope = min(max(float((told * found).mean()) / spread, 0.0), 1.0)

    def norms(self, scores: Tensor) -> Tensor:
        """The forecast of each sample, float32 [N].

        Args:
            scores (Tensor): float32 [N]. What is given for NaN means nothing.
        """
        squares = gradient_norms(scores).square()
        mean = float(squares.nanmean(dtype=torch.float64))
        return ((1 - self.slope) * mean + self.slope * squares).sqrt().nan_to_num(1.0)

    def state_dict(self) -> Dict[str, float]:
        """The slope."""
        return dict(slope=self.slope)

    def load_state_dict(self, state_dict: Dict[str, float]) -> None:
        """Load the slope of a checkpoint; the state of another policy has none."""
        self.slope = state_dict.get('slope', 0.0)
