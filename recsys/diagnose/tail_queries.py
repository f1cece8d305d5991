"""Why queries that are seldom typed find nothing: five causes, each by the recall that it explains on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.value import require, value

IDS, VOCABULARY, COVERAGE, NEGATIVES, REPRESENTATION = (
    "id_memorisation", "vocabulary_undertrained", "item_coverage", "false_negatives", "representation",
)  # fmt: skip
FIRST = (COVERAGE, REPRESENTATION)


@dataclass(frozen=True)
class JudgedQueries(Part):
    """One row for each query of which people judged items; recall is among the first so many, the same for all columns."""

    typed: np.ndarray  # [Q] times that the training log holds the query, 0 for one that it doesn't know
    recall: np.ndarray  # [Q] of the model
    lexical: np.ndarray  # [Q] of BM25 over the same items
    rarest: np.ndarray  # [Q] clicks of the training log whose query has the query's rarest word
    relevant: np.ndarray  # [Q] items judged relevant
    covered: np.ndarray  # [Q] of these, items that were clicked at least once
    found_covered: np.ndarray  # [Q] of the covered, those in the list
    found_uncovered: np.ndarray  # [Q] of the others, those in the list
    ablated: np.ndarray | None = None  # [Q] recall of the model with the vectors of ids left out, not trained again

    def __post_init__(self) -> None:
        sizes = {name: len(held) for name, held in vars(self).items() if held is not None}
        require(len(set(sizes.values())) == 1, f"all columns have one row a query, got {sizes}")


@dataclass(frozen=True)
class QueryBatches(Part):
    """What training batches are made of, a number for each of some batches."""

    distinct: np.ndarray  # [S] effective number of distinct queries, (sum n)^2 / sum n^2 of their counts n
    collisions: np.ndarray  # [S] share of a row's rivals that were clicked for its own query, and are not masked
    size: int


@dataclass(frozen=True)
class SearchRefits(Part):
    """Recall of the same queries by the same recipe, trained again with one thing changed."""

    without_ids: np.ndarray  # [Q] no vectors of query or item ids
    masked: np.ndarray  # [Q] rivals that were clicked for the same query are masked


@value
class TailQueries:
    """Names the cause that explains most of what queries never typed before lack, in points of their recall.

    - `id_memorisation`: what they gain when the model is trained without vectors of ids.
    - `false_negatives`: what they gain when right answers are no longer pushed away.
    - `vocabulary_undertrained`: of the model without ids, how much recall rises with the logarithm of the clicks that hold
      a query's rarest word, times the way to `known` clicks, from which on more of them don't matter.
    - `item_coverage`: found share of relevant items that were ever clicked less that of the others, times the share of
      the others.
    - `representation`: by how much words alone find more, on these queries and not on those typed.

    A cause must explain `points` and be `errors` standard errors above nothing, one in forty by chance. Items that were never
    clicked and words that find more make other causes look guilty, too, and go first; of the others the largest is named.
    Where recall is below `low` and no cause is left, it abstains. `points` lies between 0.03, the most that healthy settings
    of development seeds showed, and 0.09, the least of faulty ones.
    """

    points: float = 0.06
    errors: float = 2.0
    known: float = 16.0
    low: float = 0.7
    needs: ClassVar[tuple[type[Part], ...]] = (JudgedQueries, SearchRefits)
    causes: ClassVar[tuple[str, ...]] = (IDS, VOCABULARY, COVERAGE, NEGATIVES, REPRESENTATION)

    def __call__(self, evidence: Evidence) -> Diagnosis:
        judged, refits = evidence.get(JudgedQueries), evidence.get(SearchRefits)
        new = judged.typed == 0
        if new.sum() < 2 or new.all():
            return _abstain(_counts(new), "judge items of queries that the log holds and of queries that it doesn't")
        explained = self.explained(judged, refits, new)
        scores = {cause: held[0] if self._clear(held) else 0.0 for cause, held in explained.items()}
        first = [name for name in FIRST if scores[name] > 0]  # they make others look guilty, too
        cause = first[0] if first else max(scores, key=lambda name: scores[name])
        rows = self._rows(judged, evidence.find(QueryBatches), explained, new)
        recall = float(judged.recall[new].mean())
        if scores[cause] <= 0:
            if recall < self.low:
                return _abstain(rows, "train again with generated queries added, and once with a wider vector: which one "
                                "do the queries never typed gain from?")  # fmt: skip
            return Diagnosis(HEALTHY, scores, rows, rejected=_rejected(explained, HEALTHY))
        return Diagnosis(cause, scores, rows, rejected=_rejected(explained, cause))

    def explained(self, judged: JudgedQueries, refits: SearchRefits, new: np.ndarray) -> dict[str, tuple[float, float]]:
        """Points of recall, and their standard error, by cause."""
        return {
            IDS: _paired(refits.without_ids - judged.recall, new),
            VOCABULARY: _rarest(refits.without_ids[new], judged.rarest[new], self.known),
            COVERAGE: _uncovered(judged, new),
            NEGATIVES: _paired(refits.masked - judged.recall, new),
            REPRESENTATION: _lexical(judged, new),
        }

    def _clear(self, held: tuple[float, float]) -> bool:
        return held[0] > self.points and held[0] > self.errors * held[1]

    def _rows(
        self,
        judged: JudgedQueries,
        batches: QueryBatches | None,
        explained: Mapping[str, tuple[float, float]],
        new: np.ndarray,
    ) -> tuple[Row, ...]:
        rows = [
            Row("recall of queries never typed before", float(judged.recall[new].mean()), self.low, "below: they find little"),
            Row("recall of queries typed before", float(judged.recall[~new].mean())),
            *(Row(f"recall points explained by {cause}", held[0], self.points, f"error {held[1]:.3f}")
              for cause, held in explained.items()),
            Row("recall by words alone, never typed", float(judged.lexical[new].mean())),
            Row("recall by words alone, typed", float(judged.lexical[~new].mean())),
        ]  # fmt: skip
        if judged.ablated is not None:
            drop = judged.recall - judged.ablated
            rows += [Row("recall lost with ids left out, typed", float(drop[~new].mean()), None, "what ids know by heart"),
                     Row("recall lost with ids left out, never typed", float(drop[new].mean()))]  # fmt: skip
        if batches is not None:
            rows += [Row("effective number of distinct queries in a batch", float(batches.distinct.mean()), None,
                         f"of {batches.size} rows"),
                     Row("share of rivals that are right answers", float(batches.collisions.mean()))]  # fmt: skip
        return tuple(rows)


def _paired(gain: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    held = gain[rows]
    return float(held.mean()), float(held.std(ddof=1) / len(held) ** 0.5)


def _rarest(recall: np.ndarray, clicks: np.ndarray, known: float) -> tuple[float, float]:
    """Least squares on log(1 + clicks), clicks above `known` counting as `known`: what recall would be there, less its mean."""
    seen = np.log1p(np.minimum(clicks, known))
    spread, way = seen - seen.mean(), float(np.log1p(known) - seen.mean())
    total = float((spread**2).sum())
    if len(recall) < 3 or total <= 0:
        return 0.0, math.inf
    slope = float(spread @ recall) / total
    rest = recall - recall.mean() - slope * spread
    error = (float((rest**2).sum()) / (len(recall) - 2) / total) ** 0.5
    return min(slope * way, 1 - float(recall.mean())), error * way


def _uncovered(judged: JudgedQueries, rows: np.ndarray) -> tuple[float, float]:
    """What is lost because found shares of relevant items differ by whether they were ever clicked."""
    covered = float(judged.covered[rows].sum())
    others = float(judged.relevant[rows].sum()) - covered
    if min(covered, others) < 1:
        return 0.0, math.inf
    first, second = judged.found_covered[rows].sum() / covered, judged.found_uncovered[rows].sum() / others
    error = (first * (1 - first) / covered + second * (1 - second) / others) ** 0.5
    share = others / (covered + others)
    return float(share * (first - second)), float(share * error)


def _lexical(judged: JudgedQueries, new: np.ndarray) -> tuple[float, float]:
    gain = judged.lexical - judged.recall
    mean, error = _paired(gain, new)
    return (mean, error) if gain[~new].mean() < mean / 2 else (0.0, error)


def _rejected(explained: Mapping[str, tuple[float, float]], cause: str) -> dict[str, str]:
    return {
        name: f"explains {held[0]:+.2f} of recall, error {held[1]:.2f}"
        for name, held in explained.items()
        if name != cause
    }


def _counts(new: np.ndarray) -> tuple[Row, ...]:
    return (
        Row("judged queries never typed before", float(new.sum())),
        Row("judged queries typed before", float((~new).sum())),
    )


def _abstain(rows: tuple[Row, ...], experiment: str) -> Diagnosis:
    return Diagnosis(ABSTAIN, dict.fromkeys(TailQueries.causes, 0.0), rows, next_experiment=experiment)
