"""What the ranking heads have in common: what they see of a row, and a tower per task."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recsys.data.spec import DatasetSpec, Task
from recsys.encoders.item import Dropout, embedding

FEATURE_DIM, CONTEXT_DIM, WIDE_DIM = 32, 8, 64
RAREST = 1e-6  # a rate below it starts as it
FURTHEST = 5.0  # deviations from the mean


@dataclass(frozen=True, slots=True)
class RankingShape:
    """Sizes of a ranking row, the number of answers wanted, and what they are on average."""

    hidden: int
    features: int
    surfaces: int
    positions: int
    tasks: int
    priors: tuple[float, ...] = ()  # answer of each task for an average row; empty: 0

    @classmethod
    def of(cls, hidden: int, dataset: DatasetSpec) -> RankingShape:
        priors = tuple(map(_prior, dataset.tasks, dataset.task_rates)) if dataset.task_rates else ()
        sizes = (len(dataset.features), dataset.num_surfaces, dataset.num_positions, len(dataset.tasks))
        return cls(hidden, *sizes, priors)


def _prior(task: Task, rate: float) -> float:
    if task.kind == "regression":
        return rate
    held = min(max(rate, RAREST), 1 - RAREST)
    return math.log(held / (1 - held))


@dataclass(frozen=True, slots=True)
class RankingRows:
    """Rows to rank: a user's and an item's state, where the item is shown, their features and retrieval logit."""

    user: Tensor  # [R, H]
    item: Tensor  # [R, H]
    context: Tensor  # [R, 2] int64: surface, position
    features: Tensor  # [R, F]
    score: Tensor  # [R]


class Scales(nn.Module):
    """Row features [R, F] as differences from the train rows' means, in their deviations."""

    means: Tensor
    spreads: Tensor

    def __init__(self, dataset: DatasetSpec) -> None:
        super().__init__()
        num = len(dataset.features)
        self.register_buffer("means", torch.tensor(dataset.feature_means or [0.0] * num), persistent=False)
        self.register_buffer("spreads", torch.tensor(dataset.feature_spreads or [1.0] * num), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return ((features - self.means) / self.spreads).clamp(-FURTHEST, FURTHEST)


class RankingInput(nn.Module):
    """The rows as one vector each: states, their product, features, surface, position and retrieval logit.

    `dropout` is of the states alone: a user's requests overlap, so that user and item are soon learnt by heart.
    """

    def __init__(self, shape: RankingShape, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.features = nn.Linear(shape.features, FEATURE_DIM) if shape.features else None
        self.surface, self.position = (embedding(n, CONTEXT_DIM) for n in (shape.surfaces, shape.positions))
        self.width = 3 * shape.hidden + (FEATURE_DIM if shape.features else 0) + 2 * CONTEXT_DIM + 1

    def forward(self, rows: RankingRows) -> Tensor:
        states = torch.cat([rows.user, rows.item, rows.user * rows.item], dim=1)
        parts = [self.dropout(states), rows.score[:, None]]
        parts += [self.surface(rows.context[:, 0]), self.position(rows.context[:, 1])]
        if self.features is not None:
            parts.append(self.features(rows.features))
        return torch.cat(parts, dim=1)  # [R, width]


class Experts(nn.Module):
    """`num` experts of one hidden layer in a single product: [R, width] to [R, num, dim]."""

    def __init__(self, width: int, num: int, dim: int) -> None:
        super().__init__()
        self.num, self.dim = num, dim
        self.layer = nn.Linear(width, num * dim)

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows).relu().view(-1, self.num, self.dim)


class Towers(nn.Module):
    """One tower per task over its mixture of experts, added to what the row's features alone say.

    The direct path is the wide part of Cheng et al. 2016, here with a hidden layer: a rule such as "bought last week, so
    not again this week" needs no expert. The towers begin near zero and learn what the features leave over.
    """

    def __init__(self, dim: int, tower_dim: int, shape: RankingShape) -> None:
        super().__init__()
        self.deep = nn.ModuleList(
            nn.Sequential(nn.Linear(dim + shape.features, tower_dim), nn.ReLU(), nn.Linear(tower_dim, 1))
            for _ in range(shape.tasks)
        )
        self.wide = Wide(shape.features, shape.tasks) if shape.features else None
        with torch.no_grad():  # else the first steps, under clipping, learn nothing but the rates
            for tower, prior in zip(self.deep, shape.priors, strict=False):
                tower[-1].bias.fill_(prior)  # type: ignore[union-attr,operator,index]
            for tower in self.deep:
                tower[-1].weight.mul_(0.1)  # type: ignore[union-attr,operator,index]

    def forward(self, mixtures: tuple[Tensor, ...], features: Tensor) -> Tensor:
        pairs = zip(self.deep, mixtures, strict=True)
        answers = torch.cat([tower(torch.cat([mixture, features], dim=1)) for tower, mixture in pairs], dim=1)
        return answers if self.wide is None else answers + self.wide(features)  # [R, T]


class Wide(nn.Module):
    """Answers [R, T] from features [R, F]: linear, and through two hidden layers."""

    def __init__(self, features: int, tasks: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, tasks, bias=False)
        layers = nn.Linear(features, WIDE_DIM), nn.ReLU(), nn.Linear(WIDE_DIM, WIDE_DIM), nn.ReLU()
        self.curved = nn.Sequential(*layers, nn.Linear(WIDE_DIM, tasks, bias=False))

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features) + self.curved(features)


def mixtures(gates: Tensor, experts: Tensor) -> tuple[Tensor, ...]:
    """For each of the gates [R, T, E], the experts [R, E, dim] weighed by its softmax, [R, dim]."""
    return (gates.softmax(2) @ experts).unbind(1)


def mixture(gate: Tensor, experts: Tensor) -> Tensor:
    """As above for a single gate [R, E], for which many tiny products are slower than their sum."""
    return (gate.softmax(1)[..., None] * experts).sum(1)
