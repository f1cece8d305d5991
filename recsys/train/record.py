"""What a run leaves behind for whoever looks into it later: losses, gradients and weights of every step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from recsys.train.fit import Backward


@dataclass
class Recorder:
    """Collects a row a step, as `Lesson.backward`: norms are of all parameters, of the gradient before clipping."""

    gradients: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    rows: dict[str, list[float]] = field(default_factory=dict)

    def note(self, **values: Tensor | float) -> None:
        """Append one number to each named row."""
        for name, held in values.items():
            self.rows.setdefault(name, []).append(float(held))

    def backward(self, model: nn.Module) -> Backward:
        def run(losses: Tensor) -> None:
            losses.sum().backward()
            self.gradients.append(_norm([p.grad for p in model.parameters() if p.grad is not None]))
            self.weights.append(_norm(list(model.parameters())))

        return run

    def series(self) -> dict[str, Tensor]:
        """[S] of each row, gradient and weight among them."""
        return {
            name: torch.tensor(held)
            for name, held in {**self.rows, "gradient": self.gradients, "weight": self.weights}.items()
        }


@torch.no_grad()
def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([held.square().sum() for held in tensors]).sum().sqrt()) if tensors else 0.0
