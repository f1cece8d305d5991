"""Multi-gate mixture of experts: the tasks share experts, and each weighs them in its own way."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from recsys.heads.towers import Experts, RankingInput, RankingRows, RankingShape, Towers, mixtures
from recsys.value import require, value


@value
class MMoE:
    """Ma et al. 2018."""

    kind: Literal["mmoe"] = "mmoe"
    experts: int = 4
    expert_dim: int = 64
    tower_dim: int = 32
    dropout: float = 0.5  # of user and item states, before they meet

    def __post_init__(self) -> None:
        for name in ("experts", "expert_dim", "tower_dim"):
            require(getattr(self, name) > 0, f"ranking.{name} must be positive, got {getattr(self, name)}")
        require(0 <= self.dropout < 1, f"ranking.dropout must lie in [0, 1), got {self.dropout}")

    def build(self, shape: RankingShape) -> MMoEModule:
        return MMoEModule(self, shape)


class MMoEModule(nn.Module):
    def __init__(self, spec: MMoE, shape: RankingShape) -> None:
        super().__init__()
        self.num = spec.experts
        self.see = RankingInput(shape, spec.dropout)
        self.experts = Experts(self.see.width, spec.experts, spec.expert_dim)
        self.gates = nn.Linear(self.see.width, shape.tasks * spec.experts)
        self.towers = Towers(spec.expert_dim, spec.tower_dim, shape)

    def forward(self, rows: RankingRows) -> Tensor:
        seen = self.see(rows)
        experts = self.experts(seen)
        gates = self.gates(seen).unflatten(1, (-1, self.num))  # [R, T, E]
        return self.towers(mixtures(gates, experts), rows.features)  # [R, T]
