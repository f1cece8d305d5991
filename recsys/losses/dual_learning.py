"""Items and places, each learnt from clicks that are corrected for the other."""

from __future__ import annotations

from torch import Tensor

from recsys.value import require, value


@value
class DualLearning:
    """The dual learning algorithm (Ai et al., 2018): two listwise losses, each weighted by the inverse of the other's
    softmax relative to the first place; weights carry no gradient and are at most `cap`.
    """

    cap: float = 20.0

    def __post_init__(self) -> None:
        require(self.cap >= 1, f"cap must be at least 1, got {self.cap}")

    def __call__(self, item: Tensor, place: Tensor, click: Tensor, position: Tensor) -> Tensor:
        """[B] losses of item logits, place logits, clicks and positions [B, K], the latter from 1."""
        log_item, log_place = item.log_softmax(1), place.log_softmax(1)
        return -(
            click * (self._inverse(log_place, position) * log_item + self._inverse(log_item, position) * log_place)
        ).sum(1)

    def _inverse(self, log_share: Tensor, position: Tensor) -> Tensor:
        first = position.argmin(1, keepdim=True)
        return (log_share.detach().gather(1, first) - log_share.detach()).exp().clamp(max=self.cap)
