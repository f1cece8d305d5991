"""The configurations of the bag's kernels that `make kernels` compiles: no matrix product, so no spill is the bar."""

from __future__ import annotations

from typing import Any

from kernels.bag.triton import STEP, join_kernel, launch_of, pieces_kernel, pool_kernel, shares_kernel
from kernels.static import Bars, StaticCase

TYPES = {
    "offsets": "*i64", "values": "*i64", "bag": "*i64", "held": "*i32", "first": "*i64", "last": "*i64",
    "weights": "*fp32", "factor": "*fp32", "parts": "*fp32", "total": "*fp32",
    "size": "i32", "dim": "i32", "count": "i32",
}  # fmt: skip


def _case(name: str, kernel: Any, dim: int, num_hashes: int, constants: dict[str, Any]) -> StaticCase:
    launch = launch_of(dim, num_hashes) | {"EMU": False, "STEP": STEP} | constants
    types = TYPES | {"table": "*bf16", "gradient": "*bf16"}
    return StaticCase(
        name=f"{name}-d{dim}",
        kernel=kernel,
        signature={arg: types[arg] for arg in kernel.arg_names if arg in types},
        constants={arg: launch[arg] for arg in kernel.arg_names if arg not in types},
        warps=launch["num_warps"],
        stages=3,
        divisible=("dim",),
        bars=Bars(tensor_core=False),
    )


CASES = tuple(
    case
    for dim in (64, 128)
    for case in (
        _case("pool-rows", pool_kernel, dim, 0, {"MEAN": False}),
        _case("pool-2hashes-mean", pool_kernel, dim, 2, {"MEAN": True}),
        _case("pieces", pieces_kernel, dim, 2, {}),
        _case("join", join_kernel, dim, 2, {}),
        _case("shares-2hashes", shares_kernel, dim, 2, {}),
    )
)
