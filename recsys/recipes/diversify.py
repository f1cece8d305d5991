"""What a query is shown: retrieved by one vector or several, from listings or products, and put in order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.stages import IndexAudit
from recsys.evaluate.diversity import (
    alpha_dcg,
    best_alpha_dcg,
    best_alpha_list,
    covered,
    intra_list_distance,
    unique_share,
)
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.recipe import Metrics
from recsys.recipes.common_evidence import served_parts, vector_parts
from recsys.rerank.canonical import Canonicaliser
from recsys.rerank.interests import Interests
from recsys.rerank.pool import Pool, Reranker
from recsys.value import value
from recsys.worlds.catalogue import CatalogueLogs
from recsys.worlds.truth_catalogue import CatalogueTruth
from recsys.worlds.world import World

SAME = 0.95  # cosine above which a listing shown answers a click on another listing


@dataclass(frozen=True, slots=True)
class Served:
    """Lists of every query, and what they were made of."""

    pool: Pool
    shown: Tensor  # [Q, k] listings, -1 where there is none
    groups: Tensor  # [N] representative of each listing
    index: VectorIndex
    multiply_adds: float  # of a request
    validation: float


@value
class Diversify:
    """`depth` candidates a query, from an index of listings or of one listing a product, reranked to `k`."""

    world: World
    rerank: Reranker
    canonical: Canonicaliser | None = None
    interests: Interests | None = None  # None: the query's own vector
    depth: int = 100
    k: int = 10
    lists: int = 64  # of the index
    probes: int | None = None  # lists that a query visits; None: few that find what exact search finds
    ceiling: bool = False

    def fit(self, logs: CatalogueLogs, seed: int) -> Served:
        del seed  # nothing is drawn
        whole = self._index(logs.listings, torch.arange(len(logs.listings)), logs.queries)
        groups = torch.arange(len(logs.listings)) if self.canonical is None else self.canonical(logs.listings, whole)
        index = whole if self.canonical is None else self._index(logs.listings, groups.unique(), logs.queries)
        pool = self._pool(index, logs)
        place = self.rerank(pool, self.k)
        shown = pool.ids.gather(1, place.clamp(min=0)).masked_fill(place < 0, -1)
        dim, searches = logs.listings.shape[1], pool.shares.shape[1]
        spent = searches * index.products_a_query * dim + self.rerank.multiply_adds(pool, self.k)
        return Served(pool, shown, groups, index, spent, _answered(shown, logs))

    def evaluate(self, fitted: Served, logs: CatalogueLogs, truth: CatalogueTruth) -> Metrics:
        aspect = truth.aspect[truth.product]  # [N]
        shown = _best_lists(truth, self.k) if self.ceiling else fitted.shown
        there = shown >= 0
        products, aspects = (_labels(held, shown) for held in (truth.product, aspect))
        gains = truth.weight.gather(1, aspects.clamp(min=0)) * truth.quality[products.clamp(min=0)] * there
        best = best_alpha_dcg(truth.weight[:, truth.aspect] * truth.quality, truth.aspect, self.k)
        pooled = _labels(truth.product, fitted.pool.ids.masked_fill(~fitted.pool.valid, -1))
        return {
            f"alpha_ndcg@{self.k}": float((alpha_dcg(gains, aspects, products) / best).mean()),
            f"unique@{self.k}": float(unique_share(products).mean()),
            f"aspect_mass@{self.k}": float(covered(aspects, truth.weight).mean()),
            f"gain@{self.k}": float(gains.mean()),
            f"ild@{self.k}": float(intra_list_distance(logs.listings[shown.clamp(min=0)]).mean()),
            "filled": float(there.double().mean()),
            "pool_products": float(unique_share(pooled).mean() * pooled.shape[1]),
            "purity": _purity(fitted.groups, truth.product),
            "recall@100": _recall(fitted, logs),
            "multiply_adds": fitted.multiply_adds,
            "validation": fitted.validation,
        }

    def evidence(self, fitted: Served, logs: CatalogueLogs, seed: int) -> Evidence:
        del seed
        exact = self._pool(self._index(logs.listings, fitted.groups.unique(), logs.queries, exact=True), logs)
        lists = fitted.pool.ids, exact.ids, fitted.shown
        return Evidence.of(
            IndexAudit(logs.listings, logs.listings, fitted.pool.ids, exact.ids),
            *vector_parts(logs.listings),
            *served_parts((logs.listings, logs.queries), lists, logs.clicks, logs.content),
        )

    def _index(self, listings: Tensor, ids: Tensor, queries: Tensor, exact: bool = False) -> VectorIndex:
        spec = IndexSpec(kind="flat" if exact else "ivf", lists=self.lists, probes=self.probes)
        return VectorIndex.build(listings[ids].numpy(), ids.numpy(), spec, queries.numpy())

    def _pool(self, index: VectorIndex, logs: CatalogueLogs) -> Pool:
        """Depth is shared out among the interests; what two of them bring counts once, for the one that it's nearer to."""
        if self.interests is None:
            vectors, shares = logs.queries[:, None], torch.ones(len(logs.queries), 1)
        else:
            vectors, shares = self.interests(logs.listings[_history(logs.clicks)])
        num, width, dim = vectors.shape
        found = index.search(normalize(vectors, dim=2).reshape(-1, dim).numpy(), self.depth // width)
        ids, scores = (torch.as_tensor(held).view(num, -1) for held in (found.ids, found.scores))
        scores = scores.masked_fill(ids < 0, -torch.inf)
        order = scores.sort(dim=1, descending=True, stable=True).indices
        source = torch.arange(width).repeat_interleave(ids.shape[1] // width).expand(num, -1)
        ids, scores, source = (held.gather(1, order) for held in (ids, scores, source))
        earlier = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril(-1)
        again = ((ids[:, :, None] == ids[:, None]) & earlier).any(2)
        held = logs.listings[ids.clamp(min=0)]
        cells = torch.as_tensor(index.cells(logs.listings.numpy()))[ids.clamp(min=0)]
        return Pool(ids, scores.masked_fill(again, -torch.inf), held, cells, source, vectors, shares)


def _history(clicks: Tensor) -> Tensor:
    return clicks[:, : clicks.shape[1] // 2]


def _answered(shown: Tensor, logs: CatalogueLogs) -> float:
    """Share of the clicks that interests weren't made of, for which a like listing is shown: a score without truth."""
    wanted = logs.listings[logs.clicks[:, logs.clicks.shape[1] // 2 :]]
    like = wanted @ logs.listings[shown.clamp(min=0)].transpose(1, 2) > SAME  # [Q, C, k]
    return float((like & (shown >= 0)[:, None]).any(2).double().mean())


def _labels(of: Tensor, ids: Tensor) -> Tensor:
    return of[ids.clamp(min=0)].masked_fill(ids < 0, -1)


def _recall(fitted: Served, logs: CatalogueLogs) -> float:
    """Of what exact search over the same index's vectors finds with the query's own vector."""
    index, k = fitted.index, min(100, len(fitted.index))
    flat = VectorIndex.build(logs.listings[index.ids].numpy(), index.ids, IndexSpec(kind="flat"))
    return index.search(logs.queries.numpy(), k).recall(flat.search(logs.queries.numpy(), k))


def _purity(groups: Tensor, product: Tensor) -> float:
    """Share of listings that belong to the commonest product of their group."""
    _, group = groups.unique(return_inverse=True)
    pairs, counts = torch.stack([group, product]).unique(dim=1, return_counts=True)
    most = torch.zeros(int(group.max()) + 1, dtype=torch.int64).scatter_reduce(0, pairs[0], counts, "amax")
    return float(most.sum() / len(groups))


def _best_lists(truth: CatalogueTruth, k: int) -> Tensor:
    """[Q, k] a listing of each product of the best list."""
    _, best = best_alpha_list(truth.weight[:, truth.aspect] * truth.quality, truth.aspect, k)
    listing = torch.searchsorted(truth.product, torch.arange(len(truth.aspect)))  # listings stand in order of products
    return listing[best]
