"""Progressive layered extraction: experts of a task's own beside shared ones, in layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recsys.heads.towers import Experts, RankingInput, RankingRows, RankingShape, Towers, mixture
from recsys.value import require, value


@value
class PLE:
    """Tang et al. 2020. A task can't disturb the experts of another, only the shared ones."""

    kind: Literal["ple"] = "ple"
    layers: int = 2
    shared_experts: int = 2
    task_experts: int = 1
    expert_dim: int = 64
    tower_dim: int = 32
    dropout: float = 0.5  # of user and item states, before they meet

    def __post_init__(self) -> None:
        for name in ("layers", "shared_experts", "task_experts", "expert_dim", "tower_dim"):
            require(getattr(self, name) > 0, f"ranking.{name} must be positive, got {getattr(self, name)}")
        require(0 <= self.dropout < 1, f"ranking.dropout must lie in [0, 1), got {self.dropout}")

    def build(self, shape: RankingShape) -> PLEModule:
        return PLEModule(self, shape)


class PLEModule(nn.Module):
    def __init__(self, spec: PLE, shape: RankingShape) -> None:
        super().__init__()
        self.see = RankingInput(shape, spec.dropout)
        widths = [self.see.width] + [spec.expert_dim] * (spec.layers - 1)
        last = spec.layers - 1
        self.layers = nn.ModuleList(Extraction(spec, w, shape.tasks, i < last) for i, w in enumerate(widths))
        self.towers = Towers(spec.expert_dim, spec.tower_dim, shape)

    def forward(self, rows: RankingRows) -> Tensor:
        seen = self.see(rows)
        tasks, shared = (seen,) * len(self.towers.deep), seen
        for layer in self.layers:
            tasks, shared = layer(tasks, shared)
        return self.towers(tasks, rows.features)  # [R, T]


class Extraction(nn.Module):
    """One layer: a task mixes its own experts with the shared ones; the shared part, but in the last, mixes all."""

    def __init__(self, spec: PLE, width: int, tasks: int, mixes_shared: bool) -> None:
        super().__init__()
        dim, own, common = spec.expert_dim, spec.task_experts, spec.shared_experts
        self.own = nn.ModuleList(Experts(width, own, dim) for _ in range(tasks))
        self.shared = Experts(width, common, dim)
        self.gates = nn.ModuleList(nn.Linear(width, own + common) for _ in range(tasks))
        self.shared_gate = nn.Linear(width, tasks * own + common) if mixes_shared else None

    def forward(self, tasks: tuple[Tensor, ...], shared: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        common = self.shared(shared)  # [R, shared, dim]
        own = [experts(task) for experts, task in zip(self.own, tasks, strict=True)]
        mixed = tuple(
            mixture(gate(task), torch.cat([experts, common], dim=1))
            for gate, task, experts in zip(self.gates, tasks, own, strict=True)
        )
        if self.shared_gate is None:
            return mixed, shared
        return mixed, mixture(self.shared_gate(shared), torch.cat([*own, common], dim=1))
