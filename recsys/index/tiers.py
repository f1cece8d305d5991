"""The few items that a prior or a long vector lifts above all others are scored exactly: no list's centre tells of them.

Lists are visited by their means, so an item that stands far above its list is missed, and these are just the items
that a strong prior, or an inner product with uneven norms, wants found. Measured on user-like queries, inverted lists
fall from .80 to .26 of the true hundred as the prior's strength grows to .1 standard deviations; with the twentieth of
the items of highest prior in a tier of its own they never fall below what they find without a prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.index.engine import Engine
from recsys.index.exact import Hits, exact_search
from recsys.index.planner import best_of
from recsys.index.spec import Metric
from recsys.index.traits import Traits
from recsys.value import require

TIER_SHARE = 0.05
TIER_FILE = "tier.npy"


@dataclass(frozen=True, slots=True)
class Tier:
    """Items that are compared with every query beside those in the lists visited."""

    places: np.ndarray  # [t] int64, ascending
    rows: np.ndarray  # [t, D] float32
    always: bool  # else only where the prior has a weight

    @classmethod
    def of(cls, engine: Engine, metric: Metric, traits: Traits, norms: np.ndarray | None = None) -> Tier | None:
        """The items of highest prior and, for inner products, of largest norm [n]; None where nothing stands out."""
        long = metric == "inner_product"
        if engine.lists == 1 or (traits.prior is None and not long):
            return None
        chosen = [] if traits.prior is None else [_highest(traits.prior)]
        if long:
            require(norms is not None, "a tier of long vectors needs their norms")
            chosen.append(_highest(np.asarray(norms)))
        return cls._at(np.unique(np.concatenate(chosen)), engine, traits, long)

    @classmethod
    def _at(cls, places: np.ndarray, engine: Engine, traits: Traits, long: bool) -> Tier:
        rows = engine.rows(places)
        if traits.prior is not None:
            rows[:, -1] = traits.prior[places]  # an engine may keep it in a byte
        return cls(places, rows, long)

    def save(self, folder: Path) -> None:
        np.save(folder / TIER_FILE, self.places)

    @classmethod
    def load(cls, folder: Path, engine: Engine, metric: Metric, traits: Traits) -> Tier | None:
        path = folder / TIER_FILE
        if not path.is_file():
            return None
        return cls._at(np.load(path, allow_pickle=False), engine, traits, metric == "inner_product")

    def applies(self, weight: float) -> bool:
        return self.always or weight > 0

    def merged(self, hits: Hits, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> Hits:
        """The k best of an engine's hits and of the tier's own, for queries [B, D]; `allowed` is a mask over places."""
        mine = None if allowed is None else allowed[self.places]
        exact = exact_search(self.rows, self.places, queries, k, mine)
        at = np.minimum(np.searchsorted(self.places, hits.ids), len(self.places) - 1)
        twice = self.places[at] == hits.ids
        others = Hits(np.where(twice, -1, hits.ids), np.where(twice, -np.inf, hits.scores).astype(np.float32))
        return best_of([exact, others], k)


def _highest(values: np.ndarray) -> np.ndarray:
    """The places of the largest twentieth, the earlier of equals."""
    return np.argsort(-values, kind="stable")[: max(1, round(TIER_SHARE * len(values)))]
