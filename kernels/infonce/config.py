"""How large a tile of logits is and how many warps make it: chosen by the compiled code; what a trial may find better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tiles:
    """A program's tile of rows x columns; `stages` loads are on their way at once."""

    rows: int
    columns: int
    warps: int
    stages: int


WIDTHS = (64, 128, 256)
DEFAULTS: dict[bool, dict[str, tuple[Tiles, ...]]] = {  # numbers of 2 bytes or not -> kernel -> by WIDTHS
    True: {
        "forward": (Tiles(128, 64, 4, 3), Tiles(128, 128, 8, 3), Tiles(128, 128, 8, 2)),
        "symmetric": (Tiles(256, 32, 4, 3), Tiles(256, 32, 4, 2), Tiles(128, 64, 8, 2)),
        "query": (Tiles(128, 64, 4, 3), Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2)),
        "vectors": (Tiles(64, 128, 4, 3), Tiles(64, 128, 8, 3), Tiles(64, 128, 8, 2)),
        "atomic": (Tiles(64, 128, 8, 3), Tiles(64, 128, 8, 2), Tiles(32, 128, 8, 2)),
    },
    False: {
        "forward": (Tiles(64, 64, 8, 2), Tiles(64, 64, 8, 2), Tiles(64, 32, 8, 2)),
        "symmetric": (Tiles(64, 32, 8, 2), Tiles(64, 32, 8, 2), Tiles(64, 32, 8, 2)),
        "query": (Tiles(64, 32, 8, 2), Tiles(64, 32, 8, 2), Tiles(64, 32, 8, 2)),
        "vectors": (Tiles(32, 64, 8, 2), Tiles(32, 64, 8, 2), Tiles(32, 64, 8, 2)),
        "atomic": (Tiles(32, 64, 8, 2), Tiles(32, 64, 8, 2), Tiles(32, 64, 8, 1)),
    },
}
TRIALS: dict[str, tuple[tuple[Tiles, ...], ...]] = {  # of 2 bytes: kernel -> by WIDTHS, what `make gpu` tries beside
    "forward": (
        (Tiles(128, 128, 8, 3), Tiles(64, 128, 4, 3)),
        (Tiles(128, 64, 4, 3), Tiles(64, 128, 4, 2)),
        (Tiles(128, 64, 8, 3),),
    ),
    "query": (
        (Tiles(128, 128, 8, 3), Tiles(64, 64, 4, 3)),
        (Tiles(128, 128, 8, 3), Tiles(64, 64, 4, 3)),
        (Tiles(64, 64, 4, 2),),
    ),
    "vectors": (
        (Tiles(128, 128, 8, 3), Tiles(64, 64, 4, 3)),
        (Tiles(128, 128, 8, 2), Tiles(64, 64, 4, 3)),
        (Tiles(64, 64, 4, 2),),
    ),
}


def tiles(kernel: str, width: int, half: bool) -> Tiles:
    """The default of a kernel for embeddings of up to `width` numbers, of 2 bytes each (`half`) or 4."""
    return DEFAULTS[half][kernel][sum(width > other for other in WIDTHS)]
