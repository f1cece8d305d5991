"""What the names of a catalogue take in an endpoint: as Python objects, and as mapped bytes; and what a look-up costs.

python -m bench.names [ITEMS] [--out bench/names.json]: each arm in a process of its own, ids of 8 and texts of 60 characters.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.ann import resident
from recsys.data.spec import FIRST
from recsys.funnel.names import Places, Strings

LOOKED_UP, FEW = 10_000, "few.parquet"


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("items", type=int, nargs="?", default=1_000_000)
    told.add_argument("--arm", choices=ARMS)
    told.add_argument("--parquet")
    told.add_argument("--out", default=None)
    given = told.parse_args()
    if given.arm:
        print(json.dumps(measured(given.arm, Path(given.parquet))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        ids = [f"i{number:07d}" for number in range(given.items)]
        texts = [f"{number:08d} a thing that is described in some fifty letters" for number in range(given.items)]
        table = pa.table({"item_id": ids, "text": texts})
        pq.write_table(table, path)
        pq.write_table(table.slice(0, 100), path.with_name(FEW))
        command = [sys.executable, "-m", "bench.names", str(given.items), "--parquet", str(path), "--arm"]
        figures = {arm: json.loads(subprocess.check_output([*command, arm])) for arm in ARMS}
    text = json.dumps({"items": given.items, **figures}, indent=1) + "\n"
    print(text, end="")
    if given.out:
        Path(given.out).write_text(text)


def objects(path: Path) -> tuple[Sequence[str], Sequence[str], Mapping[str, int]]:
    table = pq.read_table(path)
    ids = tuple(table["item_id"].to_pylist())
    return ids, tuple(table["text"].to_pylist()), {name: at for at, name in enumerate(ids) if at >= FIRST}


def mapped(path: Path) -> tuple[Sequence[str], Sequence[str], Mapping[str, int]]:
    ids = Strings(path, "item_id")
    return ids, Strings(path, "text"), Places(ids, FIRST)


ARMS = {"objects": objects, "mapped": mapped}


def measured(arm: str, path: Path) -> dict[str, float]:
    """Bytes an item that the process gained, its own and of files; CPU us of an id's place, and of a place's id and text."""
    _, _, places = ARMS[arm](path.with_name(FEW))  # what is loaded and compiled but once
    assert places["i0000050"] == 50
    before, began = resident(), time.process_time()
    ids, texts, places = ARMS[arm](path)
    pa.default_memory_pool().release_unused()
    spent, after = time.process_time() - began, resident()
    some: list[int] = np.random.default_rng(0).integers(FIRST, len(ids), LOOKED_UP).tolist()
    names = [ids[at] for at in some]
    began = time.process_time()
    assert [places[name] for name in names] == some
    looked_up = time.process_time() - began
    began = time.process_time()
    assert all(ids[at] and texts[at] for at in some)
    told = time.process_time() - began
    gained = {name: 1e9 * (after[name] - before[name]) / len(ids) for name in ("RssAnon", "RssFile")}
    rates = {"us_a_place": 1e6 * looked_up / LOOKED_UP, "us_an_item": 1e6 * told / LOOKED_UP}
    return {name: round(held, 2) for name, held in {**gained, **rates, "cpu_seconds": spent}.items()}


if __name__ == "__main__":
    main()
