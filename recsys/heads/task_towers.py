"""What tasks share of a small dense network, and what each has to itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recsys.heads.ple import PLE, Extraction
from recsys.random import stream_seed
from recsys.value import require, value


@value
class TaskTowers:
    """Dense features to [B, T] answers through a shared layer of `width`, by one of four ways of sharing.

    "shared": one trunk, a head per task. "joined": as "shared", but the first two tasks also share their head and differ by a
    factor and an offset. "ple": experts of a task's own beside shared ones (Tang et al. 2020), of `expert` units, chosen so
    that parameters are as many as the trunk's. "alone": a trunk per task, and nothing shared.
    """

    sharing: Literal["shared", "joined", "ple", "alone"] = "shared"
    width: int = 4
    hidden: int = 48
    head: int = 16
    expert: int = 10
    tasks: int = 3

    def __post_init__(self) -> None:
        for name in ("width", "hidden", "head", "expert", "tasks"):
            require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")

    def build(self, features: int, priors: Sequence[float], seed: int) -> nn.Module:
        """A module of features [B, D] -> [B, T]; each answer starts near its prior."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "init"))
            return _Towers(self, features, priors)

    def shared(self, model: nn.Module) -> list[nn.Parameter]:
        """Parameters that all tasks use: the trunk."""
        assert isinstance(model, _Towers)
        if self.sharing == "ple":
            extraction = model.trunks[0]
            assert isinstance(extraction, Extraction)
            return list(extraction.shared.parameters())
        return [] if self.sharing == "alone" else list(model.trunks.parameters())


class _Towers(nn.Module):
    def __init__(self, spec: TaskTowers, features: int, priors: Sequence[float]) -> None:
        super().__init__()
        self.spec = spec
        if spec.sharing == "ple":
            ple = PLE(layers=1, shared_experts=1, task_experts=1, expert_dim=spec.expert)
            self.trunks = nn.ModuleList([Extraction(ple, features, spec.tasks, mixes_shared=False)])
        else:
            self.trunks = nn.ModuleList(
                nn.Sequential(
                    nn.Linear(features, spec.hidden), nn.ReLU(), nn.Linear(spec.hidden, spec.width), nn.Tanh()
                )
                for _ in range(spec.tasks if spec.sharing == "alone" else 1)
            )
        width = spec.expert if spec.sharing == "ple" else spec.width
        heads = spec.tasks - (spec.sharing == "joined")
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, spec.head), nn.ReLU(), nn.Linear(spec.head, 1)) for _ in range(heads)
        )
        self.factor = nn.Parameter(torch.ones(spec.tasks))
        self.offset = nn.Parameter(torch.tensor(list(priors)))

    def forward(self, features: Tensor) -> Tensor:
        states = self._states(features)
        tasks = self.spec.tasks
        heads = [self.heads[max(0, t - 1) if self.spec.sharing == "joined" else t] for t in range(tasks)]
        answers = torch.cat([head(state) for head, state in zip(heads, states, strict=True)], dim=1)
        return answers * self.factor + self.offset

    def _states(self, features: Tensor) -> tuple[Tensor, ...]:
        if self.spec.sharing == "ple":
            return self.trunks[0]((features,) * self.spec.tasks, features)[0]
        states = tuple(trunk(features) for trunk in self.trunks)
        return states if len(states) > 1 else states * self.spec.tasks
