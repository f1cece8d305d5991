"""A retailer's invoices as a shop's database gives them, with everything that is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = {"user": "CustomerID", "item": "StockCode", "time": "InvoiceDate"}
ROWS = 3000
CUSTOMERS = range(17000, 17100)


def write_invoices(path: Path) -> Path:
    """Of ROWS lines every tenth has no customer and every hundredth is a return; two have no date or a foolish one,
    and two more lines stand there twice."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "InvoiceNo": random.integers(536365, 540000, ROWS).astype(str),
            "StockCode": [f"{n}A" for n in random.zipf(1.3, ROWS) % 150],
            "Description": "a thing",
            "Quantity": random.integers(1, 12, ROWS),
            "InvoiceDate": pd.Timestamp("2010-12-01")
            + pd.to_timedelta(np.sort(random.integers(0, 200 * 86400, ROWS)), "s"),
            "UnitPrice": random.gamma(2, 2, ROWS),
            "CustomerID": random.integers(CUSTOMERS.start, CUSTOMERS.stop, ROWS).astype(float),
            "Country": "United Kingdom",
        }
    )
    frame.loc[frame.index[::10], "CustomerID"] = np.nan
    frame.loc[frame.index[5::100], "Quantity"] = -3
    frame.loc[frame.index[7], "InvoiceDate"] = pd.NaT
    frame.loc[frame.index[8], "InvoiceDate"] = pd.Timestamp("1907-01-01")
    pd.concat([frame, frame.iloc[[21, 22]]]).to_parquet(path)
    return path
