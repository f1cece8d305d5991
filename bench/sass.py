"""Compiled GPU code as text: what `nvdisasm -c` and `cuobjdump --dump-resource-usage` say, read without a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LABEL = re.compile(r"^\s*(\.L_x_\d+):")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")
TARGET = re.compile(r"`\((\.L_x_\d+)\)")
RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+)")
TENSOR_CORE = re.compile(r"^(HMMA|HGMMA|UTC\w*MMA)\b")
COUNTED = ("HMMA", "HGMMA", "UTCMMA", "LDGSTS", "UTMALDG", "LDL", "STL", "MUFU", "ATOMG", "REDG")


@dataclass(frozen=True, slots=True)
class Loop:
    """A stretch of code that ends in a jump back to its start."""

    start: int  # index of the first instruction
    stop: int  # one past the jump

    def __len__(self) -> int:
        return self.stop - self.start

    def inside(self, other: Loop) -> bool:
        return other.start <= self.start and self.stop <= other.stop and self != other


@dataclass(frozen=True, slots=True)
class Listing:
    """The instructions of a kernel in order, and its loops."""

    opcodes: tuple[str, ...]
    loops: tuple[Loop, ...]

    def counts(self) -> dict[str, int]:
        """How often the opcodes that matter occur; every UTC*MMA counts as UTCMMA."""
        found: dict[str, int] = dict.fromkeys(COUNTED, 0)
        for opcode in self.opcodes:
            family = re.sub(r"^UTC\w*MMA$", "UTCMMA", opcode.split(".")[0])
            if family in found:
                found[family] += 1
        return found

    def hot_loop(self, peeled: bool = False) -> Loop | None:
        """The longest of the innermost loops, the shortest if `peeled`; where tensor cores work in a loop, only such count."""
        busy = [loop for loop in self.loops if any(map(TENSOR_CORE.match, self.opcodes[loop.start : loop.stop]))]
        held = busy or self.loops
        innermost = [loop for loop in held if not any(other.inside(loop) for other in held)]
        return (min if peeled else max)(innermost, key=len, default=None)


def read_listing(text: str) -> Listing:
    """From `nvdisasm -c`. Raises ValueError where there is no instruction."""
    opcodes: list[str] = []
    labels: dict[str, int] = {}
    loops: list[Loop] = []
    for label, opcode, operands in _lines(text):
        if label:
            labels[label] = len(opcodes)
            continue
        opcodes.append(opcode)
        jump = TARGET.search(operands) if opcode.split(".")[0] == "BRA" else None
        if jump and len(opcodes) - labels.get(jump[1], len(opcodes)) > 1:  # a jump to itself ends every kernel
            loops.append(Loop(labels[jump[1]], len(opcodes)))
    if not opcodes:
        raise ValueError(f"no instruction in {text[:80]!r}; give the output of `nvdisasm -c` on a cubin")
    return Listing(tuple(opcodes), tuple(loops))


def read_resources(text: str) -> tuple[int, int]:
    """Registers and bytes of stack a thread, from cuobjdump. LOCAL stays 0 even where a kernel spills, so STACK it is."""
    found = RESOURCES.search(text)
    if not found:
        raise ValueError(f"no REG and STACK in {text[:200]!r}; give the output of `cuobjdump --dump-resource-usage`")
    return int(found[1]), int(found[2])


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """(label, "", "") or ("", opcode, operands)."""
    for line in text.splitlines():
        label = LABEL.match(line)
        if label:
            yield label[1], "", ""
            continue
        found = INSTRUCTION.match(line)
        if found:
            yield "", found[1], found[2]
