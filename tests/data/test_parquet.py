"""A retailer's invoices, with everything that is wrong with them, through the reader for anybody's tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import schema
from recsys.data.parquet import ParquetTables
from recsys.data.prepare import DataSpec, prepare
from recsys.data.requests import RequestSpec
from tests.data.invoices import COLUMNS, ROWS, write_invoices


@pytest.fixture
def invoices(tmp_path: Path) -> Path:
    return write_invoices(tmp_path / "invoices.parquet")


def reasons(tables: object) -> dict[str, int]:
    counted = tables.quarantine["reason"].value_counts().to_pylist()  # type: ignore[attr-defined]
    return {row["values"]: row["counts"] for row in counted}


def test_bad_rows_are_set_aside_and_counted(invoices: Path) -> None:
    tables = ParquetTables(events=str(invoices), columns={**COLUMNS, "quantity": "Quantity"})()
    assert reasons(tables) == {
        "no user": 300,
        "no readable time": 1,
        "impossible time": 1,
        "return or nothing taken": 30 - sum((5 + 100 * n) % 10 == 0 for n in range(30)),
        "duplicate line": 2,
    }
    assert len(tables.events) + len(tables.quarantine) == ROWS + 2
    assert set(tables.events["user"].to_pylist()) <= {str(n) for n in range(17000, 17100)}, "17850.0 is customer 17850"
    assert [task.name for task in tables.roles.tasks] == ["engage"]


def test_three_columns_suffice_for_a_dataset(invoices: Path, tmp_path: Path) -> None:
    source = ParquetTables(events=str(invoices), columns=COLUMNS)
    spec = DataSpec(source=source, requests=RequestSpec(horizon_days=10.0), lanes=4)
    held = prepare(spec, tmp_path / "dataset")
    assert held.meta["counts"]["users"] == 100
    assert held.meta["counts"]["train.requests"] > 500
    again = prepare(spec, tmp_path / "again")
    assert held.manifest["files"] == again.manifest["files"], "the same input gives the same bytes"


def test_a_missing_column_says_what_there_is_and_what_to_type(invoices: Path) -> None:
    with pytest.raises(schema.SchemaError, match=r"no column 'user'.*InvoiceNo.*data\.columns=\{user:"):
        ParquetTables(events=str(invoices))()
    with pytest.raises(schema.SchemaError, match=r"no columns \['Nobody'\]"):
        ParquetTables(events=str(invoices), columns={**COLUMNS, "value": "Nobody"})()
    with pytest.raises(schema.SchemaError, match=r"unknown names \['price'\]"):
        ParquetTables(events=str(invoices), columns={**COLUMNS, "price": "UnitPrice"})()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.parquet doesn't exist"):
        ParquetTables(events=str(invoices.with_name("nowhere.parquet")))()


def test_exposures_become_impressions_with_what_followed(tmp_path: Path) -> None:
    rows = [
        ("a", "x", 1_600_000_000, "impression"),
        ("a", "y", 1_600_000_000, "impression"),
        ("a", "x", 1_600_000_100, "click"),
        ("a", "y", 1_600_900_000, "click"),
        ("b", "x", 1_600_000_050, "click"),
    ]
    table = pa.table(dict(zip(("user", "item", "time", "type"), map(list, zip(*rows, strict=True)), strict=True)))
    pq.write_table(table, tmp_path / "e.parquet")
    tables = ParquetTables(events=str(tmp_path / "e.parquet"))()
    assert tables.impressions is not None
    assert tables.impressions["taken"].to_pylist() == [1.0, 0.0], "y was clicked long after it was shown"
    assert len(tables.events) == 3
    assert "purchase" in [task.name for task in tables.roles.tasks]


@given(st.integers(631_152_000, 4_000_000_000), st.sampled_from([1, 1_000, 1_000_000, 1_000_000_000]))
def test_the_unit_of_epoch_numbers_is_told_by_their_size(moment: int, unit: int) -> None:
    held = schema.seconds(pa.chunked_array([[moment * unit]]), "time", "t")
    assert held.to_pylist() == [moment]


@pytest.mark.parametrize("text", ["2011-03-04 05:06:07", "2011-03-04T05:06:07Z", "2011-03-04T05:06:07.123+00:00"])
def test_times_as_text(text: str) -> None:
    assert schema.seconds(pa.chunked_array([[text]]), "time", "t").to_pylist() == [1299215167]


def test_a_time_that_cannot_be_read_names_the_value() -> None:
    with pytest.raises(schema.SchemaError, match="'yesterday'"):
        schema.seconds(pa.chunked_array([["yesterday"]]), "time", "t.csv")


def test_items_find_their_columns_by_themselves(invoices: Path, tmp_path: Path) -> None:
    items = pd.DataFrame({"StockCode": [f"{n}A" for n in range(150)], "Price": np.linspace(1, 9, 150)})
    items["Group"] = [f"g{n % 7}" for n in range(150)]
    items["Title"] = [f"thing number {n}" for n in range(150)]
    items.to_parquet(tmp_path / "items.parquet")
    tables = ParquetTables(events=str(invoices), items=str(tmp_path / "items.parquet"), columns=COLUMNS)()
    assert tables.roles.item_categorical == ("group",)
    assert tables.roles.item_numeric == ("price",)
    assert tables.items is not None
    assert tables.items["text"][3].as_py() == "g3 / thing number 3"
