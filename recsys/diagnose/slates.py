"""Evidence about lists that were shown: who stood where, who was clicked, and what a model says of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.diagnose.diagnosis import Part
from recsys.value import require


@dataclass(frozen=True)
class LoggedSlates(Part):
    """Lists of K items as they were logged, columns in any order; shorter lists have position 0 at the end.

    What is None is optional, and what can't be told without it is said by the detector.
    """

    position: Tensor  # [L, K] int64, 1 at the top, 0 where there is no item
    click: Tensor  # [L, K] 0 or 1
    score: Tensor  # [L, K] of the model under study, for the same items
    features: Tensor  # [L, K, F] of the items, F may be 0
    randomised: Tensor | None = None  # [L] bool: shown in an order drawn uniformly (each place as likely for each item)
    cart: Tensor | None = None  # [L, K] 0 or 1: what the click should lead to, as far as reported
    group: Tensor | None = None  # [L, K] int64 from 0: seller, brand
    logged_score: Tensor | None = None  # [L, K] by which the lists were ordered
    item: Tensor | None = None  # [L, K] int64: the same item for the same kind of query has the same number
    day: Tensor | None = None  # [L] time in days
    period: Tensor | None = None  # [L] int64: 0 the model learnt from it, 1 held out from the same days, 2 later

    def __post_init__(self) -> None:
        require(self.position.ndim == 2, f"position must be [L, K], got {list(self.position.shape)}")
        for name in ("click", "score", "cart", "group", "logged_score", "item"):
            held = getattr(self, name)
            require(held is None or held.shape == self.position.shape,
                    f"{name} must be {list(self.position.shape)} like position")  # fmt: skip
        require(self.features.shape[:2] == self.position.shape, "features must be [L, K, F]")


@dataclass(frozen=True)
class DebiasedCurve(Part):
    """Validation of a training run, as it went on: once by logged clicks, once corrected for where they happened."""

    clicks: tuple[float, ...]  # NDCG of held-out clicks, in the lists as they were shown
    debiased: tuple[
        float, ...
    ]  # the same lists' clicks weighted by the inverse of a look's probability, or random lists
