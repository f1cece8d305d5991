"""From scores to ranked lists: one block of users at a time, ties settled by item index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.batch import Jagged
from recsys.value import require

NOBODY = -1  # the id of an empty place in a ranked list
TABLE = 1 << 21  # places of the table that `marked` looks items up in

Scorer = Callable[[np.ndarray], "np.ndarray | Tensor"]  # users [b] int64 -> scores [b, V], larger is better


def top_k(scores: Tensor, k: int) -> Tensor:
    """The k items of highest score in each row, best first; equal scores stand in order of item index.

    scores [b, V] floating -> ids [b, k] int64. -inf marks what may not be offered; places beyond the last item that
    may be offered (so also k > V) hold -1. Raises ValueError on NaN among the best scores.
    """
    num_items = scores.shape[1]
    width = min(k, num_items)
    values, ids = scores.topk(min(width + 1, num_items), dim=1)
    require(not bool(values.isnan().any()), "a scorer gave NaN; scores must be numbers, -inf for what can't be offered")
    # topk cuts anywhere through equal scores: where the cut falls among them, the lowest indices are taken instead
    cut = (values[:, -1] == values[:, width - 1]) & (values[:, -1] > -torch.inf)
    rows = cut.nonzero()[:, 0]
    values, ids = values[:, :width], ids[:, :width]
    if width < num_items and len(rows):
        ids[rows] = _lowest_indices(scores[rows], values[rows])
    ids = ids.sort(dim=1).values
    values, order = scores.gather(1, ids).sort(dim=1, descending=True, stable=True)
    ranked = ids.gather(1, order).masked_fill(values == -torch.inf, NOBODY)
    return torch.nn.functional.pad(ranked, (0, k - width), value=NOBODY)


def _lowest_indices(scores: Tensor, values: Tensor) -> Tensor:
    """What beats the last value of each row [r, k], and the first items that equal it: [r, k] ids."""
    threshold = values[:, -1:]
    need = values.shape[1] - (values > threshold).sum(1, keepdim=True)
    equal = scores == threshold
    chosen = (scores > threshold) | (equal & (equal.cumsum(1) <= need))
    return chosen.nonzero()[:, 1].view(values.shape)


def score_block(scorer: Scorer, users: np.ndarray, offered: Tensor) -> Tensor:
    """A scorer's answer for a block of users, as a tensor of its own with -inf for items that are never offered.

    offered [V] bool. Raises ValueError when the answer isn't [b, V].
    """
    given = scorer(users)
    scores = torch.tensor(given) if isinstance(given, np.ndarray) else given.clone()
    expected = (len(users), len(offered))
    require(
        tuple(scores.shape) == expected,
        f"a scorer must answer {len(users)} users with scores of shape {expected}, got {tuple(scores.shape)}",
    )
    scores = scores if scores.is_floating_point() else scores.double()
    blocked = (~offered).nonzero()[:, 0].to(scores.device)
    return scores.index_fill_(1, blocked, -torch.inf)


def hide(scores: Tensor, hidden: Jagged) -> Tensor:
    """Scores [b, V] with -inf at each row's hidden items, changed in place."""
    scores[hidden.row.to(scores.device), hidden.values.to(scores.device)] = -torch.inf
    return scores


def part(rows: Jagged, start: int, stop: int) -> Jagged:
    """Rows start..stop of a jagged tensor."""
    offsets = rows.offsets[start : stop + 1]
    return Jagged(rows.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def marked(ranked: Tensor, rows: Jagged) -> Tensor:
    """Which places of the lists [U, K] hold one of the items of their row, [U, K] bool; -1 is never among them.

    A few users at a time share a table with a place for every item, small enough to stay in the cache: no sort and
    no search.
    """
    num_users, items, held = len(ranked), ranked.numpy(), rows.values.numpy()
    found = np.zeros(items.shape, dtype=bool)
    span = int(max(items.max(initial=-1), held.max(initial=-1))) + 2  # slot 0 of each user is for empty places
    step = max(1, TABLE // span)
    table = np.zeros(step * span, dtype=bool)
    base = np.arange(num_users) % step * span + 1
    asked = items + base[:, None]
    slots = held + np.repeat(base, rows.lengths.numpy())
    bounds = rows.offsets[np.minimum(np.arange(0, num_users + step, step), num_users)].tolist()
    for block, start in enumerate(range(0, num_users, step)):
        own = slots[bounds[block] : bounds[block + 1]]
        table[own] = True
        found[start : start + step] = table[asked[start : start + step]]
        table[own] = False
    return torch.from_numpy(found)


def contains(rows: Jagged, row: Tensor, values: Tensor) -> Tensor:
    """Whether values[i] is among the entries of row[i]; row and values [n] int64 -> [n] bool."""
    return find(rows, row, values) >= 0


def find(rows: Jagged, row: Tensor, values: Tensor) -> Tensor:
    """The place in `rows.values` of each value in its row, -1 where the row doesn't hold it; [n] int64."""
    if not len(rows.values) or not len(values):
        return torch.full_like(values, -1)
    span = int(torch.maximum(rows.values.max(), values.max())) + 1
    keys = rows.row * span + rows.values
    order = None
    if bool((keys[1:] < keys[:-1]).any()):
        keys, order = keys.sort(stable=True)
    asked = torch.where(values < 0, -1, row * span + values)
    place = torch.searchsorted(keys, asked).clamp_(max=len(keys) - 1)
    found = keys[place] == asked
    return torch.where(found, place if order is None else order[place], -1)


def without(ranked: Tensor, hidden: Jagged, k: int) -> Tensor:
    """Ranked lists [U, K] with each user's hidden items taken out and the rest moved up: [U, k] ids, -1 padded."""
    gone = marked(ranked, hidden) | (ranked < 0)
    order = gone.to(torch.int8).sort(dim=1, stable=True).indices
    kept = ranked.masked_fill(gone, NOBODY).gather(1, order)[:, :k]
    return torch.nn.functional.pad(kept, (0, k - kept.shape[1]), value=NOBODY)


@dataclass(frozen=True, slots=True)
class TiedRanks:
    """Where targets stand among all items when equal scores have no order: after `above`, among `tied` others."""

    above: Tensor  # [n] int64, items of strictly higher score
    tied: Tensor  # [n] int64, other items of equal score
    row: Tensor  # [n] int64, the user of each target
    num_users: int


def tied_ranks(scores: Tensor, targets: Jagged) -> TiedRanks:
    """Ranks of each row's targets in scores [b, V]; V log V work a row, so meant for metrics under heavy ties."""
    ordered = scores.sort(dim=1).values
    target, mask = targets.padded()
    wanted = scores.gather(1, target.to(scores.device)).contiguous()
    stop = torch.searchsorted(ordered, wanted, right=True).cpu()
    start = torch.searchsorted(ordered, wanted).cpu()
    return TiedRanks((scores.shape[1] - stop)[mask], (stop - start - 1)[mask], targets.row, len(targets))
