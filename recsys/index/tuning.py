"""How many lists must be visited is measured when the index is built, for every strength of the prior on its own."""

from __future__ import annotations

import numpy as np

from recsys.index.engine import Engine
from recsys.index.exact import exact_search
from recsys.index.inverted import InvertedEngine
from recsys.index.planner import Tuning, overlap
from recsys.index.spec import IndexSpec
from recsys.index.tiers import Tier

STRENGTHS = (0.0, 0.03, 0.06, 0.1, 0.15, 0.3)  # standard deviations of weight * prior, in mean |query| |item|
FEW = 256  # queries that are enough for the probes of a strength
UNSETTLED = 0.1  # share of the queries whose hits may change more than `settled` says when the probes double
DEPTH = 100


def tuned(
    engine: Engine, tier: Tier | None, vectors: np.ndarray, sample: np.ndarray, spec: IndexSpec, *, prior: bool
) -> Tuning:
    """Probes that reach the spec's recall on queries [Q, D'], where vectors [n, D'] hold a prior at every strength.

    Both are as the engine keeps vectors; the last coordinate of a query is then the prior's weight, and 0 in the sample.
    The engine's own probes become those without a weight.
    """
    if not isinstance(engine, InvertedEngine) or engine.lists == 1 or not len(sample):
        return Tuning()
    few = sample[:: -(-len(sample) // FEW)]
    probes: list[tuple[float, int]] = []
    if spec.probes is None:
        engine.probes = fewest_probes(engine, tier if tier and tier.always else None, vectors, sample, spec)
        if prior:
            probes.append((0.0, engine.probes))
            norm = float(np.linalg.norm(vectors[:, :-1], axis=1).mean())
            for weight in weights(vectors[:, -1], few[:, :-1], norm):
                weighted = few.copy()
                weighted[:, -1] = weight
                probes.append((weight, fewest_probes(engine, tier, vectors, weighted, spec)))
    return Tuning(tuple(probes), settled(engine, few))


def fewest_probes(engine: Engine, tier: Tier | None, vectors: np.ndarray, sample: np.ndarray, spec: IndexSpec) -> int:
    """The least number of lists, in steps of a quarter, with which the spec's recall is reached on queries [Q, D']."""
    k = min(DEPTH, len(vectors))
    truth = exact_search(vectors, np.arange(len(vectors)), sample, k, metric=spec.metric)
    probes = 1
    while probes < engine.lists:
        # without completion by a full scan: too few items in the visited lists count as missed
        hits = engine.search(sample, k, probes=probes)
        short = tier is not None and (hits.ids[:, -1] < 0).any()  # a tier makes up for that, but completing it is dear
        if (
            not short
            and (hits if tier is None else tier.merged(hits, sample, k, None)).recall(truth) >= spec.recall_target
        ):
            return probes
        probes = max(probes + 1, round(probes * 1.25))
    return engine.lists


def weights(prior: np.ndarray, sample: np.ndarray, norm: float) -> list[float]:
    """Weights above 0 at which a prior [n] is as strong as each of the strengths; none if it is constant.

    `sample` [Q, D] are queries, `norm` is the mean one of the vectors.
    """
    spread = float(prior.std())
    if spread == 0:
        return []
    scale = float(np.linalg.norm(sample, axis=1).mean()) * norm / spread
    return [strength * scale for strength in STRENGTHS if strength > 0]


def settled(engine: Engine, sample: np.ndarray) -> float:
    """The share of the hits that half of the probes find too, which all but few queries reach."""
    k = min(DEPTH, len(engine))
    before = engine.search(sample, k, probes=max(engine.probes // 2, 1))
    return float(np.quantile(overlap(before.ids, engine.search(sample, k).ids), UNSETTLED))
