"""A triplet is chosen by two scans of all pairs: one among the anchor's kind, one among the others."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

POSITIVES = {"hard": "farthest", "easy": "nearest", "random": "random"}
NEGATIVES = {"hard": "nearest", "semihard": "beyond", "random": "random"}
METRICS = ("euclidean", "squared", "cosine")
GOLDEN = 0x9E3779B1  # 2^32 over the golden ratio: neighbouring numbers become far ones


@dataclass(frozen=True, slots=True)
class Rule:
    """How triplets are chosen."""

    metric: str
    positive: str
    negative: str
    margin: float | None
    seed: int

    def __post_init__(self) -> None:
        _one_of("metric", self.metric, METRICS)
        _one_of("positive", self.positive, tuple(POSITIVES))
        _one_of("negative", self.negative, tuple(NEGATIVES))
        if self.margin is not None and not 0 <= self.margin < torch.inf:
            raise ValueError(f"margin must be a finite number from 0 on, or None for the soft one, got {self.margin}")


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of rows. The score of (b, j) is the squared distance without what b alone adds: |x_j|^2 - 2 x_b . x_j."""

    vectors: Tensor  # [B, D]
    norms: Tensor  # [B] |x|^2, in float32 at least
    kind: Tensor  # [B] int32, equal where labels are
    item: Tensor  # [B] int32, equal where label and id are
    draw: Tensor  # [2, B] int32: what a row and what a column adds to the draw of a pair
    span: Tensor | None = (
        None  # [2, B] int32 where rows lie sorted by kind: the first of the row's kind, and one past the last
    )


@dataclass(frozen=True, slots=True)
class Want:
    """Whom a scan looks for, row by row: of the row's own kind, but another item; or of another kind.

    "nearest", "farthest", "random", the last only among scores below the limit; or "beyond": the nearest whose score is above
    the limit, and if there is none the farthest.
    """

    same: bool
    pick: str
    limit: Tensor | None = None  # [B]


Scan = Callable[[Pairs, Want], tuple[Tensor, Tensor]]


def select(vectors: Tensor, labels: Tensor, ids: Tensor | None, rule: Rule, impl: str) -> tuple[Tensor, Tensor]:
    """Places [B] of positives and negatives, -1 for none; where the positive is missing, so is the negative."""
    return torch.ops.pairwise.select(
        vectors, labels, ids, rule.metric, rule.positive, rule.negative, rule.margin, rule.seed, impl
    )


@torch.library.custom_op("pairwise::select", mutates_args=())
def _select(
    vectors: Tensor,
    labels: Tensor,
    ids: Tensor | None,
    metric: str,
    positive: str,
    negative: str,
    margin: float | None,
    seed: int,
    impl: str,
) -> tuple[Tensor, Tensor]:
    if not len(vectors):
        return torch.empty_like(labels), torch.empty_like(labels)
    scan = importlib.import_module(f"kernels.pairwise.{impl}").scan  # who stays on a CPU doesn't import triton
    pairs = _pairs(vectors, labels, ids, metric, seed)
    places, score = _own_kind(scan, pairs, POSITIVES[positive])
    limit = score if negative == "semihard" else None
    if negative == "random" and margin is not None:
        limit = _ceiling(score, pairs.norms, metric, margin)
    others = scan(pairs, Want(False, NEGATIVES[negative], limit))[0]
    return places, others.masked_fill_(places < 0, -1)


@_select.register_fake
def _(vectors, labels, ids, metric, positive, negative, margin, seed, impl):  # type: ignore[no-untyped-def]
    return torch.empty_like(labels), torch.empty_like(labels)


def _own_kind(scan: Scan, pairs: Pairs, pick: str) -> tuple[Tensor, Tensor]:
    """Sorted by kind, a row's positives lie side by side, and all the other columns needn't be looked at."""
    kind, order = pairs.kind.sort(stable=True)
    span = torch.stack([torch.searchsorted(kind, kind, right=right, out_int32=True) for right in (False, True)])
    ordered = Pairs(
        pairs.vectors[order],
        pairs.norms[order],
        kind,
        pairs.item[order],
        torch.stack([pairs.draw[0, order], pairs.draw[1, order]]),
        span,
    )
    found, score = scan(ordered, Want(True, pick))
    found = torch.where(found < 0, found, order[found.clamp(min=0)])
    return torch.empty_like(found).scatter_(0, order, found), torch.empty_like(score).scatter_(0, order, score)


def _pairs(vectors: Tensor, labels: Tensor, ids: Tensor | None, metric: str, seed: int) -> Pairs:
    if metric == "cosine":  # of unit vectors the squared distance is 2 - 2 cos
        vectors = torch.nn.functional.normalize(vectors, dim=1)
    full = vectors if vectors.dtype == torch.float64 else vectors.float()
    every = torch.arange(len(vectors), device=vectors.device)
    kind = _codes(labels)
    item = every.int() if ids is None else _codes(_codes(ids).long() * len(every) + kind)
    draw = torch.stack([_mix(every * GOLDEN + seed), _mix((every + len(every)) * GOLDEN + seed)])
    return Pairs(vectors.contiguous(), full.square().sum(1), kind, item, draw)


def _ceiling(score: Tensor, norms: Tensor, metric: str, margin: float) -> Tensor:
    """The score at which the loss becomes 0."""
    if metric == "euclidean":
        return ((score + norms).clamp(min=0).sqrt() + margin).square() - norms
    return score + (2 * margin if metric == "cosine" else margin)


def _codes(values: Tensor) -> Tensor:
    """[B] int32, equal where the int64 values are; without waiting for the device, as torch.unique would."""
    held, order = values.sort(stable=True)
    steps = torch.cat([held.new_zeros(1), (held[1:] != held[:-1]).long()]).cumsum(0)
    return torch.empty_like(steps).scatter_(0, order, steps).int()


def _mix(numbers: Tensor) -> Tensor:
    """murmur3's finaliser (Appleby 2011) of the low 32 bits, as int32."""
    mixed = numbers & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & 0xFFFFFFFF
    return (mixed ^ (mixed >> 16)).to(torch.int32)


def draws(row: Tensor, column: Tensor) -> Tensor:
    """Even keys in [0, 2^31), by which the least of any set of columns is any of them."""
    mixed = ((row.long() ^ column.long()) * 0x85EBCA6B) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 15)) * 0xC2B2AE35) & 0x7FFFFFFE


def score_of(pairs: Pairs, places: Tensor) -> Tensor:
    """[B] scores of chosen places; NaN for none."""
    rows, others = pairs.vectors.to(pairs.norms.dtype), places.clamp(min=0)
    score = pairs.norms[others] - 2 * (rows * rows[others]).sum(1)
    return score.masked_fill(places < 0, torch.nan)


def _one_of(name: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
