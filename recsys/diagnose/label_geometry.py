"""Why similar categories get mixed up: are they a scale, a tree, or neither; or is it the labels, or the features?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist

from recsys.diagnose.diagnosis import HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.value import value


@dataclass(frozen=True)
class LabelledFeatures(Part):
    """Rows with features and a label, as they are trained on."""

    x: np.ndarray  # [N, d]
    label: np.ndarray  # [N] 0..C-1


@dataclass(frozen=True)
class ProbeMistakes(Part):
    """What a plain softmax classifier of the same features says of rows that it wasn't trained on."""

    label: np.ndarray  # [n]
    predicted: np.ndarray  # [n] the category of highest chance


@value
class LabelGeometry:
    """Looks at label noise, frequencies and features first; what is left of the mistakes is the categories' geometry.

    label_noise: a generative probe (Gaussians around robust class centres) is sure of one category, the label names
    another: more than `contradicted` of the sure rows, of which sureness allows 1 - `sure`.
    imbalance: mistakes go to categories at least twice as frequent more often than to those half as frequent, by
    `toward_frequent` of all mistakes; where frequency says nothing the two are equal.
    missing_features: half the categories lie nearer than `apart` deviations to some other one, so that no classifier
    tells them apart; distances are cross-fitted, hence unbiased by the number of rows.
    ordinal: one direction alone (Fisher, 1936) keeps `one_direction` of the accuracy that all of them reach.
    hierarchical: distances between centres are those of a tree, by their cophenetic correlation (Sokal and Rohlf,
    1962) above `treelike`. nominal: neither. healthy: held-out mistakes are below `mistakes`.
    Thresholds are midpoints between the faults and their rivals on seeds 0 to 9.
    """

    mistakes: float = 0.05
    sure: float = 0.99
    contradicted: float = 0.08
    toward_frequent: float = 0.2
    apart: float = 0.7
    one_direction: float = 0.8
    treelike: float = 0.7
    needs: ClassVar[tuple[type[Part], ...]] = (LabelledFeatures, ProbeMistakes)
    causes: ClassVar[tuple[str, ...]] = (
        "label_noise",
        "imbalance",
        "missing_features",
        "ordinal",
        "hierarchical",
        "nominal",
    )

    def __call__(self, evidence: Evidence) -> Diagnosis:
        data, probe = evidence.get(LabelledFeatures), evidence.get(ProbeMistakes)
        classes = _Classes.of(data)
        missed = float((probe.label != probe.predicted).mean())
        rows = {
            "label_noise": Row("labels against a sure probe", classes.contradicted(data, self.sure), self.contradicted),
            "imbalance": Row("net share of mistakes toward the frequent", _toward(data, probe), self.toward_frequent),
            "missing_features": Row("deviations to the nearest category", classes.nearest(data), self.apart),
            "ordinal": Row("accuracy kept by one direction", classes.one_direction(data), self.one_direction),
            "hierarchical": Row("cophenetic correlation of centres", classes.treelike(), self.treelike),
        }
        scores = {name: max(0.0, row.value - (row.threshold or 0.0)) for name, row in rows.items()}
        scores["missing_features"] = max(0.0, self.apart - rows["missing_features"].value)
        scores["nominal"] = 0.0 if any(scores.values()) else missed
        evident = (Row("share of held-out mistakes", missed, self.mistakes), *rows.values())
        if missed < self.mistakes:
            return Diagnosis(
                HEALTHY, dict.fromkeys(scores, 0.0), evident, None, dict.fromkeys(scores, "hardly a mistake")
            )
        cause = next(name for name in self.causes if scores[name] > 0)
        rejected = {
            name: f"{row.signal} is {row.value:.3g}, the bound {row.threshold:.3g}"
            for name, row in rows.items()
            if scores[name] == 0
        }
        return Diagnosis(cause, scores, evident, None, rejected)


@dataclass(frozen=True)
class _Classes:
    """Robust centres of the classes with rows enough, and the deviation within them."""

    kept: np.ndarray  # [K] labels with at least 6 rows
    centres: np.ndarray  # [K, d] medians
    deviation: np.ndarray  # [d]

    @classmethod
    def of(cls, data: LabelledFeatures) -> _Classes:
        count = np.bincount(data.label)
        kept = np.flatnonzero(count >= 6)
        centres = np.stack([np.median(data.x[data.label == c], 0) for c in kept])
        place = _places(kept, data.label)
        residual = data.x[place >= 0] - centres[place[place >= 0]]
        return cls(kept, centres, np.median(np.abs(residual), 0) * 1.4826 + 1e-9)

    def contradicted(self, data: LabelledFeatures, sure: float) -> float:
        """Of rows for which Gaussians around the centres give one class at least `sure`, those labelled otherwise."""
        chance = _softmax(-0.5 * _square(data.x / self.deviation, self.centres / self.deviation))
        certain = chance.max(1) >= sure
        return float((self.kept[chance.argmax(1)] != data.label)[certain].mean()) if certain.any() else 0.0

    def nearest(self, data: LabelledFeatures) -> float:
        """Median over classes of the distance to the nearest other, in deviations: found on one half, measured on the other."""
        half = np.arange(len(data.label)) % 2 == 0
        means = [
            np.stack([data.x[part & (data.label == c)].mean(0) for c in self.kept]) / self.deviation
            for part in (half, ~half)
        ]
        found = _square(means[0], means[0])
        np.fill_diagonal(found, np.inf)
        near = found.argmin(1)
        gaps = [held - held[near] for held in means]
        return float(np.sqrt(max(0.0, np.median((gaps[0] * gaps[1]).sum(1)))))

    def one_direction(self, data: LabelledFeatures) -> float:
        """Accuracy of nearest centres along the best single direction, over that in all of them."""
        x, centres = data.x / self.deviation, self.centres / self.deviation
        _, _, directions = np.linalg.svd(centres - centres.mean(0), full_matrices=False)
        one = directions[:1].T
        accuracy = [
            float((self.kept[_square(a, b).argmin(1)] == data.label).mean())
            for a, b in ((x @ one, centres @ one), (x, centres))
        ]
        return accuracy[0] / max(accuracy[1], 1e-9)

    def treelike(self) -> float:
        gaps = pdist(self.centres / self.deviation)
        return float(cophenet(linkage(gaps, "average"), gaps)[0])


def _toward(data: LabelledFeatures, probe: ProbeMistakes) -> float:
    """Share of mistakes that go to a class at least twice as frequent, less those to one half as frequent."""
    count = np.bincount(data.label, minlength=int(max(probe.label.max(), probe.predicted.max())) + 1)
    wrong = probe.label != probe.predicted
    if not wrong.any():
        return 0.0
    true, said = count[probe.label[wrong]], count[probe.predicted[wrong]]
    return float((said >= 2 * true).mean() - (true >= 2 * said).mean())


def _places(kept: np.ndarray, label: np.ndarray) -> np.ndarray:
    place = np.full(int(label.max()) + 1, -1)
    place[kept] = np.arange(len(kept))
    return place[label]


def _square(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[N, K] squared distances."""
    return np.maximum((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1), 0.0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    held = np.exp(logits - logits.max(1, keepdims=True))
    return held / held.sum(1, keepdims=True)
