"""A mean over everything hides who pays: slices ask the same question of a part of users or items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.evaluate.heldout import HeldOut
from recsys.evaluate.ranks import contains


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice restricts which relevant items count; `never_bought` also takes the user's past out of the candidates.

    Users without a relevant item left have no value in it.
    """

    name: str
    keep: Tensor  # [n] bool, parallel to HeldOut.relevant.values
    hide_seen: bool

    def __and__(self, other: Slice) -> Slice:
        name = ",".join(part for part in (self.name, other.name) if part)
        return Slice(name, self.keep & other.keep, self.hide_seen or other.hide_seen)

    def metric(self, name: str, cutoff: int) -> str:
        """The full name of a metric in this slice, such as recall@20[tail]; without brackets for everything."""
        return f"{name}@{cutoff}[{self.name}]" if self.name else f"{name}@{cutoff}"


def everything(held: HeldOut) -> Slice:
    return Slice("", torch.ones_like(held.relevant.values, dtype=torch.bool), hide_seen=False)


def never_bought(held: HeldOut) -> Slice:
    """Items that the user takes for the first time, ranked among those that the user never took."""
    return Slice("never_bought", ~_bought_before(held), hide_seen=True)


def repeat(held: HeldOut) -> Slice:
    """Items that the user takes again, ranked among all."""
    return Slice("repeat", _bought_before(held), hide_seen=False)


def by_popularity(held: HeldOut, head: float = 0.5, mid: float = 0.8) -> tuple[Slice, Slice, Slice]:
    """Head: the fewest items that hold a share `head` of all past events; mid: the next up to `mid`; tail: the rest."""
    counts, order = held.train_counts.sort(descending=True, stable=True)
    share_before = torch.empty(held.num_items, dtype=torch.float64)
    share_before[order] = (counts.cumsum(0) - counts).double() / max(1, int(counts.sum()))
    share = share_before[held.relevant.values]
    parts = {"head": share < head, "mid": (share >= head) & (share < mid), "tail": share >= mid}
    first, second, third = (Slice(name, keep, hide_seen=False) for name, keep in parts.items())
    return first, second, third


def new_items(held: HeldOut, at_most: int = 0) -> Slice:
    """Items with at most so many events before the boundary."""
    return Slice("new_items", held.train_counts[held.relevant.values] <= at_most, hide_seen=False)


def new_users(held: HeldOut, at_most: int = 0) -> Slice:
    """Users with at most so many distinct items before the boundary."""
    return Slice("new_users", (held.seen.lengths <= at_most)[held.relevant.row], hide_seen=False)


def by_surface(held: HeldOut, names: tuple[str, ...]) -> tuple[Slice, ...]:
    """One slice for each surface; names[i] is the name of surface i."""
    return tuple(Slice(name, held.surface == i, hide_seen=False) for i, name in enumerate(names))


def standard(held: HeldOut) -> tuple[Slice, ...]:
    """Everything, never bought, repeat, head, mid, tail, new items, new users, and the tail of what is never bought."""
    head, mid, tail = by_popularity(held)
    fresh = never_bought(held)
    return (everything(held), fresh, repeat(held), head, mid, tail, new_items(held), new_users(held), fresh & tail)


def _bought_before(held: HeldOut) -> Tensor:
    return contains(held.seen, held.relevant.row, held.relevant.values)
