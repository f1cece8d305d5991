"""What it takes to hash a catalogue's ids and names: a Python string each, and where their bytes lie.

python -m bench.hashing [--items 1000000 10000000] [--out bench/hashing.json]: each arm in a process of its own.
"""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from bench.kernels_cpu import machine
from recsys.data.hashing import stable_hash
from recsys.index.sharding import shard_of

SHARDS, BUCKETS, ROUNDS, FEW = 8, 1 << 20, 3, 1000
Hash = Callable[[np.ndarray, pa.Array], np.ndarray]


def one_by_one(strings: list[str], buckets: int) -> np.ndarray:
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter((digest(text.encode(), 0) % buckets for text in strings), np.int64, len(strings))


ARMS: dict[str, Hash] = {
    "ids, a string each": lambda ids, _: one_by_one([str(item) for item in ids.tolist()], SHARDS),
    "ids, as bytes": lambda ids, _: shard_of(ids, SHARDS),
    "names, a string each": lambda _, names: one_by_one([name or "" for name in names.to_pylist()], BUCKETS),
    "names, as bytes": lambda _, names: stable_hash(names.fill_null(""), BUCKETS, 0),
}


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--items", type=int, nargs="+", default=[1_000_000, 10_000_000])
    told.add_argument("--arm", choices=ARMS)
    told.add_argument("--out", default=None)
    given = told.parse_args()
    if given.arm:
        print(json.dumps(measured(ARMS[given.arm], given.items[0])))
        return
    command = [sys.executable, "-m", "bench.hashing", "--items"]
    figures = {
        str(items): {arm: json.loads(subprocess.check_output([*command, str(items), "--arm", arm])) for arm in ARMS}
        for items in given.items
    }
    text = json.dumps({"machine": machine(), **figures}, indent=1) + "\n"
    print(text, end="")
    if given.out:
        Path(given.out).write_text(text)


def measured(arm: Hash, items: int) -> dict[str, float]:
    """The best of some rounds, and bytes an item that the process's peak rose by; a check is that arms agree."""
    ids = np.arange(items)
    names = pc.binary_join_element_wise("copy", pa.array(ids).cast(pa.string()), "of-item", "-")
    arm(ids[:FEW], names[:FEW])  # what is compiled but once
    before, spent = peak(), []
    for _ in range(ROUNDS):
        began = time.process_time()
        found = arm(ids, names)
        spent.append(time.process_time() - began)
    gained = (peak() - before) / items
    return {
        "items_per_cpu_s": round(items / min(spent)),
        "peak_bytes_an_item": round(gained, 1),
        "sum": int(found.sum(dtype=np.int64)),
    }


def peak() -> float:
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
