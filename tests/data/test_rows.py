"""From Arrow to tensors: the same numbers, whatever the slices and the order, and no memory in common."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.batch import Batch, Jagged
from recsys.data.rows import Piece, Requests, batch_of, reordered
from recsys.data.spec import DatasetSpec
from tests.data.logs import request_rows
from tests.model.worlds import dataset

SPEC = dataset()
BARE = dataclasses.replace(SPEC, features=())


def slowly(rows: list[dict], spec: DatasetSpec) -> Batch:
    """The batch of rows as Python has them."""

    def flat(name: str, dtype: torch.dtype, width: int = 1) -> torch.Tensor:
        values = torch.tensor([value for row in rows for value in row[name]], dtype=dtype)
        return values if width == 1 else values.reshape(-1, width)

    def jagged(name: str) -> Jagged:
        offsets = torch.tensor([0, *(len(row[name]) for row in rows)]).cumsum(0)
        return Jagged(flat(name, torch.int64), offsets)

    ranked = sum(len(row["row_item"]) for row in rows)
    places = zip(flat("row_surface", torch.int64).tolist(), flat("row_position", torch.int64).tolist(), strict=True)
    return Batch(
        **{name: torch.tensor([row[name] for row in rows], dtype=torch.int64) for name in ("request", "user", "time")},
        context=flat("context", torch.int64).reshape(-1, len(spec.context)),
        history=jagged("history"),
        history_age=flat("history_age", torch.float32),
        positives=jagged("positives"),
        rows=jagged("row_item"),
        row_context=torch.tensor(list(places), dtype=torch.int64).reshape(-1, 2),
        row_features=flat("row_features", torch.float32).reshape(ranked, len(spec.features)),
        labels=flat("row_labels", torch.float32).reshape(ranked, len(spec.tasks)),
        row_weight=flat("row_weight", torch.float32),
    )


def parts(batch: Batch) -> dict[str, torch.Tensor]:
    held: dict[str, torch.Tensor] = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        held |= (
            {f"{field.name}.values": value.values, f"{field.name}.offsets": value.offsets}
            if isinstance(value, Jagged)
            else {field.name: value}
        )
    return held


def assert_same(one: Batch, other: Batch) -> None:
    """Equal to the bit, NaN included."""
    left, right = parts(one), parts(other)
    for name, tensor in left.items():
        assert (tensor.dtype, tensor.shape) == (right[name].dtype, right[name].shape), name
        assert tensor.contiguous().numpy().tobytes() == right[name].contiguous().numpy().tobytes(), name


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.data(), st.sampled_from([SPEC, BARE]))
def test_pieces_of_sliced_and_chunked_windows_are_the_rows(rows: int, data: st.DataObject, spec: DatasetSpec) -> None:
    table = request_rows(rows, spec, seed=rows)
    told, pieces = table.to_pylist(), []
    wanted: list[dict] = []
    for _ in range(data.draw(st.integers(0, 4))):
        start, stop = sorted((data.draw(st.integers(0, rows)), data.draw(st.integers(0, rows))))
        middle = data.draw(st.integers(start, stop))
        cut = pa.concat_tables([table.slice(start, middle - start), table.slice(middle, stop - middle)])
        window = Requests.of(cut if data.draw(st.booleans()) else table.slice(start, stop - start), spec)
        a, b = sorted((data.draw(st.integers(0, len(window))), data.draw(st.integers(0, len(window)))))
        pieces.append(Piece(window, a, b))
        wanted += told[start:stop][a:b]
    assert_same(batch_of(pieces, spec), slowly(wanted, spec))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 25), st.integers(0, 2**31), st.booleans())
def test_reordering_is_taking(rows: int, seed: int, again: bool) -> None:
    table = request_rows(rows, SPEC, seed=seed)
    order = np.random.default_rng(seed).permutation(rows)
    order = np.concatenate([order, order[: rows // 2]]) if again else order
    moved = reordered(pa.concat_tables([table.slice(0, rows // 3), table.slice(rows // 3)]), order)
    taken = table.take(pa.array(order))
    assert moved.schema == taken.schema
    assert str(moved.to_pylist()) == str(taken.to_pylist())  # as text, NaN is equal to itself


def test_batches_can_be_written_to() -> None:
    window = Requests.of(request_rows(9, SPEC), SPEC)
    batch = batch_of([Piece(window, 0, 9)], SPEC)
    before = slowly(request_rows(9, SPEC).to_pylist(), SPEC)
    for tensor in parts(batch).values():
        tensor.zero_()
    assert_same(batch_of([Piece(window, 0, 9)], SPEC), before)


def nulled(table: pa.Table, name: str, inside: bool) -> pa.Table:
    values = table[name].to_pylist()
    if inside:
        place = next(n for n, row in enumerate(values) if row)
        values[place] = [None, *values[place][1:]]
    else:
        values[0] = None
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


@pytest.mark.parametrize(
    ("name", "inside"), [("user", False), ("history", False), ("history", True), ("row_labels", True)]
)
def test_nulls_are_refused(name: str, inside: bool) -> None:
    with pytest.raises(ValueError, match=f"{name}'? holds nulls"):
        Requests.of(nulled(request_rows(9, SPEC), name, inside), SPEC)


def test_logs_of_another_dataset_are_refused() -> None:
    table = request_rows(9, SPEC)
    with pytest.raises(ValueError, match="'row_features' aren't 0 wide as the dataset says"):
        Requests.of(table, BARE)
    with pytest.raises(ValueError, match=r"lacks the columns \['row_weight'\]"):
        Requests.of(table.drop_columns("row_weight"), SPEC)
    shorter = table.set_column(4, "history", table["positives"])
    with pytest.raises(ValueError, match="'history_age' aren't 1 wide"):
        Requests.of(shorter, SPEC)
