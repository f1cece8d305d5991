"""What each kernel of InfoNCE takes on a GPU with each tile, and the best of them: figures for `kernels/infonce/config.py`.

python -m bench.tiles [--size 65536] [--dims 64 128 256] [--out bench/tiles.json]

Compiling takes most of the time, so it is done first, in as many processes as there are cores. bfloat16, B rows against B
columns, with log_q; "-both" are the kernels of the symmetric loss.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from bench.device import limits
from kernels.infonce import infonce
from kernels.infonce import triton as launcher
from kernels.infonce.config import DEFAULTS, WIDTHS, Tiles

SHAPES = ((64, 64), (64, 128), (128, 64), (128, 128), (128, 32), (64, 256), (128, 256))
KERNELS = ("forward", "query", "vectors", "query-both", "vectors-both")
REPEATS = 7


@dataclass(frozen=True, slots=True)
class Trial:
    kernel: str
    dim: int
    tiles: Tiles


def tried(dims: list[int]) -> list[Trial]:
    """Vectors' loop over rows has the sides exchanged; tiles that can't fit into registers are left out."""
    found = []
    for kernel in KERNELS:
        for dim in dims:
            for (rows, columns), warps, stages in ((s, w, n) for s in SHAPES for w in (4, 8) for n in (2, 3)):
                if rows * columns > 8192 * warps // 4 * (2 if kernel == "forward" else 1):
                    continue
                rows, columns = (columns, rows) if kernel.startswith("vectors") else (rows, columns)
                found.append(Trial(kernel, dim, Tiles(rows, columns, warps, stages)))
    return found


def milliseconds(trial: Trial, size: int, repeats: int) -> float | str:
    """Median of the kernel alone, or why it doesn't run."""
    g = torch.Generator("cuda").manual_seed(0)
    leaves = [F.normalize(torch.randn(size, trial.dim, generator=g, device="cuda"), dim=1) for _ in range(2)]
    leaves = [leaf.bfloat16().requires_grad_() for leaf in leaves]
    options: dict[str, Any] = {"log_q": torch.zeros(size, device="cuda"), "symmetric": trial.kernel.endswith("both")}
    target = torch.arange(size, device="cuda")
    try:
        with _instead(trial), _clock(trial.kernel) as taken:
            for _ in range(repeats):
                found = infonce(leaves[0], leaves[1], target, temperature=0.05, impl="triton", **options)
                torch.autograd.grad(found.loss.mean(), leaves)
            torch.cuda.synchronize()
            return median(start.elapsed_time(stop) for start, stop in taken)
    except Exception as error:  # a tile that doesn't fit this device is a result
        return f"{type(error).__name__}: {error}"[:120]


@contextmanager
def _instead(trial: Trial) -> Iterator[None]:
    held = [(table, table[trial.kernel]) for table in DEFAULTS.values()]
    for table, sizes in held:
        given = tuple(trial.tiles if width == trial.dim else size for width, size in zip(WIDTHS, sizes, strict=True))
        table[trial.kernel] = given  # type: ignore[assignment]
    try:
        yield
    finally:
        for table, sizes in held:
            table[trial.kernel] = sizes


@contextmanager
def _clock(kernel: str) -> Iterator[list[tuple[torch.cuda.Event, torch.cuda.Event]]]:
    """Events around the launches of a kernel; the last of each repeat, the forward pass of a symmetric loss has two."""
    launch, taken = launcher._launch, []

    def timed(function: Any, pool: Any, name: str, *rest: Any, **flags: bool) -> None:
        events = tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))
        events[0].record()
        launch(function, pool, name, *rest, **flags)
        events[1].record()
        if name == kernel:
            taken.append(events)

    launcher._launch = timed  # type: ignore[assignment]
    try:
        yield taken
    finally:
        launcher._launch = launch


def _compile(trial: Trial) -> None:
    milliseconds(trial, 2048, 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tiles", description=__doc__)
    parser.add_argument("--size", type=int, default=65536)
    parser.add_argument("--dims", nargs="+", type=int, choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--out", default="bench/tiles.json")
    told = parser.parse_args()
    limit, trials = limits(), tried(told.dims)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        list(pool.map(_compile, trials, chunksize=4))
    rows = []
    for trial in trials:
        cost = milliseconds(trial, told.size, REPEATS)
        row = {"kernel": trial.kernel, "dim": trial.dim, **asdict(trial.tiles)}
        rows.append(row | ({"error": cost} if isinstance(cost, str) else {"ms": cost}))
    Path(told.out).write_text(json.dumps({"bench": "tiles", "size": told.size, "device": limit, "rows": rows}) + "\n")
    _show(rows)


def _show(rows: list[dict[str, Any]]) -> None:
    """The three fastest tiles, beside the default."""
    architecture = DEFAULTS[10 * torch.cuda.get_device_capability()[0]]
    for kernel, dim in dict.fromkeys((row["kernel"], row["dim"]) for row in rows):
        those = sorted(
            (r for r in rows if (r["kernel"], r["dim"]) == (kernel, dim) and "ms" in r), key=lambda r: r["ms"]
        )
        now = asdict(architecture[kernel][WIDTHS.index(dim)])
        own = [f"{row['ms']:.2f}" for row in those if now.items() <= row.items()]
        told = ", ".join(f"{r['rows']}x{r['columns']}x{r['warps']}x{r['stages']} {r['ms']:.2f}" for r in those[:3])
        print(
            f"{kernel:13} D {dim:3}: {told} ms; default {'x'.join(map(str, now.values()))} {' '.join(own)}", flush=True
        )


if __name__ == "__main__":
    main()
