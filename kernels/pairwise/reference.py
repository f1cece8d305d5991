"""The plain truth: every difference of two rows, every pair, one row after another."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.pairwise.select import Pairs, Want, draws


def scan(pairs: Pairs, want: Want) -> tuple[Tensor, Tensor]:
    """Places [B] int64, -1 for none, and their scores [B]; the lowest place among equals."""
    rows = pairs.vectors.to(pairs.norms.dtype)
    place = torch.full((len(rows),), -1, dtype=torch.int64, device=rows.device)
    found = torch.full_like(pairs.norms, torch.nan)
    for row in range(len(rows)):
        score = (rows - rows[row]).square().sum(1) - pairs.norms[row]  # [B]
        same = pairs.kind == pairs.kind[row]
        fit = same & (pairs.item != pairs.item[row]) if want.same else ~same
        fit &= score < torch.inf  # NaN isn't
        pick = want.pick
        if pick == "random" and want.limit is not None:
            fit &= score < want.limit[row]
        if pick == "beyond":
            above = fit & (score > want.limit[row])  # type: ignore[index]
            pick, fit = ("nearest", above) if above.any() else ("farthest", fit)
        if fit.any():
            key = draws(pairs.draw[0, row], pairs.draw[1]).double() if pick == "random" else score
            key = -key if pick == "farthest" else key
            place[row] = torch.where(fit, key, torch.inf).argmin()
            found[row] = score[place[row]]
    return place, found
