"""What a run leaves behind for whoever looks into it later: losses, gradients and weights of every step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Recorder:
    """Rows of numbers by name, one number a step."""

    rows: dict[str, list[float]] = field(default_factory=dict)

    def note(self, **values: Tensor | float) -> None:
        """Append one number to each named row."""
        for name, held in values.items():
            self.rows.setdefault(name, []).append(float(held))

    def step(self, losses: Tensor, model: nn.Module) -> None:
        """After the backward pass and before clipping: the summed loss, norms of the gradient and of all parameters."""
        held = list(model.parameters())
        gradient = norm(p.grad for p in held if p.grad is not None)
        self.note(loss=losses.detach().sum(), gradient=gradient, weight=norm(held))

    def series(self) -> dict[str, Tensor]:
        """[S] of each row."""
        return {name: torch.tensor(held) for name, held in self.rows.items()}


@torch.no_grad()
def norm(tensors: Iterable[Tensor]) -> float:
    """Euclidean, of all of them as one vector; 0 without any."""
    squares = [held.square().sum() for held in tensors]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
