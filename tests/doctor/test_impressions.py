"""Shown rows become lists in the order of their ranks; places that aren't ranks are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recsys.batch import Batch, Jagged
from recsys.data.spec import DatasetSpec, Task
from recsys.doctor.impressions import slates_of

NAN = float("nan")
SPEC = DatasetSpec(
    name="lists", num_items=10, num_users=3, item_categorical={}, item_numeric=(), text_dim=0, user_categorical={},
    user_numeric=(), context={"surface": 1}, num_surfaces=1, num_positions=5, features=("f",),
    tasks=(Task(name="engage"), Task(name="click", on="impressions"), Task(name="cart", on="impressions")),
    validation_start=0, test_start=0, end=1, horizon_days=1.0, max_history=1, lanes=1,
)  # fmt: skip


def batch(position: list[int], click: list[float]) -> Batch:
    """Two requests with 3 and 3 rows."""
    none = Jagged(torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    rows = Jagged(torch.arange(2, 8), torch.tensor([0, 3, 6]))
    labels = torch.tensor([[0.0, held, 0.0] for held in click])
    context = torch.tensor([[0, place] for place in position])
    two = torch.tensor([0, 1])
    return Batch(
        request=two, user=two, time=two * 86_400, context=two[:, None], history=none, history_age=torch.zeros(0),
        positives=none, rows=rows, row_context=context, row_features=torch.arange(6.0)[:, None], labels=labels,
        row_weight=torch.ones(6),
    )  # fmt: skip


def test_rows_stand_in_the_order_of_their_ranks() -> None:
    found = slates_of(batch([2, 1, 3, 1, 2, 0], [0, 1, NAN, 0, 1, 1]), SPEC, [1, 2], torch.arange(6.0))
    assert found.position.tolist() == [[1, 2], [1, 2]]
    assert found.click.tolist() == [[1, 0], [0, 1]]
    assert found.score.tolist() == [[1, 0], [3, 4]]
    assert found.item is not None
    assert found.item.tolist() == [[3, 2], [5, 6]]
    assert found.day is not None
    assert found.day.tolist() == [0, 1]


def test_shorter_lists_end_with_position_0() -> None:
    found = slates_of(batch([1, 2, 3, 1, 0, 0], [0, 1, 0, 1, 0, 0]), SPEC, [1], torch.arange(6.0))
    assert found.position.tolist() == [[1, 2, 3], [1, 0, 0]]
    assert found.cart is None


def test_places_on_a_page_are_no_ranks() -> None:
    with pytest.raises(ValueError, match="places on a page here, not ranks"):
        slates_of(batch([1, 1, 1, 2, 2, 2], [0, 1, 0, 1, 0, 0]), SPEC, [1], torch.arange(6.0))


def test_a_log_without_positions_says_so() -> None:
    with pytest.raises(ValueError, match="has a position"):
        slates_of(replace(batch([0] * 6, [0.0] * 6)), SPEC, [1], torch.arange(6.0))
