"""The configurations of the segments' kernels that `make kernels` compiles: no matrix product, so no spill is the bar."""

from __future__ import annotations

from typing import Any

from kernels.segments.triton import (
    launch_of,
    shares_backward_kernel,
    shares_kernel,
    sums_backward_kernel,
    sums_kernel,
)
from kernels.static import Bars, StaticCase

TYPES = {"offsets": "*i64", "total": "*fp32", "columns": "i32", "segments": "i32"}


def _case(name: str, kernel: Any, columns: int, segments: int, kind: str) -> StaticCase:
    launch = launch_of(columns, segments)
    types = TYPES | dict.fromkeys(("scores", "gradient", "shares", "found"), f"*{kind}")
    return StaticCase(
        name=f"{name}-{kind}-n{columns}-g{segments}",
        kernel=kernel,
        signature={arg: types[arg] for arg in kernel.arg_names if arg in types},
        constants={"BG": launch["BG"], "BW": launch["BW"]},
        warps=launch["num_warps"],
        stages=3,
        divisible=("columns",),
        bars=Bars(tensor_core=False),
    )


CASES = tuple(
    _case(name, kernel, columns, segments, kind)
    for columns, segments, kind in ((432, 106, "fp32"), (8192, 512, "bf16"), (65536, 16, "bf16"))
    for name, kernel in (
        ("sums", sums_kernel),
        ("sums-backward", sums_backward_kernel),
        ("shares", shares_kernel),
        ("shares-backward", shares_backward_kernel),
    )
)
