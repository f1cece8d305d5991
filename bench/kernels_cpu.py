"""InfoNCE on a CPU: time and memory of a training step's loss in chunks, beside what torch offers, up to where naive dies.

python -m bench.kernels_cpu [--sizes 4096 8192 ...] [--rounds 3] [--out bench/kernels_cpu.json]

Forward and backward of B rows against B columns, D = 64, float32, one thread. Every run is a process of its own, so that
its peak memory is its own; arms take turns within a round, and the first runs twice as its own control. CPU time, median
over rounds. No speed is reported unless losses and gradients of all arms are equal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.infonce import infonce

SIZES = (4096, 8192, 16384, 32768, 65536)
DIM, TEMPERATURE, ROWS_AT_ONCE = 64, 0.05, 1024
NAIVE_BYTES = 12  # a logit, its softmax and its gradient
GOALS = {"size": 32768, "extra_mb": 100.0, "naive/chunked": 2.0, "linear_cross_entropy/chunked": 1.0}
SAME = 1e-4  # of losses and of gradients' norms, relative

Loss = Callable[[Tensor, Tensor], Tensor]


def naive(query: Tensor, vectors: Tensor) -> Tensor:
    return F.cross_entropy(query @ vectors.T / TEMPERATURE, torch.arange(len(query)))


def chunked(query: Tensor, vectors: Tensor) -> Tensor:
    return infonce(query, vectors, torch.arange(len(query)), temperature=TEMPERATURE, impl="chunked").loss.mean()


def featured(query: Tensor, vectors: Tensor) -> Tensor:
    """With log_q, ids and weights that change nothing: what they cost."""
    ids, ones = torch.arange(len(query)), torch.ones(len(query))
    options: dict[str, Any] = {"log_q": 0 * ones, "ids": ids, "weight": ones}
    return infonce(query, vectors, ids, temperature=TEMPERATURE, impl="chunked", **options).loss.mean()


def recomputed(query: Tensor, vectors: Tensor) -> Tensor:
    """With gradients that differ from row to row, so that none can be made in the forward pass."""
    found = infonce(query, vectors, torch.arange(len(query)), temperature=TEMPERATURE, impl="chunked")
    return (found.loss * torch.linspace(0.5, 1.5, len(query))).mean() + 0 * found.lse.sum()


def linear_cross_entropy(query: Tensor, vectors: Tensor) -> Tensor:
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(query / TEMPERATURE, vectors, torch.arange(len(query)), options=options)


def checkpointed(query: Tensor, vectors: Tensor) -> Tensor:
    def rows(start: int) -> Tensor:
        here = slice(start, start + ROWS_AT_ONCE)
        logits = query[here] @ vectors.T / TEMPERATURE
        return F.cross_entropy(logits, torch.arange(start, start + len(logits)), reduction="sum")

    starts = range(0, len(query), ROWS_AT_ONCE)
    return torch.stack([checkpoint(rows, start, use_reentrant=False) for start in starts]).sum() / len(query)


ARMS: Mapping[str, Loss] = {
    "chunked": chunked,
    "chunked, log_q, ids, weights": featured,
    "chunked, uneven gradients": recomputed,
    "linear_cross_entropy": linear_cross_entropy,
    "checkpoint": checkpointed,
    "naive": naive,
}
UNEQUAL = ("chunked, uneven gradients",)  # another function on purpose


def main() -> None:
    chosen = _arguments()
    if chosen.arm:
        print(json.dumps(run(chosen.arm, chosen.sizes[0])))
        return
    rounds = {
        size: chosen.rounds if size <= GOALS["size"] else 1 for size in chosen.sizes
    }  # beyond it a round is minutes
    rows = [row for size in chosen.sizes for row in measure(size, rounds[size])]
    report = {"bench": "kernels_cpu", "date": datetime.now(UTC).date().isoformat(), "machine": machine(), "dim": DIM}
    report |= {"rows": rows, "goals": GOALS, "reached": reached(rows)}
    Path(chosen.out).write_text(json.dumps(report, indent=1) + "\n")
    plot(rows, Path(chosen.out).with_suffix(".png"))
    print(json.dumps(report["reached"], indent=1))


def measure(size: int, rounds: int) -> list[dict[str, Any]]:
    """A row per arm; raises ValueError where two arms don't compute the same."""
    free = _available_bytes()
    fits = NAIVE_BYTES * size**2 < 0.9 * free
    turns = ["chunked", *(arm for arm in ARMS if fits or arm != "naive"), "control"]
    turns = list(dict.fromkeys(turns))
    seen: dict[str, list[dict[str, float]]] = {arm: [] for arm in turns}
    for turn in range(rounds):
        for arm in turns[turn % len(turns) :] + turns[: turn % len(turns)]:
            command = [sys.executable, "-m", "bench.kernels_cpu", "--sizes", str(size), "--arm", arm]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seen[arm].append(json.loads(done.stdout))
    _demand_equal(seen)
    control = median(c["seconds"] / a["seconds"] for c, a in zip(seen["control"], seen["chunked"], strict=True))
    rows = []
    for arm in (arm for arm in turns if arm != "control"):
        row = {"arm": arm, "size": size, "rounds": rounds, "aa_ratio": control}
        row |= {name: median(one[name] for one in seen[arm]) for name in ("seconds", "extra_mb", "loss")}
        rows.append(row | {"every_second": [one["seconds"] for one in seen[arm]]})
        print(
            f"B {size:6} {arm:30} {row['seconds']:8.2f} CPU-s {row['extra_mb']:9.1f} MB  A/A {control:.2f}", flush=True
        )
    if not fits:
        needs = NAIVE_BYTES * size**2 / 1e6
        rows.append({"arm": "naive", "size": size, "needs_mb": needs, "free_mb": free / 1e6})
        print(f"B {size:6} {'naive':30} not run: needs {needs:,.0f} MB, {free / 1e6:,.0f} MB are free", flush=True)
    return rows


def run(arm: str, size: int) -> dict[str, float]:
    """One step in this process: CPU seconds, peak memory beyond the inputs, and values to compare."""
    torch.set_num_threads(1)
    loss = ARMS["chunked" if arm == "control" else arm]
    generator = torch.Generator().manual_seed(size)
    vectors = F.normalize(torch.randn(size, DIM, generator=generator), dim=1)
    query = F.normalize(vectors + 0.1 * torch.randn(size, DIM, generator=generator), dim=1)
    loss(*(x[:128].clone().requires_grad_() for x in (query, vectors))).backward()  # what is loaded once
    query.requires_grad_()
    vectors.requires_grad_()
    before, begin = _peak_mb(), time.process_time()
    value = loss(query, vectors)
    value.backward()
    seconds = time.process_time() - begin
    norms = {
        f"norm_{name}": float(x.grad.double().norm())
        for name, x in (("q", query), ("v", vectors))
        if x.grad is not None
    }
    return {"seconds": seconds, "extra_mb": _peak_mb() - before, "loss": float(value.detach()), **norms}


def reached(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each goal with its figure; empty where the size wasn't measured."""
    here = {row["arm"]: row for row in rows if row["size"] == GOALS["size"] and "seconds" in row}
    if "chunked" not in here:
        return {}
    figures = {"extra_mb": here["chunked"]["extra_mb"]}
    for peer in ("naive", "linear_cross_entropy"):
        if peer in here:
            figures[f"{peer}/chunked"] = here[peer]["seconds"] / here["chunked"]["seconds"]
    ok = {name: x <= GOALS[name] if name == "extra_mb" else x >= GOALS[name] for name, x in figures.items()}
    return {name: {"figure": x, "goal": GOALS[name], "ok": ok[name]} for name, x in figures.items()}


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Memory and time against B; a cross stands where naive would need more memory than there is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for arm in ARMS:
        here = [row for row in rows if row["arm"] == arm and "seconds" in row]
        sizes = [row["size"] for row in here]
        left.loglog(sizes, [max(1.0, row["extra_mb"]) for row in here], marker="o", markersize=4, label=arm)
        right.loglog(sizes, [row["seconds"] for row in here], marker="o", markersize=4, label=arm)
    dead = [row for row in rows if "needs_mb" in row]
    left.loglog([row["size"] for row in dead], [row["needs_mb"] for row in dead], "kx", label="naive would need")
    left.set(xlabel="B rows and columns, D = 64", ylabel="MB beyond the inputs")
    right.set(xlabel="B rows and columns, D = 64", ylabel="CPU seconds, forward and backward")
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    left.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def machine() -> dict[str, Any]:
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": 1,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _demand_equal(seen: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    truth = seen["chunked"][0]
    for arm, found in seen.items():
        for name in ("loss", "norm_q", "norm_v"):
            gap = abs(found[0][name] / truth[name] - 1)
            if arm not in UNEQUAL and not gap <= SAME:
                raise ValueError(f"{arm} and chunked differ by {gap:.1e} in {name}: no speed to report")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _available_bytes() -> int:
    """What a process could get, the caches of files counted; Linux."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.kernels_cpu", description="InfoNCE on a CPU beside its peers."
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default="bench/kernels_cpu.json")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
