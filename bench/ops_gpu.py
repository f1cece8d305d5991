"""Bags, triplets, lists and softmaxes of segments on a GPU, each beside what plain torch would do and a physical limit.

python -m bench.ops_gpu [--out bench/ops_gpu.json]

Median milliseconds of forward and backward and the most memory beside the inputs. The limit of bags and segments is their
bytes, that of triplets their products, both as this device was measured to do; lists have none here: they are a chain of
small steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.device import limits, timed
from bench.plain_torch import hashed_bags, scattered_log_softmax, triplet_matrix
from kernels.bag import bag
from kernels.pairwise import triplet
from kernels.segments import segment_log_softmax
from kernels.topk_mmr import topk_mmr

BIG = 2**34  # bytes that an arm of plain torch may take


@dataclass(frozen=True, slots=True)
class Case:
    """Arms that compute the same; `floor` seconds from the device's limits."""

    name: str
    arms: Mapping[str, Callable[[], Any]]
    floor: Callable[[Mapping[str, Any]], float] | None = None


def bags(num: int, length: int, size: int, dtype: torch.dtype) -> Case:
    """Two hashes an id, a table of `size` x 64; every id's rows are read once each way and every table row written."""
    dim, hashes = 64, 2
    g = torch.Generator("cuda").manual_seed(0)
    table = torch.randn(size, dim, generator=g, device="cuda").to(dtype).requires_grad_()
    target = torch.randn(num, dim, generator=g, device="cuda").to(dtype)
    values = (torch.rand(num * length, generator=g, device="cuda") ** 4 * 1e7).long() + 1
    offsets = torch.arange(num + 1, device="cuda") * length

    def both_ways(compute: Callable[[], Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(compute(), table, target)

    item = table.element_size()
    moved = 2 * num * length * hashes * dim * item + 2 * num * dim * item + size * dim * item
    arms: dict[str, Callable[[], Tensor]] = {"embedding_bag": lambda: hashed_bags(table, values, offsets, hashes)}
    arms |= {impl: lambda impl=impl: bag(table, values, offsets, num_hashes=hashes, impl=impl) for impl in IMPLS}
    name = f"bags {num}x{length} of {size}x{dim} {dtype}, 2 hashes"
    floor = lambda limit: moved / limit["bytes_per_second"]  # noqa: E731
    return Case(name, {arm: both_ways(compute) for arm, compute in arms.items()}, floor)


def triplets(size: int, negative: str) -> Case:
    """Two scans, a product of all with all each; the gradient is that of 2 x `size` distances."""
    dim = 128
    g = torch.Generator("cuda").manual_seed(0)
    rows = torch.randn(size, dim, generator=g, device="cuda").bfloat16().requires_grad_()
    labels = torch.arange(size, device="cuda") // 4

    def matrix() -> Tensor:
        return triplet_matrix(rows.float(), labels, negative)

    def loss(impl: str) -> Tensor:
        return triplet(rows, labels, negative=negative, impl=impl).loss.mean()

    arms = {"matrix": matrix} if 24 * size**2 < BIG else {}
    impls = IMPLS if arms else ("triton",)  # chunks alone would take minutes
    arms |= {impl: lambda impl=impl: loss(impl) for impl in impls}
    both_ways = {arm: lambda compute=compute: torch.autograd.grad(compute(), rows) for arm, compute in arms.items()}
    floor = lambda limit: 2 * 2 * size**2 * dim / limit["flops"]  # noqa: E731
    return Case(f"triplets {negative} {size}x{dim} bfloat16", both_ways, floor)


def lists(num: int, width: int, k: int, method: str) -> Case:
    dim = 64
    g = torch.Generator("cuda").manual_seed(0)
    vectors = F.normalize(torch.randn(num, width, dim, generator=g, device="cuda"), dim=2)
    scores = torch.rand(num, width, generator=g, device="cuda")

    def pick(impl: str) -> Tensor:
        return topk_mmr(vectors, scores, k, lam=0.3, method=method, impl=impl)

    arms = {impl: lambda impl=impl: pick(impl) for impl in IMPLS}
    return Case(f"{num} lists of {width}x{dim}, k {k}, {method}", arms)


def families(num: int, segments: int, longest: int, dtype: torch.dtype) -> Case:
    """Softmaxes of ragged segments, lengths even from 1 to `longest`: a row is read once and written once each way."""
    g = torch.Generator("cuda").manual_seed(0)
    lengths = torch.randint(1, longest + 1, (segments,), generator=g, device="cuda")
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    columns = int(offsets[-1])
    owner = torch.arange(segments, device="cuda").repeat_interleave(lengths)
    slot = owner * longest + torch.arange(columns, device="cuda") - offsets[owner]
    scores = torch.randn(num, columns, generator=g, device="cuda").to(dtype).requires_grad_()
    target = torch.randn(num, columns, generator=g, device="cuda").to(dtype)

    def padded() -> Tensor:
        wide = scores.new_full((num, segments * longest), -torch.inf).index_copy(1, slot, scores)
        return wide.view(num, segments, longest).log_softmax(2).flatten(1)[:, slot]

    arms: dict[str, Callable[[], Tensor]] = {"padded": padded}
    arms["scattered"] = lambda: scattered_log_softmax(scores, owner, segments)
    arms |= {impl: lambda impl=impl: segment_log_softmax(scores, offsets, impl=impl) for impl in IMPLS}
    both_ways = {
        arm: lambda compute=compute: torch.autograd.grad(compute(), scores, target) for arm, compute in arms.items()
    }
    moved = 5 * num * columns * scores.element_size()
    name = f"softmaxes {num}x{columns} in {segments} segments {dtype}"
    return Case(name, both_ways, lambda limit: moved / limit["bytes_per_second"])


IMPLS = ("chunked", "triton")
CASES: tuple[Callable[[], Case], ...] = (
    lambda: bags(65_536, 50, 1_000_000, torch.float32),
    lambda: bags(65_536, 50, 10_000_000, torch.float32),
    lambda: bags(65_536, 50, 10_000_000, torch.bfloat16),
    lambda: triplets(16_384, "hard"),
    lambda: triplets(16_384, "semihard"),
    lambda: triplets(131_072, "semihard"),
    lambda: lists(1, 100, 10, "mmr"),
    lambda: lists(1024, 100, 10, "mmr"),
    lambda: lists(1024, 1000, 50, "mmr"),
    lambda: lists(1024, 1000, 50, "dpp"),
    lambda: families(16_384, 106, 8, torch.float32),
    lambda: families(16_384, 106, 64, torch.bfloat16),
    lambda: families(1024, 512, 512, torch.bfloat16),
    lambda: families(1024, 16, 32_768, torch.bfloat16),
)


def measure(case: Case, limit: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    floor = case.floor(limit) if case.floor else None
    for arm, run in case.arms.items():
        try:
            seconds, extra = timed(run, 0.5)
        except torch.cuda.OutOfMemoryError as error:
            yield {"case": case.name, "arm": arm, "error": str(error).splitlines()[0]}
            continue
        row = {"case": case.name, "arm": arm, "ms": 1e3 * seconds, "extra_mb": extra / 1e6}
        row |= {"of_the_limit": floor / seconds} if floor else {}
        share = f"  {row['of_the_limit']:.2f} of the limit" if floor else ""
        print(f"{case.name:52} {arm:14} {row['ms']:9.3f} ms {row['extra_mb']:9.1f} MB{share}", flush=True)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ops_gpu", description=__doc__)
    parser.add_argument("--out", default="bench/ops_gpu.json")
    told = parser.parse_args()
    limit = limits()
    rows = [row for make in CASES for row in measure(make(), limit)]
    Path(told.out).write_text(json.dumps({"bench": "ops_gpu", "device": limit, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
