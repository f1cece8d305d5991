"""What a GPU can do, as measured on it, and how long something takes there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from statistics import median
from typing import Any

import torch

SECONDS_EACH = 1.5


def timed(run: Callable[[], Any], seconds: float = SECONDS_EACH) -> tuple[float, int]:
    """Median seconds of a run by the device's own clock, and the most bytes it holds beside what is there before."""
    run()  # compiles
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, begin, taken = torch.cuda.memory_allocated(), time.perf_counter(), []
    while not taken or time.perf_counter() - begin < seconds:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        taken.append(start.elapsed_time(stop) / 1e3)
    return median(taken), torch.cuda.max_memory_allocated() - before


def limits() -> dict[str, Any]:
    """bfloat16 products and copied bytes as measured here, instructions as clock and schedulers allow.

    Exits with status 2 where there is no CUDA device.
    """
    if not torch.cuda.is_available():
        told = "no CUDA device: `make gpu` measures on one; `make kernels` judges the compiled code without"
        print(told, file=sys.stderr)
        sys.exit(2)
    properties = torch.cuda.get_device_properties(0)
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product, _ = timed(lambda: torch.mm(a, b), 0.5)
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    copy, _ = timed(lambda: target.copy_(source), 0.5)
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    clock = float(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()[0]) * 1e6
    return {
        "name": properties.name,
        "date": datetime.now(UTC).date().isoformat(),
        "bytes": properties.total_memory,
        "flops": 2 * 8192**3 / product,
        "bytes_per_second": 2 * source.nbytes / copy,
        "lane_instructions": properties.multi_processor_count * 4 * 32 * clock,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": metadata.version("triton"),
    }
