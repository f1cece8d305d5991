"""Queries with documents that may be relevant and, if so, anything from fair to perfect."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.truth_graded import GradedTruth
from recsys.worlds.world import Logs, Sample

GRADES = 5
CUTS = (-0.6745, 0.0, 0.6745)  # quartiles of the standard normal: grades 1 to 4 are equally frequent
TOPIC, QUALITY, HABIT = slice(0, 9), slice(9, 18), 18  # columns of the features; the last one means nothing
HARD_SIGNAL = 0.2  # of topic and quality that a hard query's features keep


@dataclass(frozen=True)
class GradedLogs(Logs):
    """Judged queries to learn from, and queries that were seen twice: in the offline set, and online."""

    features: Tensor  # [N, D, F] to learn from
    label: Tensor  # [N, D] int64 grades as judged offline
    held_out: Tensor  # [N] bool: not to learn from
    offline_features: Tensor  # [Q, E, F]
    online_features: Tensor  # [Q, E, F] as they were at serving
    offline_label: Tensor  # [Q, E]
    online_label: Tensor  # [Q, E] grades from users' feedback
    offline_pool: Tensor  # [Q, E] bool: offered to the ranker
    online_pool: Tensor  # [Q, E] bool
    traffic: Tensor  # [Q] how often each query comes


@dataclass(frozen=True, slots=True)
class _Documents:
    features: Tensor  # [N, D, F]
    grade: Tensor  # [N, D]
    gain: Tensor  # [N, D]


@value
class GradedWorld:
    """Topic decides whether a document is relevant, quality how much; both are linear in columns of their own.

    Relevant is `topic` * t + noise above a threshold that `relevant` of the documents pass. The grade 1 to 4 of the
    relevant ones are quarters of quality * q + sqrt(1 - quality^2) * noise: with quality 0 nothing tells a perfect
    document from a fair one. A share of judgements, `error`, is a grade off.

    What may differ online, each its own switch: `shift`: hard queries, a `hard` share whose features say little,
    get the traffic's head (else any do); `bias`: offline labels are of what users saw, P(seen) = place^-bias
    under an old ranker that follows the topic and its habit, a column that means nothing; `pool`: that many documents
    online which look on topic and aren't; `skew`: the share of a stale feature in the quality columns online.
    """

    num_queries: int = 1200
    num_checked: int = 2000
    num_documents: int = 40
    topic: float = 4.5
    quality: float = 0.95
    noise: float = 0.9
    relevant: float = 0.25
    error: float = 0.05
    zipf: float = 0.7
    hard: float = 0.1
    shift: bool = False
    bias: float = 0.0
    habit: float = 1.5
    pool: int = 0
    skew: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.quality <= 1, f"quality is a correlation, got {self.quality}")
        require(0 <= self.skew <= 1, f"skew is a share, got {self.skew}")
        require(0 < self.relevant < 1, f"relevant is a share, got {self.relevant}")

    def sample(self, seed: int) -> Sample:
        learnt, checked = (
            self._documents(seed, "train", self.num_queries),
            self._documents(seed, "check", self.num_checked),
        )
        lures = self._lures(seed)
        online = torch.cat([self._stale(checked.features, seed), lures], 1)
        here, extra = (
            torch.ones_like(checked.grade, dtype=torch.bool),
            lures.new_zeros(lures.shape[:2], dtype=torch.long),
        )
        grade = torch.cat([checked.grade, extra], 1)
        logs = GradedLogs(
            features=learnt.features,
            label=self._judged(learnt, seed, "train"),
            held_out=_uniform(seed, "held out", self.num_queries) < 0.15,
            offline_features=torch.cat([checked.features, lures], 1),
            online_features=online,
            offline_label=torch.cat([self._judged(checked, seed, "check"), extra], 1),
            online_label=torch.cat([_off_by_one(checked.grade, self.error, seed, "online"), extra], 1),
            offline_pool=torch.cat([here, extra.bool()], 1),
            online_pool=torch.cat([here, ~extra.bool()], 1),
            traffic=self._traffic(seed),
        )
        return Sample(logs, GradedTruth(grade, torch.cat([checked.gain, extra.float()], 1)))

    def _documents(self, seed: int, name: str, num: int) -> _Documents:
        shape = (num, self.num_documents)
        features = torch.randn(*shape, 20, generator=torch_rng(seed, name, "features"))
        topic, quality = self._directions(seed)
        t, q = features[..., TOPIC] @ topic, features[..., QUALITY] @ quality
        odds = (self.topic * t - self._threshold()) / self.noise
        relevant = torch.randn(*shape, generator=torch_rng(seed, name, "relevant")) < odds
        rest = (1 - self.quality**2) ** 0.5
        level = self.quality * q + rest * torch.randn(*shape, generator=torch_rng(seed, name, "grade"))
        grade = (1 + torch.bucketize(level, torch.tensor(CUTS))) * relevant
        gain = torch.special.ndtr(odds) * _expected_gain(self.quality * q, rest)
        shown = features.clone()
        shown[self._hard(seed, name, num)] = self._blurred(features, seed, name)[self._hard(seed, name, num)]
        return _Documents(shown, grade, gain)

    def _threshold(self) -> float:
        """What relevant of topic * t + noise pass: a normal of known spread."""
        spread = (self.topic**2 + self.noise**2) ** 0.5
        return -spread * float(torch.special.ndtri(torch.tensor(self.relevant)))

    def _directions(self, seed: int) -> tuple[Tensor, Tensor]:
        drawn = torch.randn(2, 9, generator=torch_rng(seed, "directions"))
        return tuple(drawn / drawn.norm(dim=1, keepdim=True))  # type: ignore[return-value]

    def _hard(self, seed: int, name: str, num: int) -> Tensor:
        return _uniform(seed, f"{name} hard", num) < self.hard

    def _blurred(self, features: Tensor, seed: int, name: str) -> Tensor:
        noise = torch.randn(features.shape, generator=torch_rng(seed, name, "blur"))
        return HARD_SIGNAL * features + (1 - HARD_SIGNAL**2) ** 0.5 * noise

    def _judged(self, documents: _Documents, seed: int, name: str) -> Tensor:
        label = _off_by_one(documents.grade, self.error, seed, name)
        if self.bias == 0:
            return label
        topic, _ = self._directions(seed)
        old = documents.features[..., TOPIC] @ topic + self.habit * documents.features[..., HABIT]
        place = 1 + old.argsort(1, descending=True).argsort(1)
        return label * (_uniform(seed, f"{name} seen", *label.shape) < place.float() ** -self.bias)

    def _stale(self, features: Tensor, seed: int) -> Tensor:
        held = features.clone()
        old = torch.randn(held[..., QUALITY].shape, generator=torch_rng(seed, "stale"))
        held[..., QUALITY] = (1 - self.skew) * held[..., QUALITY] + self.skew * old
        return held

    def _lures(self, seed: int) -> Tensor:
        """[Q, pool, F] documents that only the online retriever offers: on topic by their features, but not relevant."""
        lures = torch.randn(self.num_checked, self.pool, 20, generator=torch_rng(seed, "lures"))
        topic, _ = self._directions(seed)
        lures[..., TOPIC] += topic
        return lures

    def _traffic(self, seed: int) -> Tensor:
        share = torch.arange(1, self.num_checked + 1).float() ** -self.zipf
        order = _uniform(seed, "traffic", self.num_checked)
        if self.shift:
            order = order - self._hard(seed, "check", self.num_checked).float()
        return share[order.argsort().argsort()] / share.sum()


def _expected_gain(mean: Tensor, spread: float) -> Tensor:
    """Of 2^grade - 1 of a relevant document whose level is normal around the mean."""
    cuts = torch.tensor(CUTS)
    above = torch.special.ndtr((mean[..., None] - cuts) / max(spread, 1e-6))  # [..., 3] P(level > cut)
    return 1 + above @ torch.tensor([2.0, 4.0, 8.0])


def _off_by_one(grade: Tensor, share: float, seed: int, name: str) -> Tensor:
    """A share of the judgements is one grade off, up or down."""
    step = 2 * (_uniform(seed, f"{name} up", *grade.shape) < 0.5).long() - 1
    wrong = _uniform(seed, f"{name} wrong", *grade.shape) < share
    return torch.where(wrong, (grade + step).clamp(0, GRADES - 1), grade)


def _uniform(seed: int, name: str, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch_rng(seed, name))
