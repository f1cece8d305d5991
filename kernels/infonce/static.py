"""What `make kernels` compiles and judges of this op: every default for each width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kernels.infonce.backward import query_kernel, vectors_kernel
from kernels.infonce.config import DEFAULTS, FULL, WIDTHS, Tiles
from kernels.infonce.forward import forward_kernel
from kernels.static import Bars, StaticCase

FUNCTIONS = {
    "forward": forward_kernel,
    "query": query_kernel,
    "vectors": vectors_kernel,
    "atomic": vectors_kernel,
}
EMBEDDINGS = ("QUERY", "VECTORS")
PLACES = ("FIRST", "LAST", "LOW", "HIGH", "PLACE", "ROW_PLACE")
LIMITS = {"full": 11.0, "plain": 8.0}  # instructions per logit-lane: with log_q and ids, with neither
MOST_STACK = (0, 0, 128)  # by WIDTHS


def _case(kernel: str, width: int, size: Tiles, kind: str, arch: int, **others: Any) -> StaticCase:
    """`kind` is "full" (log_q; ids cost the loop nothing), "plain" (without) or "both" (full, and both directions)."""
    function, full, half = FUNCTIONS[kernel], kind != "plain", others.get("half", True)
    constants: dict[str, Any] = {
        "D": width,
        "BM": size.rows,
        "BN": size.columns,
        "BD": width,
        "CORRECTED": full,
        "SYMMETRIC": kind == "both",
        "ATOMIC": kernel == "atomic",
        "PRECISION": "ieee",
        "EMU": False,
    }
    constants = {name: given for name, given in constants.items() if name in function.arg_names}
    types = {name: "*fp32" for name in function.arg_names if name not in constants}
    types |= dict.fromkeys(EMBEDDINGS, "*bf16" if half else "*fp32")
    types |= {name: "*i32" for name in PLACES if name in types}
    counted = width < 256 and kernel in ("forward", "query", "vectors")
    tile = "x".join(map(str, (size.rows, size.columns, size.warps, size.stages)))
    return StaticCase(
        name=f"{kernel}-d{width}-{kind}-{tile}" + ("" if half else "-fp32") + f"-sm{arch}",
        kernel=function,
        signature=types | {"B": "i32", "N": "i32"},
        constants=constants,
        warps=size.warps,
        stages=size.stages,
        logits=size.rows * size.columns,
        peeled=True,
        default=others.get("default", True),
        archs=(arch,),
        bars=Bars(MOST_STACK[WIDTHS.index(width)], half, LIMITS.get(kind) if counted else None),
    )


def _cases() -> Iterator[StaticCase]:
    for arch, table in DEFAULTS.items():
        for name, sizes in table.items():
            kernel, _, both = name.partition("-")
            kinds = ("both",) if both else ("full",) if kernel == "atomic" else ("full", "plain")
            for width, size in zip(WIDTHS, sizes, strict=True):
                for kind in kinds:
                    yield _case(kernel, width, size, kind, arch)
    for kernel in ("forward", "query", "vectors"):
        yield _case(kernel, 64, FULL, "full", 90, half=False, default=False)


CASES = tuple(_cases())
