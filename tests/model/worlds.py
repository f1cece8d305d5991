"""Tiny random datasets and batches for the tests of the model."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.batch import Batch, Jagged
from recsys.data.catalogue import Catalogue, UserTable
from recsys.data.spec import DatasetSpec, Task

TASKS = (
    Task(name="taken"),
    Task(name="clicked", on="impressions"),
    Task(name="spend", kind="regression", on="taken"),
)


def dataset(num_items: int = 60, *, text_dim: int = 6, tasks: tuple[Task, ...] = TASKS) -> DatasetSpec:
    return DatasetSpec(
        name="tiny",
        num_items=num_items,
        num_users=12,
        item_categorical={"brand": 7, "aisle": 5},
        item_numeric=("price",),
        text_dim=text_dim,
        user_categorical={"age": 6},
        user_numeric=("income", "size"),
        context={"surface": 4},
        num_surfaces=4,
        num_positions=6,
        features=("bought", "recency", "trend"),
        tasks=tasks,
        validation_start=100,
        test_start=200,
        end=300,
        horizon_days=30.0,
        max_history=50,
        lanes=4,
    )


def catalogue(spec: DatasetSpec, g: torch.Generator, buckets: int = 64) -> Catalogue:
    V = spec.num_items
    return Catalogue(
        id_hash=torch.randint(1, buckets, (V, 2), generator=g),
        categorical=torch.stack([torch.randint(0, n, (V,), generator=g) for n in spec.item_categorical.values()], 1),
        numeric=torch.randn(V, len(spec.item_numeric), generator=g),
        text=torch.randn(V, spec.text_dim, generator=g).half(),
        log_p=log_p(V, g),
    )


def log_p(num_items: int, g: torch.Generator) -> Tensor:
    share = torch.randn(num_items, generator=g).log_softmax(0)
    share = share - share[2:].logsumexp(0)
    share[:2] = -30
    return share


def users(spec: DatasetSpec, g: torch.Generator, buckets: int = 32) -> UserTable:
    return UserTable(
        hash=torch.randint(0, buckets, (spec.num_users,), generator=g),
        categorical=torch.randint(0, 6, (spec.num_users, 1), generator=g),
        numeric=torch.randn(spec.num_users, 2, generator=g),
    )


def jagged(lengths: list[int], values: Tensor) -> Jagged:
    return Jagged(values, torch.tensor([0, *lengths]).cumsum(0))


def batch(spec: DatasetSpec, g: torch.Generator, history: list[int], positives: list[int], rows: list[int]) -> Batch:
    B, R = len(history), sum(rows)

    def items(lengths: list[int]) -> Jagged:
        return jagged(lengths, torch.randint(2, spec.num_items, (sum(lengths),), generator=g))

    labels = torch.rand(R, len(spec.tasks), generator=g).round()
    labels[torch.rand(labels.shape, generator=g) < 0.3] = torch.nan
    context = [torch.randint(0, n, (R,), generator=g) for n in (spec.num_surfaces, spec.num_positions)]
    return Batch(
        request=torch.arange(B),
        user=torch.randint(0, spec.num_users, (B,), generator=g),
        time=torch.full((B,), 50),
        context=torch.randint(0, 4, (B, 1), generator=g),
        history=items(history),
        history_age=torch.rand(sum(history), generator=g) * 300,
        positives=items(positives),
        rows=items(rows),
        row_context=torch.stack(context, 1),
        row_features=torch.randn(R, len(spec.features), generator=g),
        labels=labels,
        row_weight=torch.rand(R, generator=g) + 0.5,
    )
