"""What a kernel costs can be read from its compiled code: registers, spills, tensor cores, instructions per logit.

Each op lists its configurations as CASES in `kernels/<op>/static.py`; `make kernels` compiles and judges them without a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ARCHS = (80, 90, 100)  # Ampere, Hopper, Blackwell: compute capability without the dot


@dataclass(frozen=True, slots=True)
class Bars:
    """What a default configuration has to reach; for an autotune configuration a miss is noted, no more."""

    stack: int = 0  # bytes a thread; 0 also forbids local loads and stores
    tensor_core: bool = True  # HMMA on sm_80, HGMMA on sm_90, UTC*MMA on sm_100
    per_lane: float | None = None  # instructions of the hot loop per logit and lane, on sm_90


@dataclass(frozen=True, slots=True)
class StaticCase:
    """One configuration of one kernel, as the launcher would specialise it."""

    name: str  # unique within the op, such as "forward-d64-ids"
    kernel: Any  # the @triton.jit function; of an autotuned one its `.fn`
    signature: Mapping[str, str]  # argument -> "*bf16", "*i64", "i32", "fp32"; not the constants
    constants: Mapping[str, Any]  # constexpr arguments
    warps: int
    stages: int
    divisible: tuple[str, ...] = ()  # integers divisible by 16, such as D; pointers always are
    logits: int | None = None  # logits that a program makes in a turn of its hot loop, BM * BN
    peeled: bool = False  # a second loop handles the few tiles that need masks: the shorter of them is the hot one
    default: bool = True  # False: a configuration that autotuning may choose
    archs: tuple[int, ...] = ARCHS
    bars: Bars = field(default_factory=Bars)

    def __post_init__(self) -> None:
        names = set(self.kernel.arg_names)
        given = {*self.signature, *self.constants}
        if names != given or set(self.signature) & set(self.constants):
            raise ValueError(
                f"case {self.name}: each argument of {self.kernel.__name__} must be in signature or in constants, once; "
                f"missing {sorted(names - given)}, unknown {sorted(given - names)}, "
                f"twice {sorted(set(self.signature) & set(self.constants))}"
            )

    def types(self) -> dict[str, str]:
        """Every argument in the kernel's order, as ASTSource takes them."""
        return {name: self.signature.get(name, "constexpr") for name in self.kernel.arg_names}

    def attributes(self) -> dict[tuple[int], list[list[Any]]]:
        """Without the divisibility that a launch finds out, loads are scalar and the figures mean nothing."""
        even = {*self.divisible, *(name for name, kind in self.signature.items() if kind.startswith("*"))}
        return {(i,): [["tt.divisibility", 16]] for i, name in enumerate(self.kernel.arg_names) if name in even}
