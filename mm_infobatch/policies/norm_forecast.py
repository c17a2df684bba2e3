"""Forecasts the norms of the next gradients, by how well the latest scores predicted the losses."""

from typing import Dict

import torch
from torch import Tensor

from .importance import gradient_norms


class NormForecast:
    """Forecasts the root mean square of each sample's next gradient norm from its score.

    Losses are noisy, mostly where an augmentation changes much of an image, such as random crops:
    on average a low score is followed by a higher loss, and a high score by a lower loss
    (`regression toward the mean <https://en.wikipedia.org/wiki/Regression_toward_the_mean>`_).
    Importance sampling has the least variance if probabilities are proportional to the root of the
    expected squared norm, which for a norm x estimated from a score is taken to be

        (1 - slope) * mean(x^2) + slope * x^2.

    The slope is learned from each pass by least squares: a regression of the squared norms in the
    pass on those estimated from the scores before it, both divided by their means. It is clamped to
    [0, 1], and is 0 until the first pass has been learned from, so all forecasts are equal until
    then. Samples are chosen by their scores, the regressor, which does not bias the slope.
    """

    def __init__(self) -> None:
        self.slope = 0.0

    def learn(self, scores: Tensor, losses: Tensor) -> None:
        """Update the slope with the losses of a pass.

        Args:
            scores (Tensor): The scores of its samples before the pass, float32 [M]; samples whose
                score is NaN are left out.
            losses (Tensor): Their losses in the pass, float32 [M], finite.
        """
        seen = ~scores.isnan()
        if int(seen.sum()) < 2:
            return
        before = gradient_norms(scores[seen]).double().square()
        after = gradient_norms(losses[seen]).double().square()
        before, after = before / before.mean() - 1, after / after.mean() - 1
        variance = float(before.square().mean())
        self.slope = 0.0
        if variance > 0:
            self.slope = min(max(float((before * after).mean()) / variance, 0.0), 1.0)

    def norms(self, scores: Tensor) -> Tensor:
        """The forecast of each sample, float32 [N].

        Args:
            scores (Tensor): float32 [N]; forecasts from NaN scores have no meaning.
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
