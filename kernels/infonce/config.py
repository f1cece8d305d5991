"""How large a tile of logits is, and how many warps make it: defaults from the compiled code, and what is worth a trial."""

from __future__ import annotations

from dataclasses import dataclass

KERNELS = ("forward", "symmetric", "query", "vectors", "atomic")


@dataclass(frozen=True, slots=True)
class Tiles:
    """A program's tile of rows x columns; `stages` loads are on their way at once."""

    rows: int
    columns: int
    warps: int
    stages: int


def tiles(kernel: str, width: int, half: bool) -> Tiles:
    """The default of a kernel for embeddings padded to `width`, of 2 bytes each (`half`) or 4."""
    return DEFAULTS[half][kernel][max(64, width)]


DEFAULTS: dict[bool, dict[str, dict[int, Tiles]]] = {
    True: {
        "forward": {64: Tiles(128, 128, 8, 3), 128: Tiles(128, 128, 8, 3), 256: Tiles(128, 64, 8, 3)},
        "symmetric": {64: Tiles(128, 64, 4, 3), 128: Tiles(128, 64, 4, 3), 256: Tiles(128, 64, 8, 2)},
        "query": {64: Tiles(128, 128, 8, 3), 128: Tiles(128, 64, 8, 3), 256: Tiles(128, 32, 8, 2)},
        "vectors": {64: Tiles(64, 128, 8, 3), 128: Tiles(64, 128, 8, 3), 256: Tiles(32, 128, 8, 2)},
        "atomic": {64: Tiles(64, 128, 8, 2), 128: Tiles(64, 128, 8, 2), 256: Tiles(32, 128, 8, 2)},
    },
    False: {
        "forward": {64: Tiles(64, 64, 4, 2), 128: Tiles(64, 64, 4, 2), 256: Tiles(64, 32, 4, 2)},
        "symmetric": {64: Tiles(64, 64, 4, 2), 128: Tiles(64, 64, 4, 2), 256: Tiles(64, 32, 4, 2)},
        "query": {64: Tiles(64, 64, 4, 2), 128: Tiles(64, 32, 4, 2), 256: Tiles(64, 32, 8, 1)},
        "vectors": {64: Tiles(64, 64, 4, 2), 128: Tiles(32, 64, 4, 2), 256: Tiles(32, 64, 8, 1)},
        "atomic": {64: Tiles(64, 64, 4, 2), 128: Tiles(32, 64, 4, 2), 256: Tiles(32, 64, 8, 1)},
    },
}
