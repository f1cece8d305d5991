"""Slates that an old ranker ordered: a click needs a look, and the place decides how likely that is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.truth_slates import SlateTruth
from recsys.worlds.world import Logs, Sample

DAYS = 28.0
SHARPNESS, CLICK_BIAS, CART_BIAS = 1.5, -0.5, -1.5  # logits of click and cart are SHARPNESS * relevance + bias


@dataclass(frozen=True)
class SlateLogs(Logs):
    """Lists as they were shown, oldest first, and requests that are to be ranked next."""

    features: Tensor  # [L, K, F] of the items, in no order
    seller: Tensor  # [L, K] int64
    item: Tensor  # [L, K] int64: the same offer to the same query has the same number
    position: Tensor  # [L, K] int64, 1 at the top
    click: Tensor  # [L, K] 0 or 1
    cart: Tensor  # [L, K] 0 or 1, as far as reported until the end of the log
    randomised: Tensor  # [L] bool: shown in random order
    logged_score: Tensor  # [L, K] of the old ranker
    day: Tensor  # [L] float, from 0 to the end of the log
    period: Tensor  # [L] int64: 0 to learn from, 1 held out from the same days, 2 the days after
    num_sellers: int
    requests: Tensor  # [T, K, F]
    request_sellers: Tensor  # [T, K]


@value
class SlateWorld:
    """The old ranker weighs what is relevant and what sellers paid for; users look less the lower an item stands.

    relevance = taste + 0.7 * quality of the seller, where taste is linear in the features; the ranker's score =
    relevance_weight * taste + boost * the seller's boost + noise. Boost isn't among the features: only the seller's
    number tells it. P(look at place k) = k^-eta; click and cart (after a click) are logistic in the relevance. Every
    query is shown `sessions` times, so the ranker's noise moves the same item to different places.

    Rival causes: `shift` turns the tastes for the last days and the requests, by that share of a right angle; `delay`
    is the mean number of days until a cart is reported; `bait` is the weight of a feature that draws clicks and
    repels carts. `boost_quality` is the correlation of boost with quality: with a positive one the boost is deserved.
    """

    num_lists: int = 8000
    length: int = 10
    num_features: int = 8
    num_sellers: int = 400
    num_requests: int = 2000
    sessions: int = 2
    eta: float = 1.0
    relevance_weight: float = 0.4
    boost: float = 1.2
    boost_quality: float = -0.3
    quality_weight: float = 0.7
    noise: float = 0.5
    randomised: float = 0.05
    shift: float = 0.0
    delay: float = 0.0
    bait: float = 0.0
    recent: float = 0.15
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require(abs(self.boost_quality) <= 1, f"boost_quality is a correlation, got {self.boost_quality}")
        require(0 <= self.randomised <= 1, f"randomised is a share, got {self.randomised}")
        require(self.num_features >= 3, f"num_features must be at least 3, got {self.num_features}")
        require(self.num_lists % self.sessions == 0, f"num_lists must be a multiple of sessions, got {self.num_lists}")

    def sample(self, seed: int) -> Sample:
        sellers = _Sellers.draw(self, seed)
        item, features, seller = self._lists(seed)
        day = torch.rand(self.num_lists, generator=torch_rng(seed, "day")).mul(DAYS).sort().values
        period = self._periods(day, seed)
        early, late = self._tastes(seed)
        taste = torch.where((period == 2)[:, None], features @ late, features @ early)
        relevance = taste + self.quality_weight * sellers.quality[seller]
        score = self.relevance_weight * (features @ early) + self.boost * sellers.boost[seller]
        score = score + self.noise * _normal(seed, "ranker", *item.shape)
        randomised = _uniform(seed, "randomised", self.num_lists) < self.randomised
        order = torch.where(randomised[:, None], _uniform(seed, "order", *item.shape), score)
        position = 1 + order.argsort(1, descending=True).argsort(1)
        click_p, cart_p = self._actions(relevance, features[..., -1])
        examined = _uniform(seed, "look", *item.shape) < self.examination()[position - 1]
        click = examined & (_uniform(seed, "click", *item.shape) < click_p)
        arrives = day[:, None] - self.delay * _uniform(seed, "delay", *item.shape).clamp(min=1e-9).log()
        cart = click & (_uniform(seed, "cart", *item.shape) < cart_p) & (arrives <= DAYS)
        requests, request_sellers = self._requests(seed)
        coming = requests @ late + self.quality_weight * sellers.quality[request_sellers]
        logs = SlateLogs(
            features=features,
            seller=seller,
            item=item,
            position=position,
            click=click.float(),
            cart=cart.float(),
            randomised=randomised,
            logged_score=score,
            day=day,
            period=period,
            num_sellers=self.num_sellers,
            requests=requests,
            request_sellers=request_sellers,
        )
        click_to, cart_to = self._actions(coming, requests[..., -1])
        return Sample(logs, SlateTruth(coming, click_to, cart_to, self.examination(), relevance))

    def examination(self) -> Tensor:
        """[K] probability of a look at each place."""
        return torch.arange(1, self.length + 1).float() ** -self.eta

    def _actions(self, relevance: Tensor, bait: Tensor) -> tuple[Tensor, Tensor]:
        lure = self.bait * bait
        click = torch.sigmoid(SHARPNESS * relevance + CLICK_BIAS + lure)
        return click, torch.sigmoid(SHARPNESS * relevance + CART_BIAS - lure)

    def _tastes(self, seed: int) -> tuple[Tensor, Tensor]:
        """[F] early and late tastes, of length 1; the last feature, the bait, is in neither."""
        drawn = torch.randn(self.num_features - 1, 2, generator=torch_rng(seed, "taste"))
        axes = torch.nn.functional.pad(torch.linalg.qr(drawn).Q.T, (0, 1))  # [2, F]
        angle = torch.tensor(self.shift * torch.pi / 2)
        return axes[0], angle.cos() * axes[0] + angle.sin() * axes[1]

    def _lists(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        num = self.num_lists // self.sessions
        query = torch.arange(num).repeat(self.sessions)[
            torch.randperm(self.num_lists, generator=torch_rng(seed, "sessions"))
        ]
        features = _normal(seed, "features", num, self.length, self.num_features)
        seller = _integers(seed, "seller", self.num_sellers, num, self.length)
        item = query[:, None] * self.length + torch.arange(self.length)
        return item, features[query], seller[query]

    def _requests(self, seed: int) -> tuple[Tensor, Tensor]:
        shape = (self.num_requests, self.length)
        features = _normal(seed, "requests", *shape, self.num_features)
        return features, _integers(seed, "request sellers", self.num_sellers, *shape)

    def _periods(self, day: Tensor, seed: int) -> Tensor:
        held = (_uniform(seed, "held out", len(day)) < self.held_out).long()
        return torch.where(day >= DAYS * (1 - self.recent), torch.full_like(held, 2), held)


@dataclass(frozen=True, slots=True)
class _Sellers:
    quality: Tensor  # [S]
    boost: Tensor  # [S]

    @classmethod
    def draw(cls, world: SlateWorld, seed: int) -> _Sellers:
        quality, own = _normal(seed, "quality", world.num_sellers), _normal(seed, "boost", world.num_sellers)
        return cls(quality, world.boost_quality * quality + (1 - world.boost_quality**2) ** 0.5 * own)


def _normal(seed: int, name: str, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch_rng(seed, name))


def _uniform(seed: int, name: str, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch_rng(seed, name))


def _integers(seed: int, name: str, below: int, *shape: int) -> Tensor:
    return torch.randint(below, shape, generator=torch_rng(seed, name))
