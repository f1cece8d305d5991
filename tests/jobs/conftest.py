from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.invoices import write_invoices


@pytest.fixture(scope="session")
def invoices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_invoices(tmp_path_factory.mktemp("invoices") / "invoices.parquet")


def own_tables(invoices: Path, run_dir: Path | str) -> tuple[str, ...]:
    """The overrides of README's example."""
    return (
        "data=parquet",
        f"data.events={invoices}",
        "data.columns={user: CustomerID, item: StockCode, time: InvoiceDate, quantity: Quantity}",
        f"run_dir={run_dir}",
    )
