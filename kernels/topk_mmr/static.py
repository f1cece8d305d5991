"""The configurations of the greedy kernel that `make kernels` compiles: no matrix product, so no spill is the bar."""

from __future__ import annotations

from kernels.static import Bars, StaticCase
from kernels.topk_mmr.triton import greedy_kernel, launch_of


def _case(width: int, dim: int, dpp: bool, kind: str = "bf16") -> StaticCase:
    launch = launch_of(width, dim)
    numbers = {"value": "*fp32", "squares": "*fp32", "place": "*i32", "vectors": f"*{kind}", "lam": "fp32"}
    whole = dict.fromkeys(("width", "dim", "turns"), "i32")
    return StaticCase(
        name=f"{'dpp' if dpp else 'mmr'}-{kind}-n{width}-d{dim}",
        kernel=greedy_kernel,
        signature=numbers | whole | ({"factor": "*fp32"} if dpp else {}),
        constants={"DPP": dpp, "BN": launch["BN"], "BD": launch["BD"]} | ({} if dpp else {"factor": None}),
        warps=launch["num_warps"],
        stages=3,
        divisible=("dim",),
        bars=Bars(tensor_core=False),
    )


CASES = (
    *(_case(width, dim, dpp) for width in (128, 1024) for dim in (64, 128) for dpp in (False, True)),
    _case(8192, 128, False),
    _case(128, 64, True, "fp32"),
)
