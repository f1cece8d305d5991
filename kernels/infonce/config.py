"""How large a tile of logits is and how many warps make it: by the compiled code, and by `python -m bench.tiles` on an H100."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tiles:
    """A program's tile of rows x columns; `stages` loads are on their way at once."""

    rows: int
    columns: int
    warps: int
    stages: int


Sizes = tuple[Tiles, Tiles, Tiles]  # by WIDTHS

WIDTHS = (64, 128, 256)
FULL = Tiles(32, 32, 4, 2)  # for float32, which is there to compare with: chunks are the faster way
# of 2-byte numbers: architecture -> kernel; 90 as measured, others as compiled; "both" is for both directions
DEFAULTS: dict[int, dict[str, Sizes]] = {
    80: {
        "forward": (Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2)),
        "query": (Tiles(128, 64, 8, 3), Tiles(64, 128, 8, 3), Tiles(64, 64, 8, 2)),
        "query-both": (Tiles(64, 64, 8, 2), Tiles(64, 64, 8, 2), Tiles(64, 32, 8, 2)),
        "vectors": (Tiles(64, 128, 8, 3), Tiles(128, 64, 8, 2), Tiles(64, 64, 8, 2)),
        "vectors-both": (Tiles(64, 64, 8, 2), Tiles(64, 64, 8, 2), Tiles(32, 64, 8, 2)),
        "atomic": (Tiles(64, 64, 8, 2), Tiles(32, 64, 4, 2), Tiles(32, 64, 8, 1)),
    },
    90: {
        "forward": (Tiles(64, 128, 4, 2), Tiles(128, 128, 4, 2), Tiles(128, 32, 8, 3)),
        "query": (Tiles(64, 64, 4, 3), Tiles(64, 128, 4, 3), Tiles(128, 64, 8, 3)),
        "query-both": (Tiles(64, 128, 4, 3), Tiles(64, 128, 4, 2), Tiles(128, 64, 8, 3)),
        "vectors": (Tiles(64, 128, 4, 3), Tiles(128, 64, 4, 2), Tiles(64, 128, 8, 3)),
        "vectors-both": (Tiles(128, 64, 4, 3), Tiles(64, 64, 4, 3), Tiles(64, 128, 8, 3)),
        "atomic": (Tiles(64, 128, 8, 3), Tiles(64, 128, 8, 2), Tiles(32, 128, 8, 2)),
    },
    100: {
        "forward": (Tiles(128, 64, 4, 3), Tiles(128, 128, 8, 3), Tiles(128, 64, 8, 2)),
        "query": (Tiles(64, 128, 4, 2), Tiles(64, 128, 4, 3), Tiles(64, 64, 4, 1)),
        "query-both": (Tiles(64, 64, 4, 1), Tiles(64, 64, 4, 1), Tiles(64, 64, 8, 1)),
        "vectors": (Tiles(64, 64, 4, 1), Tiles(64, 64, 4, 1), Tiles(64, 64, 8, 1)),
        "vectors-both": (Tiles(64, 64, 8, 1), Tiles(64, 64, 8, 1), Tiles(64, 64, 8, 1)),
        "atomic": (Tiles(64, 64, 4, 1), Tiles(64, 64, 4, 1), Tiles(64, 64, 8, 1)),
    },
}


def tiles(kernel: str, width: int, arch: int) -> Tiles:
    """The default of a kernel for embeddings of up to `width` 2-byte numbers on a compute capability such as 90.

    Consumer cards, 86, 89 and 120, have the tensor cores of 80 and less shared memory, which its tiles fit into.
    """
    known = arch if arch in DEFAULTS else 100 if 100 < arch < 120 else 80
    return DEFAULTS[known][kernel][sum(width > other for other in WIDTHS)]
