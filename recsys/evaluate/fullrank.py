"""Full ranking: every method is asked for every user over the whole catalogue, in one pass of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.evaluate.compare import Bootstrap
from recsys.evaluate.heldout import HeldOut, keep_entries
from recsys.evaluate.metrics import METRICS, judge
from recsys.evaluate.ranks import NOBODY, Scorer, hide, marked, part, score_block, top_k
from recsys.evaluate.slices import Slice
from recsys.evaluate.spread import coverage, gini, popularity_lift, times_shown
from recsys.evaluate.table import Table
from recsys.value import require, value


@dataclass(frozen=True, slots=True)
class Lists:
    """Ranked lists of a method, best first, -1 in empty places: among everything, and among what the user never took.

    A method that ranks candidates by itself, such as the funnel, gives both; `ranks.without` makes the second from a
    longer first.
    """

    everything: Tensor  # [U, K] int64
    unseen: Tensor  # [U, K] int64

    def checked(self, held: HeldOut, name: str) -> Lists:
        """Raises ValueError for a wrong shape, an unknown or repeated item, or an item of the past in `unseen`."""
        for ranked in (self.everything, self.unseen):
            _check_list(ranked, held, name)
        past = marked(self.unseen, held.seen).nonzero()
        require(
            not len(past),
            f"{name}: a list of never-bought items holds items of the user's past, first for row "
            f"{int(past[0, 0]) if len(past) else NOBODY}: use ranks.without",
        )
        return self


@value
class FullRanking:
    """What is measured, on how deep a list, and how sure we are."""

    cutoffs: tuple[int, ...] = (20,)
    metrics: tuple[str, ...] = ("recall", "ndcg", "mrr", "map", "hit")
    block: int = 256  # users whose scores are held at a time
    bootstrap: Bootstrap = Bootstrap()

    def __post_init__(self) -> None:
        require(bool(self.cutoffs) and min(self.cutoffs) >= 1, f"cutoffs must be positive, got {self.cutoffs}")
        unknown = sorted(set(self.metrics) - set(METRICS))
        require(not unknown, f"unknown metrics {unknown}; known: {sorted(METRICS)}")
        require(self.block >= 1, f"block must be at least 1, got {self.block}")

    @property
    def depth(self) -> int:
        return max(self.cutoffs)


def evaluate(methods: Mapping[str, Scorer | Lists], held: HeldOut, slices: Sequence[Slice], spec: FullRanking) -> Table:
    """Per-user values of every metric, cutoff and slice for every method, with means and intervals.

    Memory: two lists of depth K a user, and scores of `spec.block` users.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    whole: dict[str, dict[str, float]] = {}
    for name, method in methods.items():
        lists = method.checked(held, name) if isinstance(method, Lists) else rank(method, held, spec)
        found[name] = measure(lists, held, slices, spec)
        whole[name] = _spread(lists, held, spec)
    return Table.of(found, whole, spec.bootstrap)


def rank(scorer: Scorer, held: HeldOut, spec: FullRanking) -> Lists:
    """Both lists of every user from one scoring of the catalogue, ties settled by item index."""
    everything, unseen = [], []
    for start in range(0, len(held.users), spec.block):
        users = held.users[start : start + spec.block]
        scores = score_block(scorer, users, held.offered)
        everything.append(top_k(scores, spec.depth).cpu())
        unseen.append(top_k(hide(scores, part(held.seen, start, start + len(users))), spec.depth).cpu())
    empty = torch.zeros((0, spec.depth), dtype=torch.int64)
    return Lists(torch.cat([empty, *everything]), torch.cat([empty, *unseen]))


def measure(lists: Lists, held: HeldOut, slices: Sequence[Slice], spec: FullRanking) -> dict[str, np.ndarray]:
    """Full metric name -> values [U] float64, NaN for users without a positive in the slice."""
    found = {}
    for cut in slices:
        ranked = lists.unseen if cut.hide_seen else lists.everything
        judged = judge(ranked, keep_entries(held.relevant, cut.keep))
        for metric in spec.metrics:
            for k in spec.cutoffs:
                found[cut.metric(metric, k)] = METRICS[metric](judged, k).numpy()
    for k in spec.cutoffs:
        found[f"popularity_lift@{k}"] = popularity_lift(lists.everything, held.train_counts, k).numpy()
    return found


def _spread(lists: Lists, held: HeldOut, spec: FullRanking) -> dict[str, float]:
    found = {}
    for k in spec.cutoffs:
        shown = times_shown(lists.everything, held.num_items, k)
        found[f"coverage@{k}"] = coverage(shown, held.offered)
        found[f"gini@{k}"] = gini(shown, held.offered)
    return found


def _check_list(ranked: Tensor, held: HeldOut, name: str) -> None:
    require(
        ranked.ndim == 2 and len(ranked) == len(held.users),
        f"{name}: ranked lists of shape {tuple(ranked.shape)} for {len(held.users)} users",
    )
    low, high = (int(ranked.min()), int(ranked.max())) if ranked.numel() else (0, 0)
    require(low >= -1 and high < held.num_items, f"{name}: item {low if low < -1 else high} of {held.num_items} items")
    ordered = ranked.sort(dim=1).values
    again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    require(not bool(again.any()), f"{name}: a ranked list names an item twice")
