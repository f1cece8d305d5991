"""Rows in blocks whose scores with their columns stay in the cache."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.choose import rows_at_once
from kernels.pairwise.select import Pairs, Want, draws


def scan(pairs: Pairs, want: Want) -> tuple[Tensor, Tensor]:
    """Places [B] int64, -1 for none, and their scores [B]; the lowest place among equals."""
    rows = pairs.vectors.to(pairs.norms.dtype)
    place = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    found = torch.empty_like(pairs.norms)
    step = rows_at_once(len(rows))
    for start in range(0, len(rows), step):
        block = slice(start, min(start + step, len(rows)))
        columns = _columns(pairs, block)
        score = torch.addmm(pairs.norms[columns], rows[block], rows[columns].T, alpha=-2)  # [b, columns]
        key = _keys(pairs, want, block, columns, score)
        least, at = key.min(1)
        none = least.eq(_never(key))
        place[block] = (at + columns.start).masked_fill_(none, -1)
        found[block] = score.gather(1, at[:, None]).squeeze(1).masked_fill_(none, torch.nan)
    return place, found


def _columns(pairs: Pairs, block: slice) -> slice:
    if pairs.span is None:
        return slice(0, len(pairs.norms))
    return slice(int(pairs.span[0, block.start]), int(pairs.span[1, block.stop - 1]))


def _keys(pairs: Pairs, want: Want, block: slice, columns: slice, score: Tensor) -> Tensor:
    """[b, columns] of which the least is wanted."""
    same = pairs.kind[block, None].eq(pairs.kind[columns])
    out = ~same | pairs.item[block, None].eq(pairs.item[columns]) if want.same else same
    out |= ~(score < torch.inf)  # NaN isn't
    limit = None if want.limit is None else want.limit[block, None]
    if want.pick == "beyond" and limit is not None:
        # the bits of limit - score rise first with scores above the limit, from it on, then with those below, from it on
        key = (limit - score).view(torch.int64 if score.dtype == torch.float64 else torch.int32)
    elif want.pick == "random":
        key, out = (
            draws(pairs.draw[0, block, None], pairs.draw[1, columns]),
            out if limit is None else out | ~(score < limit),
        )
    else:
        key = -score if want.pick == "farthest" else score
    return key.masked_fill(out, _never(key))


def _never(key: Tensor) -> float:
    """A key that no pair has."""
    return torch.inf if key.is_floating_point() else torch.iinfo(key.dtype).max
