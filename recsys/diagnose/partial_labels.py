"""Why deep topics are predicted badly where most labels stop half-way down a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy import stats
from torch import Tensor

from recsys.diagnose.diagnosis import HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.evaluate.classification import auc
from recsys.value import value


@dataclass(frozen=True)
class TreePredictions(Part):
    """Predicted chances of the topics of each level for held-out rows, and the topics that were named for them."""

    chances: tuple[Tensor, ...]  # a level each, [N, width]
    parents: tuple[Tensor, ...]  # a level each, [width] place of what a topic lies in, in the level above
    places: Tensor  # [N, depth] topics as they are served
    level: Tensor  # [N] level of the topic named, 0 the broadest


@dataclass(frozen=True)
class TreeRefits(Part):
    """Which named levels of held-out rows the same recipe gets right, 1 or 0, trained again with one thing changed.

    NaN below the topic named.
    """

    own: Tensor  # [N, depth] as it is
    deepest_only: Tensor  # [N, depth] without the rows whose label stops before the last level
    wider: Tensor  # [N, depth] with a model some dozens of units wider
    coarse_share: float  # of the training rows, those whose label stops before the last level


@dataclass(frozen=True)
class DepthProbe(Part):
    """How well a post's words tell how deep its label goes, by a probe that never saw the post."""

    deep: Tensor  # [N] bool: the label goes deeper than the median label
    predicted: Tensor  # [N] the probe's score for that


@value
class PartialLabelAudit:
    """Reads masses, paths, refits and a probe; the first cause found, in the order of `causes`, explains the later ones.

    deep_suppression: the mean mass on the first level that fewer than `reached` of the labels reach, where 1 would be
    right. Unknown taken for false makes it the share of labels that do; the bound lies half-way between.
    coarse_unused: without the coarse rows, if these are more than `coarse` of all, and from the same seed, fewer than
    `moved` of the answers come out right in one training and wrong in the other. Accuracy wouldn't tell: where leaf
    labels abound, coarse rows that are used well add little to it.
    capacity: the wider refit gains more than `gain`, outside the noise of rows (one-sided at `level`). Accuracies are
    means over the levels, of the held-out labels that name a level.
    depth_selection: the probe's area under the curve is above what it reaches one time in 1 / `chance` where words tell
    nothing (Mann and Whitney, 1947): even a weak relation makes labelled rows another kind of post.
    independent_levels: topics served lie on no one path in more than `off_path` of the rows; a path decoder has 0.
    `moved`, `gain` and `off_path` are midpoints between faults and their rivals on seeds 0 to 9.
    """

    reached: float = 0.8
    moved: float = 0.01
    gain: float = 0.02
    coarse: float = 0.1
    chance: float = 0.001
    off_path: float = 0.02
    level: float = 0.01

    needs: ClassVar[tuple[type[Part], ...]] = (TreePredictions, TreeRefits, DepthProbe)
    causes: ClassVar[tuple[str, ...]] = (
        "deep_suppression",
        "coarse_unused",
        "capacity",
        "depth_selection",
        "independent_levels",
    )

    def __call__(self, evidence: Evidence) -> Diagnosis:
        rows = (
            self._mass(evidence.get(TreePredictions)),
            self._unused(evidence.get(TreeRefits)),
            self._capacity(evidence.get(TreeRefits)),
            self._selection(evidence.get(DepthProbe)),
            self._off_path(evidence.get(TreePredictions)),
        )
        scores = {}
        for cause, row in zip(self.causes, rows, strict=True):
            assert row.threshold is not None
            excess = row.value - row.threshold
            scores[cause] = max(0.0, -excess if row.tells.startswith("below") else excess)
        cause = next((name for name in self.causes if scores[name] > 0), HEALTHY)
        rejected = {
            name: f"{row.signal} is {row.value:.3g}, the bound {row.threshold:.3g}"
            for name, row in zip(self.causes, rows, strict=True)
            if scores[name] == 0
        }
        return Diagnosis(cause, scores, rows, None, rejected)

    def _mass(self, held: TreePredictions) -> Row:
        """At the first level that many labels don't reach: deeper ones are learnt from less, and are less sure."""
        shares = [float((held.level >= depth).float().mean()) for depth in range(len(held.chances))]
        depth = next((i for i, share in enumerate(shares) if share < self.reached), None)
        tells = "below: topics inside the one named were taken for false"
        if depth is None:
            return Row("mean mass on a level that labels don't reach", 1.0, 0.0, tells)
        mass = float(held.chances[depth].sum(1).mean())
        return Row(f"mean mass on level {depth + 1}", mass, (1 + shares[depth]) / 2, tells)

    def _unused(self, held: TreeRefits) -> Row:
        moved = (held.own - held.deepest_only).abs()
        share = float(moved.nanmean(0).nanmean())
        bound = self.moved if held.coarse_share > self.coarse else -1.0
        tells = "below: the coarse rows teach nothing"
        return Row("answers that move without the coarse rows", share, bound, tells)

    def _capacity(self, held: TreeRefits) -> Row:
        gain, error = _gain(held.wider, held.own)
        bound = max(self.gain, error * float(stats.norm.ppf(1 - self.level)))
        return Row("accuracy gained by a wider model", gain, bound, "above: the model is too small")

    def _selection(self, held: DepthProbe) -> Row:
        area, error = _area(held)
        bound = 0.5 + error * float(stats.norm.ppf(1 - self.chance))
        tells = "above: how deep a label goes depends on the post"
        return Row("area under the curve of a label's depth by words", area, bound, tells)

    def _off_path(self, held: TreePredictions) -> Row:
        off = torch.zeros(len(held.places), dtype=torch.bool)
        for level, parents in enumerate(held.parents[1:], 1):
            off |= parents[held.places[:, level]] != held.places[:, level - 1]
        tells = "above: levels are predicted apart"
        return Row("share of rows served off every path", float(off.float().mean()), self.off_path, tells)


def _gain(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """Mean over the levels of the difference in accuracy, and its standard error over rows."""
    gap = (ours - theirs).double()
    rows = (~gap.isnan()).sum(0).clamp(min=1)  # [depth]
    mean = gap.nansum(0) / rows
    spread = ((gap - mean) / rows).nan_to_num().sum(1)  # a row counts at every level that its label names
    return float(mean.mean()), float(spread.square().sum().sqrt()) / len(mean)


def _area(held: DepthProbe) -> tuple[float, float]:
    """Area under the curve and its standard error were there no relation; a half without both kinds of rows."""
    deep = int(held.deep.sum())
    shallow = len(held.deep) - deep
    if not deep or not shallow:
        return 0.5, 0.0
    error = ((deep + shallow + 1) / (12 * deep * shallow)) ** 0.5  # of Mann and Whitney's statistic
    return auc(held.deep.double().numpy(), held.predicted.double().numpy()), error
