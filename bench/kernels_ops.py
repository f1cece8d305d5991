"""Triplets, bags, lists and softmaxes of segments on one CPU thread, each beside what plain torch or numpy would do.

python -m bench.kernels_ops: CPU seconds interleaved in one run, and the peak of memory beyond inputs, each arm in a process of
its own; writes bench/kernels_ops.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.plain_torch import hashed_bags, scattered_log_softmax, shifted, triplet_matrix
from kernels.bag import bag
from kernels.bag.hashing import rows_of
from kernels.pairwise import triplet
from kernels.segments import segment_log_softmax
from kernels.topk_mmr import topk_mmr
from recsys.evaluate.timing import interleave
from recsys.funnel.rerank import mmr

OUT = Path("bench/kernels_ops.json")
Arms = dict[str, Callable[[], Any]]


def main() -> None:
    torch.set_num_threads(1)
    if len(sys.argv) == 4 and sys.argv[1] == "peak":
        print(_peak(CASES[sys.argv[2]]()[sys.argv[3]]))
        return
    rows = []
    for name, make in CASES.items():
        arms = make()
        timed = interleave(arms, rounds=5)
        memory = {arm: _in_a_process(name, arm) for arm in arms}
        rows.append({"case": name, "seconds": {arm: round(timed.median(arm), 5) for arm in arms}, "megabytes": memory})
        rows[-1]["aa_ratio"] = round(timed.aa_ratio, 3)
        print(json.dumps(rows[-1]), flush=True)
    processor = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].split("\n")[0]
    head = {"date": datetime.now(UTC).date().isoformat(), "torch": torch.__version__, "processor": processor}
    OUT.write_text(json.dumps(head)[:-1] + ', "rows": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n")


def _triplets(size: int, negative: str) -> Arms:
    g = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(size, 64, generator=g).requires_grad_(), torch.arange(size) // 4

    return {
        "matrix": lambda: triplet_matrix(rows, labels, negative).backward(),
        "kernels": lambda: triplet(rows, labels, negative=negative).loss.mean().backward(),
    }


def _bags() -> Arms:
    num, length, size, hashes = 4096, 20, 100_000, 2
    g = torch.Generator().manual_seed(0)
    table, target = torch.randn(size, 64, generator=g).requires_grad_(), torch.randn(num, 64, generator=g)
    values = (torch.rand(num * length, generator=g) ** 4 * 1e6).long() + 1
    offsets, which = torch.arange(num + 1) * length, torch.arange(num).repeat_interleave(length)

    def run(compute: Callable[[], Tensor]) -> Callable[[], None]:
        def both_ways() -> None:
            table.grad = None
            compute().backward(target)

        return both_ways

    def gathered() -> Tensor:
        return torch.zeros(num, 64).index_add(0, which, table[rows_of(values, hashes, size)].sum(1))

    ours = run(lambda: bag(table, values, offsets, num_hashes=hashes))
    return {
        "gathered": run(gathered),
        "embedding_bag": run(lambda: hashed_bags(table, values, offsets, hashes)),
        "kernels": ours,
    }


def _families(num: int, branching: int) -> Arms:
    """A tree of four levels: siblings' softmaxes, each beside products with who is whose and beside scattering."""
    segments = 1 + branching + branching**2 + branching**3
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(num, segments * branching, generator=g).requires_grad_()
    target, offsets = torch.randn(scores.shape, generator=g), torch.arange(segments + 1) * branching
    owner = torch.arange(segments).repeat_interleave(branching)

    def products() -> Tensor:
        member, apart = F.one_hot(owner).float(), shifted(scores, owner, segments)
        return apart - (apart.exp() @ member).log() @ member.T

    arms: dict[str, Callable[[], Tensor]] = {
        "products": products,
        "scattered": lambda: scattered_log_softmax(scores, owner, segments),
        "kernels": lambda: segment_log_softmax(scores, offsets),
    }
    return {
        arm: lambda compute=compute: torch.autograd.grad(compute(), scores, target) for arm, compute in arms.items()
    }


def _lists(num: int, k: int) -> Arms:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((num, 100, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    scores, valid = -np.sort(-random.random((num, 100)), axis=1), np.ones((num, 100), dtype=bool)
    tensors = torch.from_numpy(vectors), torch.from_numpy(scores)
    repeats = max(1, 64 // num)  # long enough for the clock

    def ours() -> None:
        with torch.inference_mode():
            for _ in range(repeats):
                topk_mmr(*tensors, k, lam=0.3)

    return {"numpy": lambda: [mmr(scores, vectors, valid, k, 0.3) for _ in range(repeats)], "kernels": ours}


CASES: dict[str, Callable[[], Arms]] = {
    "triplets hard 8192x64": lambda: _triplets(8192, "hard"),
    "triplets semihard 8192x64": lambda: _triplets(8192, "semihard"),
    "bags 4096x20 of 100000x64, 2 hashes": _bags,
    "64 times 1 list of 100x64, k 10": lambda: _lists(1, 10),
    "64 times 1 list of 100x64, k 50": lambda: _lists(1, 50),
    "64 lists of 100x64, k 10": lambda: _lists(64, 10),
    "64 lists of 100x64, k 50": lambda: _lists(64, 50),
    "siblings of 340 topics, 1024 rows": lambda: _families(1024, 4),
    "siblings of 11110 topics, 256 rows": lambda: _families(256, 10),
}


def _in_a_process(name: str, arm: str) -> int:
    command = [sys.executable, "-m", "bench.kernels_ops", "peak", name, arm]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _peak(run: Callable[[], Any]) -> int:
    """Megabytes by which the process grows beyond what it holds before, at its largest."""
    _import_what_comes_late()
    before = _largest()
    run()
    return (_largest() - before) // 1024


def _import_what_comes_late() -> None:
    """The first call of an operator makes torch import its compiler, 150 MB that no later call needs."""
    one = torch.ones(1, 1, requires_grad=True)
    triplet(one, torch.zeros(1).long()).loss.sum().backward()


def _largest() -> int:
    """Kilobytes of this program at its largest; what getrusage tells is the parent's, where that was larger."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
