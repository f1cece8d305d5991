"""The configurations of the scan that `make kernels` compiles."""

from __future__ import annotations

from kernels.pairwise.triton import PICKS, launch_of, scan_kernel
from kernels.static import ARCHS, Bars, StaticCase

WORDS = dict.fromkeys(("kind", "item", "draw", "place"), "*i32") | {"size": "i32", "dim": "i32"}


def _case(dim: int, kind: str, pick: str, of: str, bars: Bars, archs: tuple[int, ...] = ARCHS) -> StaticCase:
    """`of` the anchor's own kind, of others, or of others within a limit; archs that get the same launch."""
    launch = launch_of(dim, 2 if kind == "bf16" else 4, pick, archs[-1])
    warps, stages = launch.pop("num_warps"), launch.pop("num_stages")
    signature = WORDS | {"vectors": f"*{kind}", "norms": "*fp32", "found": "*fp32"}
    optional = {"span": "*i32" if of == "own" else None, "limit": "*fp32" if of == "limited" else None}
    return StaticCase(
        name=f"{pick}-{of}-{kind}-d{dim}" + (f"-sm{archs[-1]}" if archs != ARCHS else ""),
        kernel=scan_kernel,
        signature=signature | {name: type_ for name, type_ in optional.items() if type_},
        constants={"SAME": of == "own", "PICK": PICKS[pick], "EMU": False, **launch}
        | {name: None for name, type_ in optional.items() if not type_},
        warps=warps,
        stages=stages,
        divisible=("dim",),
        logits=launch["BM"] * launch["BN"],
        archs=archs,
        bars=bars,
    )


# the scan of the own kind is short, whatever its loop takes; a draw costs a hash of six instructions
CASES = (
    *(_case(dim, "bf16", "farthest", "own", Bars()) for dim in (64, 128)),
    *(_case(dim, "bf16", "nearest", "others", Bars(per_lane=11)) for dim in (64, 128)),
    *(_case(dim, "bf16", "beyond", "limited", Bars(per_lane=11)) for dim in (64, 128)),
    *(_case(dim, "bf16", "random", "limited", Bars(per_lane=20)) for dim in (64, 128)),
    _case(256, "bf16", "random", "limited", Bars(stack=128)),
    *(_case(dim, "bf16", "nearest", "others", Bars(stack=128)) for dim in (256, 768)),
    _case(64, "fp32", "nearest", "others", Bars()),
    *(_case(dim, "fp32", "nearest", "others", Bars(), (90, 100)) for dim in (128, 768)),
    *(_case(dim, "fp32", "nearest", "others", Bars(), (80,)) for dim in (128, 768)),
)
