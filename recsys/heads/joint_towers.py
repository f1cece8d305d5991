"""User and item towers for retrieval and ranking, and where the two part ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.random import stream_seed
from recsys.value import require, value


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of users [B, b] and items [n, b], as retrieval and as ranking see them."""

    find_user: Tensor  # unit length
    find_item: Tensor  # unit length
    rank_user: Tensor
    rank_item: Tensor


@value
class JointTowers:
    """Two trunks, one for users and one for items, each with a projection to `width`; a cosine retrieves, a small net ranks.

    "shared": one projection for both tasks. "private": a projection each on the common trunk. "separate": a trunk each, too,
    and nothing shared. "joined": as "shared", and the ranking score is an affine function of the retrieval score. With
    `stop_gradient` retrieval learns only its own projection, on trunks that ranking trains.
    """

    sharing: Literal["shared", "private", "separate", "joined"] = "shared"
    width: int = 8
    hidden: int = 64
    head: int = 32
    stop_gradient: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "hidden", "head"):
            require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        apart = self.sharing in ("private", "separate")
        require(
            apart or not self.stop_gradient, "stop_gradient needs a projection of retrieval's own: sharing='private'"
        )

    def build(self, features: int, rate: float, seed: int) -> JointModel:
        """An untrained model whose ranking answer starts near the log odds of `rate`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "init"))
            model = JointModel(self, features)
        with torch.no_grad():
            model.offset.fill_(torch.logit(torch.tensor(rate), 1e-6))
        return model

    def shared(self, model: nn.Module) -> list[nn.Parameter]:
        """Parameters that both losses train."""
        assert isinstance(model, JointModel)
        if self.sharing == "separate" or self.stop_gradient:
            return []
        common = [model.trunks] if self.sharing == "private" else [model.trunks, model.projections]
        return [p for module in common for p in module.parameters()]


class JointModel(nn.Module):
    def __init__(self, spec: JointTowers, features: int) -> None:
        super().__init__()
        self.spec = spec
        trunks, projections = (
            (2 if spec.sharing == "separate" else 1),
            (1 if spec.sharing in ("shared", "joined") else 2),
        )
        self.trunks = nn.ModuleList(nn.Linear(features, spec.hidden) for _ in range(2 * trunks))
        self.projections = nn.ModuleList(nn.Linear(spec.hidden, spec.width) for _ in range(2 * projections))
        self.ranker = nn.Sequential(nn.Linear(3 * spec.width, spec.head), nn.ReLU(), nn.Linear(spec.head, 1))
        self.factor = nn.Parameter(torch.tensor(1.0 if spec.sharing != "joined" else 5.0))
        self.offset = nn.Parameter(torch.tensor(0.0))

    def forward(self, users: Tensor, items: Tensor) -> Encoded:
        """Of feature rows [B, D] and [n, D]."""
        ranks = [self._vectors(1, side, held) for side, held in enumerate((users, items))]
        same = self.spec.sharing in ("shared", "joined")
        finds = ranks if same else [self._vectors(0, side, held) for side, held in enumerate((users, items))]
        unit = [F.normalize(held, dim=1) for held in finds]
        return Encoded(unit[0], unit[1], *(unit if self.spec.sharing == "joined" else ranks))

    def rank(self, user: Tensor, item: Tensor) -> Tensor:
        """Logits [...] of pairs of ranking vectors [..., b]."""
        if self.spec.sharing == "joined":
            return self.factor * (user * item).sum(-1) + self.offset
        return self.factor * self.ranker(torch.cat([user, item, user * item], dim=-1))[..., 0] + self.offset

    def head(self) -> list[nn.Parameter]:
        """What ranking alone trains behind the vectors."""
        return [*self.ranker.parameters(), self.factor, self.offset]

    def _vectors(self, task: int, side: int, features: Tensor) -> Tensor:
        """task 0 retrieves, 1 ranks; side 0 are users, 1 items."""
        trunk = self.trunks[(2 * task if len(self.trunks) > 2 else 0) + side]
        state = trunk(features).relu()
        if task == 0 and self.spec.stop_gradient:
            state = state.detach()
        return self.projections[(2 * task if len(self.projections) > 2 else 0) + side](state)
