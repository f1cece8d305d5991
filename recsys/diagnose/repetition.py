"""Why a result list says the same thing again: five causes that call for five remedies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.diagnose.stages import COARSE_INDEX
from recsys.value import require, value

CAUSES = {
    "embedding_collapse": "the vectors' effective rank",
    COARSE_INDEX: "what exact search finds and the index doesn't",
    "popularity_bias": "what lists of different queries share",
    "near_duplicates": "twins within a list",
    "single_mode_query": "breadth of lists against breadth of clicks",
}
FIRST = ("embedding_collapse", COARSE_INDEX, "popularity_bias")  # each of them makes the signals after it, too
ROUNDS = 10  # of the detector's own clustering
CLUSTERS = 48
PLACES = 10  # of a list that users see
FEWEST = 4  # clicks of a query by which others are looked for
WIDE = 5  # lists' lengths looked at for distinct items


@dataclass(frozen=True)
class ServedLists(Part):
    """What retrieval found for some queries and what users were shown of it; -1 where a list is shorter."""

    vectors: Tensor  # [N, D] of the catalogue, norm 1
    queries: Tensor  # [Q, D] norm 1
    found: Tensor  # [Q, n] int64 places in vectors, best first
    shown: Tensor  # [Q, k] int64
    features: Tensor | None = None  # [N, F] what the items are encoded from, a row a vector

    def __post_init__(self) -> None:
        fits = self.features is None or len(self.features) == len(self.vectors)
        require(fits, f"features must have a row for each of the {len(self.vectors)} vectors")


@dataclass(frozen=True)
class ExactLists(Part):
    """The same queries searched again without an index."""

    found: Tensor  # [Q, n] int64


@dataclass(frozen=True)
class ClickedItems(Part):
    """What users clicked after these queries, reformulations in the same session included."""

    clicks: Tensor  # [Q, C] int64 places in vectors, -1 where there are fewer


@dataclass(frozen=True, slots=True)
class Signals:
    """Each near 0 where nothing is wrong, save effective_rank and recall, which fall."""

    alike: float  # share of shown items with a near-twin shown above them, the catalogue's mean taken out
    duplicates: float  # the same, of twins in what is encoded, too; NaN where nobody said what that is
    narrow: float  # nats by which clicks are spread over more clusters than as many distinct items shown
    effective_rank: float  # of the catalogue's vectors around their mean, which adds the same to all scores of a query
    missed: float  # share of what exact search finds that wasn't found
    shared: float  # share of a list that stands in another query's list too, less the same share of clicks
    products: float  # groups of near-twins in what was found: what any reranker has to choose from
    unreached: float  # share of clicks of whose cluster nothing was found
    interests: float  # clicks found by some other clicks of the query as several vectors, less those by its own vector


@value
class Repetition:
    """Names what makes lists repetitive, from the lists, a replay with exact search, and clicks.

    Each threshold lies midway between healthy and faulty settings of development seeds (docs/problems/p21.notes.md). Two
    signals don't convict by themselves, since sound systems of other problems show them: few directions may be all that
    there is to tell, so a collapse must also leave clicks `unreached`; and clicks are spread wherever users look at
    more than the vector holds, so a query's second meaning must be one that other clicks find (`interests`). Vectors
    alone can't tell listings of one product from items that the encoder confuses: twins must be twins in the items'
    features, too, and without features the detector asks for them. A geometric cause explains what follows from it, so
    the order is: collapse, then what the index missed, then what all queries share, then twins and narrowness by how
    far they are over their thresholds.
    """

    like: float = 0.95  # cosine of near-twins
    effective_rank: float = 7.0
    unreached: float = 0.15
    interests: float = 0.08
    missed: float = 0.3
    shared: float = 0.05
    duplicates: float = 0.12
    narrow: float = 0.32
    needs: ClassVar[tuple[type[Part], ...]] = (ServedLists,)
    causes: ClassVar[tuple[str, ...]] = tuple(CAUSES)

    def __call__(self, evidence: Evidence) -> Diagnosis:
        exact, clicked = evidence.find(ExactLists), evidence.find(ClickedItems)
        lists = evidence.get(ServedLists)
        seen = signals(lists, exact, clicked, self.like)
        rows, scores = self._rows(seen), self._scores(seen)
        over = {cause: score for cause, score in scores.items() if score > 1}
        first = next((cause for cause in FIRST if cause in over), None)
        cause = first or max(over, key=lambda name: over[name], default=HEALTHY)
        wanted = _experiment(cause, exact is None, clicked is None, lists.features is None)
        if wanted is not None:
            return Diagnosis(ABSTAIN, scores, rows, wanted)
        rejected = {name: f"{CAUSES[name]}: {_why(name, cause, over)}" for name in CAUSES if name != cause}
        return Diagnosis(cause, scores, rows, rejected=rejected)

    def _scores(self, seen: Signals) -> dict[str, float]:
        """Above 1 where a threshold is crossed; what wasn't measured is 0."""
        told = not seen.unreached <= self.unreached  # without clicks nobody knows
        several = seen.interests > self.interests
        twins_shown = seen.duplicates if seen.duplicates == seen.duplicates else seen.alike
        found = {
            "embedding_collapse": self.effective_rank / seen.effective_rank * told,
            COARSE_INDEX: seen.missed / self.missed,
            "popularity_bias": seen.shared / self.shared,
            "near_duplicates": twins_shown / self.duplicates,
            "single_mode_query": seen.narrow / self.narrow * several,
        }
        return {name: max(0.0, score) if score == score else 0.0 for name, score in found.items()}

    def _rows(self, seen: Signals) -> tuple[Row, ...]:
        return (
            Row("share of shown items with a twin above", seen.alike, self.duplicates, "below: no duplicates"),
            Row("of these, twins in what is encoded", seen.duplicates, self.duplicates, "above: near_duplicates"),
            Row("entropy of clicks less that of lists", seen.narrow, self.narrow, "above: single_mode_query"),
            Row(
                "effective rank of item vectors", seen.effective_rank, self.effective_rank, "below: embedding_collapse"
            ),
            Row("share of clicks in clusters not found", seen.unreached, self.unreached, "below: no collapse"),
            Row("clicks that other clicks find more of", seen.interests, self.interests, "below: one meaning"),
            Row("share of exact results missed", seen.missed, self.missed, f"above: {COARSE_INDEX}"),
            Row("share of a list found in another query's", seen.shared, self.shared, "above: popularity_bias"),
            Row("distinct products in what was found", seen.products, PLACES, "below: no reranker can fill a page"),
        )


def _experiment(cause: str, no_exact: bool, no_clicks: bool, no_features: bool) -> str | None:
    """What would decide between the cause and those that nobody measured."""
    if cause == "near_duplicates" and no_features:
        return "give the items' features: are these twins one product, or items that only the encoder makes alike?"
    if cause in (HEALTHY, "single_mode_query") and no_exact:
        return "search 200 of these queries again without an index: what it finds more widely, the index has missed"
    if cause == HEALTHY and no_clicks:
        return "log what users click after these queries and their reformulations: do they mean more than is listed?"
    return None


def _why(name: str, cause: str, over: Mapping[str, float]) -> str:
    return f"over its threshold, but {cause} explains it" if name in over else "within its threshold"


def signals(lists: ServedLists, exact: ExactLists | None, clicked: ClickedItems | None, like: float) -> Signals:
    centred = normalize(lists.vectors - lists.vectors.mean(0), dim=1)
    clicks = None if clicked is None else clicked.clicks
    alike = twins_above(centred, lists.shown, like)
    return Signals(
        alike=float(alike.any(2).double().mean()),
        duplicates=_duplicates(lists, alike, like),
        narrow=float("nan") if clicks is None else _narrow(centred, lists.found, clicks, like),
        effective_rank=effective_rank(lists.vectors - lists.vectors.mean(0)),
        missed=float("nan") if exact is None else _missed(lists.found, exact.found),
        shared=_shared(lists.shown) - (0.0 if clicks is None else _shared(clicks[:, : lists.shown.shape[1]])),
        products=float((~twins(centred, lists.found, like) & (lists.found >= 0)).double().sum(1).mean()),
        unreached=float("nan") if clicks is None else _unreached(centred, lists.found, clicks),
        interests=float("nan") if clicks is None else _interests(centred, lists, clicks, like),
    )


def _duplicates(lists: ServedLists, alike: Tensor, like: float) -> float:
    """Share of shown items with an earlier one whose vector is `alike` [Q, k, k] and whose features are twins, too."""
    if lists.features is None:
        return float("nan")
    features = lists.features.float()
    same = twins_above(normalize(features - features.mean(0), dim=1), lists.shown, like)
    return float((alike & same).any(2).double().mean())


def twins(vectors: Tensor, lists: Tensor, like: float) -> Tensor:
    """[Q, n] whether an earlier place of the list [Q, n] holds a vector as like as that."""
    return twins_above(vectors, lists, like).any(2)


def twins_above(vectors: Tensor, lists: Tensor, like: float) -> Tensor:
    """[Q, n, n] whether a later place of the list [Q, n], the first n, and an earlier one hold vectors as like as that."""
    held = vectors[lists.clamp(min=0)]
    earlier = torch.ones(lists.shape[1], lists.shape[1], dtype=torch.bool).tril(-1)
    there = lists >= 0
    return (held @ held.transpose(1, 2) > like) & earlier & there[:, None] & there[:, :, None]


def effective_rank(vectors: Tensor) -> float:
    """(sum of eigenvalues)^2 over the sum of their squares, of the second moments: D for a sphere, 1 for a line."""
    moments = (vectors.T @ vectors).double() / len(vectors)
    return float(moments.trace() ** 2 / moments.square().sum())


def clusters(vectors: Tensor, num: int) -> Tensor:
    """[N] int64 cluster of each vector by spherical k-means, started from vectors far from each other."""
    place, nearest, taken = 0, torch.full((len(vectors),), -torch.inf), []
    for _ in range(min(num, len(vectors))):
        taken.append(place)
        nearest = torch.maximum(nearest, vectors @ vectors[place])
        place = int(nearest.argmin())
    centres = vectors[taken]
    for _ in range(ROUNDS):
        label = (vectors @ centres.T).argmax(1)
        total = torch.zeros_like(centres).index_add_(0, label, vectors)
        centres = normalize(total, dim=1)
    return (vectors @ centres.T).argmax(1)


def _narrow(vectors: Tensor, found: Tensor, clicks: Tensor, like: float) -> float:
    """Entropy over clusters of clicks less that of as many found items, near-twins of both counted once."""
    label = clusters(vectors, CLUSTERS)
    gaps = []
    for row, again, clicked, twice in zip(
        found, twins(vectors, found, like), clicks, twins(vectors, clicks, like), strict=True
    ):
        wanted, listed = clicked[(clicked >= 0) & ~twice], row[(row >= 0) & ~again]
        num = min(len(wanted), len(listed), PLACES)
        gaps.append(_entropy(label[wanted[:num]]) - _entropy(label[listed[:num]]))
    return sum(gaps) / len(gaps)


def _unreached(vectors: Tensor, found: Tensor, clicks: Tensor) -> float:
    label = clusters(vectors, CLUSTERS)
    shares = [
        float((~torch.isin(label[clicked[clicked >= 0]], label[row[row >= 0]])).double().mean())
        for row, clicked in zip(found, clicks, strict=True)
        if bool((clicked >= 0).any())
    ]
    return sum(shares) / len(shares) if shares else float("nan")


def _interests(vectors: Tensor, lists: ServedLists, clicks: Tensor, like: float) -> float:
    """Every second click is to be found among as many distinct items as a list has: by the other clicks, or the query.

    Vectors [N, D] are the catalogue's around their mean; NaN where no query has FEWEST clicks.
    """
    depth = lists.found.shape[1]
    wide = min(WIDE * depth, len(vectors))
    gains = []
    for query, clicked in zip(lists.queries, clicks, strict=True):
        clicked = clicked[clicked >= 0]
        if len(clicked) < FEWEST:
            continue
        asked, wanted = clicked[::2].unique(), vectors[clicked[1::2]]
        scores = (vectors @ vectors[asked].T).amax(1), lists.vectors @ query
        several, one = (_answered(vectors[held.topk(wide).indices], wanted, depth, like) for held in scores)
        gains.append(several - one)
    return sum(gains) / len(gains) if gains else float("nan")


def _answered(listed: Tensor, wanted: Tensor, depth: int, like: float) -> float:
    """Share of wanted [C, D] that have a near-twin among the first `depth` distinct of listed [n, D]."""
    again = twins(listed, torch.arange(len(listed))[None], like)[0]
    return float((wanted @ listed[~again][:depth].T > like).any(1).double().mean())


def _entropy(labels: Tensor) -> float:
    share = labels.bincount().double() / max(1, len(labels))
    return float(-torch.xlogy(share, share).sum())


def _missed(found: Tensor, exact: Tensor) -> float:
    hit = ((exact[:, :, None] == found[:, None]) & (exact >= 0)[:, :, None]).any(2).sum()
    return 1 - float(hit / (exact >= 0).sum())


def _shared(lists: Tensor) -> float:
    """Mean over pairs of queries of the share of one's items that the other has."""
    rows = torch.arange(len(lists))[:, None].expand_as(lists)
    there = lists >= 0
    held = torch.zeros(len(lists), int(lists.max()) + 1)
    held[rows[there], lists[there]] = 1.0
    common = held @ held.T
    size = held.sum(1)
    num = len(lists)
    return float((common.sum(1) - size).sum() / (size.sum() * (num - 1)))
