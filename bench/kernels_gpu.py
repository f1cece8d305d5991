"""The GPU day in one command: InfoNCE's tests on the device, then its time and memory beside peers and physical limits.

python -m bench.kernels_gpu [--sizes 65536 16384 262144 1048576] [--dims 64 128 256] [--skip-tests] [--out FILE]

Needs torch, triton, numpy and pytest, nothing else. bfloat16, forward and backward, B rows against B columns. No speed is
reported unless the tests pass. Exit status 2 without a CUDA device.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.device import limits, timed
from kernels.infonce import infonce

SIZES, DIMS = (65536, 16384, 262_144, 1_048_576), (64, 128, 256)
TEMPERATURE, CHUNK = 0.05, 4096
MOST_FOR_PEERS = 65536  # beyond it a peer alone would take minutes
PRODUCTS = 10  # B^2 D multiply-adds of the two-kernel backward pass and the forward pass, times two
GOALS_MS = {(65536, 64): 7.0, (65536, 128): 11.0, (65536, 256): 22.0, (1_048_576, 128): 3000.0}
GOALS_MB = {(65536, 64): 150.0, (65536, 128): 150.0, (65536, 256): 150.0, (1_048_576, 128): 3000.0}
STATIC = Path("bench/kernels_static.json")

Step = Callable[[Tensor, Tensor], Tensor]


def fused(query: Tensor, vectors: Tensor, impl: str = "triton", **options: Any) -> Tensor:
    target = torch.arange(len(query), device=query.device)
    return infonce(query, vectors, target, temperature=TEMPERATURE, impl=impl, **options).loss.mean()


def fused_full(query: Tensor, vectors: Tensor) -> Tensor:
    """log_q and ids with hits: about two columns an item."""
    size, device = len(query), query.device
    ids = torch.randint(0, size // 2, (size,), generator=torch.Generator(device).manual_seed(0), device=device)
    return fused(query, vectors, log_q=torch.zeros(size, device=device), ids=ids)


def naive(query: Tensor, vectors: Tensor) -> Tensor:
    return F.cross_entropy(query @ vectors.T / TEMPERATURE, torch.arange(len(query), device=query.device))


def linear_cross_entropy(query: Tensor, vectors: Tensor) -> Tensor:
    options = torch.nn.LinearCrossEntropyOptions()
    target = torch.arange(len(query), device=query.device)
    return F.linear_cross_entropy(query / TEMPERATURE, vectors, target, options=options)


class _Chunks(torch.autograd.Function):
    """cuBLAS products and a softmax a block of rows at a time, the gradient in the forward pass: three products."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, vectors: Tensor) -> Tensor:
        of_query, of_vectors = torch.empty_like(query), torch.zeros_like(vectors, dtype=torch.float32)
        losses = []
        for start in range(0, len(query), CHUNK):
            rows = slice(start, start + CHUNK)
            logits = (query[rows] @ vectors.T).float().div_(TEMPERATURE)
            places = torch.arange(start, start + len(logits), device=query.device)
            losses.append(F.cross_entropy(logits, places, reduction="sum"))
            share = logits.softmax(1)
            share[places - start, places] -= 1
            share = share.mul_(1 / (TEMPERATURE * len(query))).to(query.dtype)
            of_query[rows] = share @ vectors
            of_vectors += share.T @ query[rows]
        ctx.save_for_backward(of_query, of_vectors.to(vectors.dtype))
        return torch.stack(losses).sum() / len(query)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(x * gradients[0] for x in ctx.saved_tensors)


def chunks(query: Tensor, vectors: Tensor) -> Tensor:
    return _Chunks.apply(query, vectors)  # type: ignore[return-value]


ARMS: dict[str, Step] = {
    "triton": fused,
    "triton, log_q, ids": fused_full,
    "triton, both ways": lambda query, vectors: fused(query, vectors, symmetric=True),
    "triton-atomic": lambda query, vectors: fused(query, vectors, impl="triton-atomic"),
    "chunked cuBLAS": chunks,
    "naive": naive,
}
if hasattr(F, "linear_cross_entropy"):
    ARMS["linear_cross_entropy"] = linear_cross_entropy
PEERS = ("chunked cuBLAS", "naive", "linear_cross_entropy")


def main() -> None:
    chosen = _arguments()
    limit = limits()
    if not chosen.skip_tests:
        test()
    report: dict[str, Any] = {"bench": "kernels_gpu", "device": limit}
    report["rows"] = [row for size in chosen.sizes for dim in chosen.dims for row in measure(size, dim, limit)]
    report["missed"] = [miss for row in report["rows"] for miss in row.get("missed", ())]
    Path(chosen.out).write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(["", *report["missed"]]) if report["missed"] else "\nall goals reached")


def test() -> None:
    """The same tests as without a device, on the device; the project's pytest plugins aren't needed."""
    plain = ["-c", os.devnull, "--rootdir=.", "-q", "-p", "no:cacheprovider"]
    if util.find_spec("xdist"):  # most of the time goes into compiling
        plain += ["-n", str(min(12, os.cpu_count() or 1))]
    skipped = ["--ignore=tests/kernels/infonce/test_workers.py", "--ignore=tests/kernels/static"]
    whole = "tests/kernels" if util.find_spec("hypothesis") else "tests/kernels/infonce"
    done = subprocess.run([sys.executable, "-m", "pytest", *plain, *skipped, whole], check=False)
    if done.returncode:
        sys.exit("the tests fail on this device: no speed to report")


def measure(size: int, dim: int, limit: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per arm that can run at this size."""
    floor = PRODUCTS * size**2 * dim / limit["flops"]
    issue = _instructions(dim)
    if issue:
        floor = max(floor, issue * size**2 / limit["lane_instructions"])
    for arm, step in ARMS.items():
        if arm in PEERS and (size > MOST_FOR_PEERS or (arm == "naive" and 12 * size**2 > 0.8 * limit["bytes"])):
            continue
        seconds, extra = stepped(step, size, dim)
        row = {"arm": arm, "size": size, "dim": dim, "ms": 1e3 * seconds, "extra_mb": extra / 1e6}
        row |= {"floor_ms": 1e3 * floor, "achieved": floor / seconds}
        if arm == "triton":
            row["missed"] = _missed(row)
        print(
            f"B {size:8} D {dim:3} {arm:22} {row['ms']:9.2f} ms {row['extra_mb']:9.0f} MB  {row['achieved']:.2f} of the limit",
            flush=True,
        )
        yield row


def stepped(step: Step, size: int, dim: int) -> tuple[float, int]:
    """Median seconds of a step, both ways, and the most bytes it holds beside the inputs."""
    generator = torch.Generator("cuda").manual_seed(0)
    leaves = [
        F.normalize(torch.randn(size, dim, generator=generator, device="cuda"), dim=1).bfloat16() for _ in range(2)
    ]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    return timed(lambda: torch.autograd.grad(step(*leaves), leaves))


def _instructions(dim: int) -> float | None:
    """Of a logit over the three plain kernels on sm_90, as `make kernels` counted them; the worst triton's."""
    rows = json.loads(STATIC.read_text())["rows"] if STATIC.exists() else []
    found = []
    for kernel in ("forward", "query", "vectors"):
        start = f"infonce/{kernel}-d{dim}-plain-"
        found.append(
            max(
                (
                    row["per_lane"]
                    for row in rows
                    if row["case"].startswith(start) and row.get("per_lane") and row["arch"] == 90
                ),
                default=None,
            )
        )
    return None if None in found else sum(found)


def _missed(row: Mapping[str, Any]) -> list[str]:
    key, told = (row["size"], row["dim"]), []
    for name, goals in (("ms", GOALS_MS), ("extra_mb", GOALS_MB)):
        if key in goals and row[name] > goals[key]:
            told.append(f"B {key[0]} D {key[1]}: {row[name]:.1f} {name}, the goal is {goals[key]}")
    return told


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.kernels_gpu", description="InfoNCE on a GPU: tests, time, memory."
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--dims", nargs="+", type=int, default=DIMS)
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--out", default="bench/kernels_gpu.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
