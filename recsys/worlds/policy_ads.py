"""Ads, the few that break a policy in one of several styles, and a review queue that looks where an old rule points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.random import rng
from recsys.value import require, value
from recsys.worlds.truth_policy_ads import PolicyAdsTruth
from recsys.worlds.world import Logs, Sample

CLEAN, STYLES, OBVIOUS = -1, 4, 0


@dataclass(frozen=True)
class PolicyAdsLogs(Logs):
    """What the review tool holds: ads of the past with whatever people said of them, and ads nobody has seen yet."""

    counts: Tensor  # [N, V] float32, how often each word is in the ad
    legacy_score: Tensor  # [N] words of the old rule in the ad; what the queue is sorted by
    propensity: Tensor  # [N] probability with which the queue took ads of this score, logged by the queue
    queued: Tensor  # [N] bool, a moderator reviewed it because the queue took it
    label: Tensor  # [N] 1 violating, 0 clean, as the moderator said; NaN where the queue didn't take it
    second: Tensor  # [N] what another moderator said who didn't know of the first; NaN where there was none
    audit_label: Tensor  # [N] what the audit's experts said of ads drawn at random; NaN elsewhere
    audit_rate: float
    fresh: Tensor  # [M, V] words of ads nobody has looked at

    @property
    def audited(self) -> Tensor:
        return ~self.audit_label.isnan()


@value
class PolicyAds:
    """Ads are bags of words drawn independently given a topic and a style, so the posterior of a violation is exact.

    A violating ad takes a share `signal` of its words from its style's own words; a share `look_alikes` of the clean
    ads borrows such words at the rate `echo`. The old rule knows half of the words of style 0. The queue takes an ad
    with probability `review_hit` where the rule fires and `review_miss` where it doesn't; `selection` moves this, on
    the scale of the logit, to `review_rate` whatever the ad (0: selected completely at random, SCAR; 1: by the rule,
    SAR). `coverage` is the share of the remaining ads that is reviewed as well: at 1 nothing is hidden.
    """

    num_ads: int = 16_000
    num_fresh: int = 8_000
    prevalence: float = 0.06
    obvious: float = 0.38  # share of the violating ads that the rule's style makes
    look_alikes: float = 0.2
    signal: float = 0.28
    echo: float = 0.07
    selection: float = 1.0
    review_hit: float = 0.85
    review_miss: float = 0.04
    review_rate: float = 0.36
    coverage: float = 0.0
    reviewer_error: float = 0.0  # chance that a moderator calls a violating ad clean; a tenth of it the other way round
    re_review: float = 0.15  # share of the reviewed ads that get a second look
    audit: float = 0.02
    length: int = 20
    topics: int = 6
    background: int = 144  # words that belong to no style
    words: int = 12  # words of each style's own

    def __post_init__(self) -> None:
        for name in ("prevalence", "obvious", "look_alikes", "signal", "echo", "selection", "coverage", "audit"):
            require(0 <= getattr(self, name) <= 1, f"{name} is a share, got {getattr(self, name)}")
        for name in ("review_hit", "review_miss", "review_rate"):
            require(0 < getattr(self, name) < 1, f"{name} must lie inside 0..1, got {getattr(self, name)}")
        require(self.num_ads > 0 and self.num_fresh > 0, f"there must be ads, got {self.num_ads} and {self.num_fresh}")

    def sample(self, seed: int) -> Sample:
        chances = self.word_chances(seed)
        style, counts = self._ads(seed, "logged", self.num_ads, chances)
        _, fresh = self._ads(seed, "fresh", self.num_fresh, chances)
        score = counts[:, self.rule_words()].sum(1)
        propensity = self.propensity_of(score)
        queued = rng(seed, "queue").random(self.num_ads) < propensity
        violating = (style != CLEAN).astype(np.float32)
        audited = rng(seed, "audit").random(self.num_ads) < self.audit
        twice = queued & (rng(seed, "second look").random(self.num_ads) < self.re_review)
        logs = PolicyAdsLogs(
            counts=torch.from_numpy(counts),
            legacy_score=torch.from_numpy(score),
            propensity=torch.from_numpy(propensity.astype(np.float32)),
            queued=torch.from_numpy(queued),
            label=self._said(seed, "first", violating, queued),
            second=self._said(seed, "second", violating, twice),
            audit_label=torch.from_numpy(np.where(audited, violating, np.nan).astype(np.float32)),
            audit_rate=self.audit,
            fresh=torch.from_numpy(fresh),
        )
        truth = PolicyAdsTruth(
            torch.from_numpy(violating), torch.from_numpy(style), torch.from_numpy(self.posterior(fresh, chances))
        )
        return Sample(logs, truth)

    @property
    def vocabulary(self) -> int:
        return self.background + STYLES * self.words

    def rule_words(self) -> slice:
        """The old rule's list: half of the obvious style's own words."""
        return slice(self.background, self.background + self.words // 2)

    def propensity_of(self, score: np.ndarray) -> np.ndarray:
        """[N] chance that the queue takes an ad of this score of the old rule."""
        by_rule = np.where(score > 0, _logit(self.review_hit), _logit(self.review_miss))
        taken = 1 / (1 + np.exp(-(self.selection * by_rule + (1 - self.selection) * _logit(self.review_rate))))
        return 1 - (1 - taken) * (1 - self.coverage)

    def kinds(self) -> np.ndarray:
        """[1 + 2 S] chance of each kind of ad: clean, look-alike of style 0.., violating in style 0.."""
        shares = np.full(STYLES, (1 - self.obvious) / (STYLES - 1))
        shares[OBVIOUS] = self.obvious
        clean = 1 - self.prevalence
        alike = clean * self.look_alikes * np.full(STYLES, 1 / STYLES)
        return np.concatenate([[clean * (1 - self.look_alikes)], alike, self.prevalence * shares])

    def word_chances(self, seed: int) -> np.ndarray:
        """[topics, 1 + 2 S, V] chance of each word in an ad of a topic and a kind."""
        base = rng(seed, "topics").dirichlet(np.full(self.background, 0.3), self.topics)
        base = 0.99 * base + 0.01 / self.background
        every = np.zeros((self.topics, 1 + 2 * STYLES, self.vocabulary))
        for kind in range(1 + 2 * STYLES):
            share = 0.0 if kind == 0 else self.echo if kind <= STYLES else self.signal
            every[:, kind, : self.background] = (1 - share) * base
            if kind:
                first = self.background + (kind - 1) % STYLES * self.words
                every[:, kind, first : first + self.words] = share / self.words
        stray = 0.01  # any word of any style turns up anywhere now and then
        every[:, :, self.background :] += stray / (STYLES * self.words)
        return every / every.sum(-1, keepdims=True)

    def posterior(self, counts: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """[M, S] exact probability that an ad with these words violates in each style (Bayes, words independent)."""
        flat = np.log(chances.reshape(-1, self.vocabulary))
        prior = np.log(np.tile(np.maximum(self.kinds(), 1e-300), (self.topics, 1)).reshape(-1) / self.topics)
        joint = counts.astype(np.float64) @ flat.T + prior
        joint = np.exp(joint - joint.max(1, keepdims=True))
        joint = (joint / joint.sum(1, keepdims=True)).reshape(len(counts), self.topics, -1)
        return joint.sum(1)[:, 1 + STYLES :]

    def _ads(self, seed: int, name: str, number: int, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Style [n] and word counts [n, V]."""
        kind = rng(seed, name, "kind").choice(1 + 2 * STYLES, number, p=self.kinds())
        topic = rng(seed, name, "topic").integers(self.topics, size=number)
        group = topic * (1 + 2 * STYLES) + kind
        ladder = np.cumsum(chances.reshape(-1, self.vocabulary), 1)
        ladder[:, -1] = 1.0
        drawn = rng(seed, name, "words").random((number, self.length)) + group[:, None]
        steps = (ladder + np.arange(len(ladder))[:, None]).ravel()
        word = (
            np.searchsorted(steps, drawn.ravel(), side="right").reshape(drawn.shape) - group[:, None] * self.vocabulary
        )
        place = np.arange(number)[:, None] * self.vocabulary + np.minimum(word, self.vocabulary - 1)
        counts = np.bincount(place.ravel(), minlength=number * self.vocabulary).reshape(number, -1).astype(np.float32)
        return np.where(kind > STYLES, kind - 1 - STYLES, CLEAN), counts

    def _said(self, seed: int, who: str, violating: np.ndarray, looked: np.ndarray) -> Tensor:
        """[N] a moderator's verdicts, NaN where nobody looked."""
        wrong = rng(seed, "moderator", who).random(len(violating))
        wrong = wrong < np.where(violating == 1, self.reviewer_error, self.reviewer_error / 10)
        return torch.from_numpy(np.where(looked, np.abs(violating - wrong), np.nan).astype(np.float32))


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
