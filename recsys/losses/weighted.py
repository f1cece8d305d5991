"""Rows that a selection let through, weighted by how unlikely it was that it did."""

from __future__ import annotations

from torch import Tensor

from recsys.value import require, value


@value
class InversePropensity:
    """A mean over the observed rows that estimates the mean over all (Horvitz & Thompson, 1952).

    Weights 1 / propensity are cut at `clip`, which trades a little bias for variance (Ionides, 2008), and with
    `self_normalised` divided by their sum instead of the number of rows (Swaminathan & Joachims, 2015).
    """

    clip: float = 50.0
    self_normalised: bool = True

    def __post_init__(self) -> None:
        require(self.clip >= 1, f"clip is the largest weight, at least 1, got {self.clip}")

    def __call__(self, losses: Tensor, observed: Tensor, propensity: Tensor) -> Tensor:
        """[B] losses whose mean is the estimate; losses [B] (unobserved ones finite), observed [B] bool, propensity [B]."""
        weight = self.weights(observed, propensity)
        total = weight.mean() if self.self_normalised else weight.new_ones(())
        return losses * weight / total.clamp(min=1e-12)

    def weights(self, observed: Tensor, propensity: Tensor) -> Tensor:
        """[B] 1 / propensity, at most `clip`; 0 where unobserved."""
        return observed / propensity.clamp(min=1 / self.clip)
