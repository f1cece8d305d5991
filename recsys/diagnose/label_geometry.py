"""Why similar categories get mixed up: are they a scale, a tree, or neither; or is it the labels, or the features?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import stats

from recsys.diagnose.diagnosis import HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.random import rng
from recsys.value import require, value

KINDS = ("ordinal", "hierarchical", "nominal")  # what a label is: no fault
FEWEST = 3  # rows of a class in each half
DRAWS = 20  # of the null
STEPS = 10  # of concentration
SURE = 2.33  # standard errors: one in a hundred by chance
ENOUGH = 0.02  # share of rows of which the probe must be sure


@dataclass(frozen=True)
class LabelledFeatures(Part):
    """Rows with features and a label, as they are trained on, in no order that means something."""

    x: np.ndarray  # [N, d]
    label: np.ndarray  # [N] 0..C-1


@dataclass(frozen=True)
class ProbeMistakes(Part):
    """What a plain softmax classifier of the same features says of rows that it wasn't trained on."""

    label: np.ndarray  # [n]
    predicted: np.ndarray  # [n] the category of highest chance


@value
class LabelGeometry:
    """Looks at labels and frequencies first; then at what is left: a scale, categories without a difference, a tree.

    healthy: held-out mistakes are below `mistakes`.
    label_noise: Gaussians around the classes' medians give one category a chance of at least `sure`, and the label
    names another, in more than `contradicted` of those rows; sureness by itself allows 1 - sure, and centres of nine
    rows in 64 features are sure too early, of up to 0.1 of the rows. A softmax wouldn't
    show it: it learns the noise along with the rest. All Gaussians have one covariance, found on the half of the rows
    that fit it best (`_decorrelated`): features that vary together would count as so many witnesses.
    imbalance: mistakes go to categories at least twice as frequent more often than to those half as frequent, by
    `toward_frequent` of all mistakes, beyond their noise; where frequency plays no part the two are equal.
    ordinal: the nearest centre along one direction alone is right `one_direction` times as often as in all of them.
    missing_features: half of the categories lie nearer than `apart` deviations to another: nobody can tell them apart.
    hierarchical: nearest categories are nearer, by the factor `nested`, than among as many centres drawn from a
    Gaussian of the same covariance. nominal: mistakes, and nothing of all that.

    Centres are found on one half of the rows and used on the other, so that few rows don't pass for structure.
    Thresholds without a derivation are midpoints between faults and their rivals on seeds 0 to 9.
    """

    mistakes: float = 0.05
    sure: float = 0.99
    contradicted: float = 0.12
    toward_frequent: float = 0.1
    one_direction: float = 0.7
    apart: float = 0.8
    nested: float = 0.8
    needs: ClassVar[tuple[type[Part], ...]] = (LabelledFeatures, ProbeMistakes)
    causes: ClassVar[tuple[str, ...]] = (
        "label_noise",
        "imbalance",
        "ordinal",
        "missing_features",
        "hierarchical",
        "nominal",
    )

    def __call__(self, evidence: Evidence) -> Diagnosis:
        probe = evidence.get(ProbeMistakes)
        missed = float((probe.label != probe.predicted).mean())
        rows = self._rows(evidence.get(LabelledFeatures), probe)
        scores = {}
        for name, row in rows.items():
            assert row.threshold is not None
            excess = row.value / row.threshold - 1
            scores[name] = max(0.0, -excess if row.tells.startswith("below") else excess)
        evident = (
            Row("share of held-out mistakes", missed, self.mistakes, "below: nothing to explain"),
            *rows.values(),
        )
        if missed < self.mistakes:
            return Diagnosis(HEALTHY, scores, evident, None, dict.fromkeys(rows, "there are hardly any mistakes"))
        cause = next((name for name in self.causes[:-1] if scores[name] > 0), "nominal")
        rejected = {
            name: f"{row.signal} is {row.value:.3g}, the bound {row.threshold:.3g}"
            for name, row in rows.items()
            if scores[name] == 0
        }
        return Diagnosis(cause, scores | {"nominal": float(cause == "nominal")}, evident, None, rejected)

    def _rows(self, data: LabelledFeatures, probe: ProbeMistakes) -> dict[str, Row]:
        halves = _Halves.of(data)
        near, null = halves.nearest(), halves.nearest_without_structure()
        net, error = _toward(data, probe)
        return {
            "label_noise": Row("labels that contradict a sure probe", halves.contradicted(self.sure), self.contradicted,
                               "above: labels are wrong"),
            "imbalance": Row("net share of mistakes toward the frequent", net, max(self.toward_frequent, SURE * error),
                             "above: the frequent swallow the rare"),
            "ordinal": Row("accuracy that one direction keeps", halves.kept_by_one_direction(), self.one_direction,
                           "above: categories lie on one line"),
            "missing_features": Row("deviations to the nearest category", near, self.apart,
                                    "below: the features don't tell them apart"),
            "hierarchical": Row("nearest distance over that without structure", near / null, self.nested,
                                "below: categories come in families"),
        }  # fmt: skip


@dataclass(frozen=True)
class _Halves:
    """Two halves of the rows, in deviations within a class, and the centres of the classes in each."""

    rows: tuple[np.ndarray, np.ndarray]  # [n, d] each
    label: tuple[np.ndarray, np.ndarray]  # [n] places 0..K-1
    centres: tuple[np.ndarray, np.ndarray]  # [K, d] medians

    @classmethod
    def of(cls, data: LabelledFeatures) -> _Halves:
        half = np.arange(len(data.label)) % 2
        counts = np.stack([np.bincount(data.label[half == h], minlength=int(data.label.max()) + 1) for h in (0, 1)])
        kept = np.flatnonzero(counts.min(0) >= FEWEST)
        require(len(kept) >= 3, f"{len(kept)} categories have {2 * FEWEST} rows or more: bring more rows")
        place = np.full(counts.shape[1], -1)
        place[kept] = np.arange(len(kept))
        known = place[data.label] >= 0
        x, label, half = data.x[known].astype(np.float64), place[data.label[known]], half[known]
        middle = _medians(x, label)
        x = x @ _decorrelated(x - middle[label])
        parts = [(x[half == h], label[half == h]) for h in (0, 1)]
        (a, of_a), (b, of_b) = parts
        return cls((a, b), (of_a, of_b), (_medians(a, of_a), _medians(b, of_b)))

    def contradicted(self, sure: float) -> float:
        """Of rows for which the other half's centres give one class at least `sure`, the share labelled otherwise."""
        found = []
        for rows, label, centres, theirs in zip(
            self.rows, self.label, self.centres[::-1], self.label[::-1], strict=True
        ):
            spread = 1 + np.pi / 2 / np.bincount(theirs, minlength=len(centres))  # of a row around an estimated median
            gaps = -0.5 * _square(rows, centres) / spread - 0.5 * rows.shape[1] * np.log(spread)
            chance = np.exp(gaps - gaps.max(1, keepdims=True))
            certain = 1 / chance.sum(1) >= sure
            found.append((gaps.argmax(1) != label)[certain])
        held = np.concatenate(found)
        return float(held.mean()) if len(held) > ENOUGH * sum(map(len, self.rows)) else 0.0

    def nearest(self) -> float:
        """Median over classes of the distance to the nearest other: the nearest by one half, measured without bias.

        The product of the gaps in the two halves has the true squared distance as its mean, whatever their noise.
        """
        one, two = self.centres
        found = _square(one, one)
        np.fill_diagonal(found, np.inf)
        near = found.argmin(1)
        return float(np.sqrt(max(0.0, np.median(((one - one[near]) * (two - two[near])).sum(1)))))

    def nearest_without_structure(self) -> float:
        """The same distance among as many centres drawn from a Gaussian of the centres' covariance, on average."""
        one, two = (held - held.mean(0) for held in self.centres)
        size, axes = np.linalg.eigh((one.T @ two + two.T @ one) / (2 * len(one)))
        root, g, found = axes * np.sqrt(size.clip(min=0)), rng(0, "null"), []
        for _ in range(DRAWS):
            drawn = g.standard_normal(one.shape) @ root.T
            gaps = _square(drawn, drawn)
            np.fill_diagonal(gaps, np.inf)
            found.append(np.sqrt(np.median(gaps.min(1))))
        return max(float(np.mean(found)), 1e-9)

    def kept_by_one_direction(self) -> float:
        """Accuracy of the nearest centre along the centres' main direction, over that in all directions."""
        right = np.zeros(2)
        for rows, label, centres in zip(self.rows, self.label, self.centres[::-1], strict=True):
            main = np.linalg.svd(centres - centres.mean(0), full_matrices=False)[2][:1].T
            right += [
                (_square(a, b).argmin(1) == label).sum() for a, b in ((rows @ main, centres @ main), (rows, centres))
            ]
        return float(right[0] / max(right[1], 1))


def _decorrelated(gaps: np.ndarray) -> np.ndarray:
    """[d, d] map after which gaps [n, d] have covariance 1, up to half of them being anything.

    Each feature's median deviation first, then steps of concentration (minimum covariance determinant: Rousseeuw and van
    Driessen, 1999): the half that is nearest by the last covariance gives the next, and the median distance its size.
    """
    deviation = np.median(np.abs(gaps), 0) * 1.4826 + 1e-9  # of a Gaussian
    scaled = gaps / deviation
    root, size, floor = np.eye(scaled.shape[1]), scaled.shape[1], 1e-6 * np.eye(scaled.shape[1])
    distance = (scaled**2).sum(1)
    for _ in range(STEPS):
        kept = scaled[distance <= np.median(distance)]
        spread, axes = np.linalg.eigh(kept.T @ kept / len(kept) + floor)
        root = axes / np.sqrt(spread)
        distance = ((scaled @ root) ** 2).sum(1)
        unit = stats.chi2.median(size) / np.median(distance)
        root = root * np.sqrt(unit)
    return root / deviation[:, None]


def _toward(data: LabelledFeatures, probe: ProbeMistakes) -> tuple[float, float]:
    """Share of mistakes to a class at least twice as frequent, less those to one half as frequent; its standard error."""
    count = np.bincount(data.label, minlength=int(max(probe.label.max(), probe.predicted.max())) + 1)
    wrong = probe.label != probe.predicted
    if not wrong.any():
        return 0.0, 0.0
    true, said = count[probe.label[wrong]], count[probe.predicted[wrong]]
    way = (said >= 2 * true).astype(float) - (true >= 2 * said)
    return float(way.mean()), float(way.std() / len(way) ** 0.5)


def _medians(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    order = np.argsort(label, kind="stable")
    parts = np.split(x[order], np.flatnonzero(np.diff(label[order])) + 1)
    return np.stack([np.median(part, 0) for part in parts])


def _square(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[N, K] squared distances."""
    return np.maximum((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1), 0.0)
