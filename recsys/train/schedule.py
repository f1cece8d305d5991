"""Learning rates over a run."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, warmup_share: float, floor: float = 0.02) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to the floor (Loshchilov & Hutter, 2017)."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
