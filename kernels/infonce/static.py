"""What `make kernels` compiles and judges of this op: every default for each width, and what tuning may choose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kernels.infonce.backward import query_kernel, vectors_kernel
from kernels.infonce.config import DEFAULTS, TRIALS, WIDTHS, Tiles
from kernels.infonce.forward import forward_kernel
from kernels.infonce.symmetric import symmetric_kernel
from kernels.static import ARCHS, Bars, StaticCase

FUNCTIONS = {
    "forward": forward_kernel,
    "symmetric": symmetric_kernel,
    "query": query_kernel,
    "vectors": vectors_kernel,
    "atomic": vectors_kernel,
}
EMBEDDINGS, CODES = ("QUERY", "VECTORS"), ("ROW", "CODE", "LOW", "HIGH")
KINDS = {
    "forward": ("full", "plain"),
    "symmetric": ("both",),
    "query": ("full", "plain", "both"),
    "vectors": ("full", "plain", "both"),
    "atomic": ("full",),
}
FULL, PLAIN = 11.0, 8.0  # instructions per logit-lane, with ids and log_q and without


def _case(kernel: str, width: int, size: Tiles, kind: str, half: bool, default: bool) -> StaticCase:
    """`kind` is "full" (log_q, ids), "plain" (neither) or "both" (full, and both directions)."""
    function, full = FUNCTIONS[kernel], kind != "plain"
    constants: dict[str, Any] = {
        "D": width,
        "BM": size.rows,
        "BN": size.columns,
        "BD": width,
        "CORRECTED": full,
        "NAMED": full,
        "SYMMETRIC": kind == "both",
        "ATOMIC": kernel == "atomic",
        "PRECISION": "ieee",
        "EMU": False,
    }
    constants = {name: given for name, given in constants.items() if name in function.arg_names}
    pointers = {name: "*fp32" for name in function.arg_names if name not in constants}
    pointers |= dict.fromkeys(EMBEDDINGS, "*bf16" if half else "*fp32")
    pointers |= {name: "*i32" for name in CODES if name in pointers}
    counted = half and width < 256 and kind != "both" and kernel != "atomic"
    bars = Bars(0 if width < 256 else 128, tensor_core=half, per_lane=(FULL if full else PLAIN) if counted else None)
    return StaticCase(
        name=f"{kernel}-d{width}-{kind}-{'bf16' if half else 'fp32'}-{size.rows}x{size.columns}x{size.warps}x{size.stages}",
        kernel=function,
        signature=pointers | {"B": "i32", "N": "i32"},
        constants=constants,
        warps=size.warps,
        stages=size.stages,
        logits=size.rows * size.columns,
        default=default,
        archs=ARCHS if default else (90,),
        bars=bars,
        peeled=True,
    )


def _cases() -> Iterator[StaticCase]:
    for half, table in DEFAULTS.items():
        for kernel, sizes in table.items():
            for width, size in zip(WIDTHS, sizes, strict=True):
                for kind in KINDS[kernel] if half else KINDS[kernel][:1]:
                    yield _case(kernel, width, size, kind, half, default=True)
    for kernel, sizes in TRIALS.items():
        for width, tried in zip(WIDTHS, sizes, strict=True):
            for size in tried:
                yield _case(kernel, width, size, "full", half=True, default=False)


CASES = tuple(_cases())
