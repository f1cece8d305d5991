"""A marketplace: many sellers list one product, and users who type the same query mean several things."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.random import rng, torch_rng
from recsys.value import require, value
from recsys.worlds.truth_catalogue import CatalogueTruth
from recsys.worlds.world import Logs, Sample

LEFT = 3  # dimensions that a collapse leaves alone


@dataclass(frozen=True)
class CatalogueLogs(Logs):
    """Vectors of a trained dual tower, and what users clicked after each query, its reformulations included."""

    content: Tensor  # [N, D] what the item tower encodes
    listings: Tensor  # [N, D] norm 1
    queries: Tensor  # [Q, D] norm 1
    clicks: Tensor  # [Q, C] int64 listings, in no order of time


@value
class Catalogue:
    """Listings of a product are its vector and a little noise; a query's vector is the mean of what its users mean.

    Listings a product follow a Pareto law of shape `tail`, cut at `most` (1: no duplicates). `intents` are the shares
    of the aspects that a query's users mean; one of them means an unambiguous query. Rival causes: `collapse` (0 to 1)
    shrinks all dimensions but a few, and `popularity` adds to the score of listings, the same ones whatever the query.
    """

    num_products: int = 1500
    num_aspects: int = 100
    num_queries: int = 200
    num_clicks: int = 24
    dim: int = 32
    tail: float = 1.1
    most: int = 60
    intents: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    spread: float = 1.0  # norm of what tells products of an aspect apart; the aspect's own is 1
    noise: float = 0.15  # norm of what tells listings of a product apart
    query_noise: float = 0.15
    collapse: float = 0.0
    popularity: float = 0.0

    def __post_init__(self) -> None:
        require(self.tail > 0, f"tail must be positive, got {self.tail}")
        require(self.most >= 1, f"most must be at least 1, got {self.most}")
        require(0 <= self.collapse < 1, f"collapse must lie in [0, 1), got {self.collapse}")
        require(self.dim > LEFT, f"dim must be above {LEFT}, got {self.dim}")
        fits = 1 <= len(self.intents) <= self.num_aspects and min(self.intents, default=0) > 0
        require(fits, f"intents must be 1 to {self.num_aspects} positive shares, got {self.intents}")

    def sample(self, seed: int) -> Sample:
        generator = torch_rng(seed, "products")
        centres = normalize(torch.randn(self.num_aspects, self.dim, generator=generator), dim=1)
        aspect = torch.randint(self.num_aspects, (self.num_products,), generator=generator)
        products = centres[aspect] + self.spread * self._directions(self.num_products, seed, "offsets")
        quality = 0.3 + 0.7 * torch.rand(self.num_products, generator=torch_rng(seed, "quality"))
        product = torch.arange(self.num_products).repeat_interleave(self._listings(seed))
        listings = products[product] + self.noise * self._directions(len(product), seed, "listings")
        weight = self._weights(seed)
        queries = weight @ centres
        queries = queries + self.query_noise * queries.norm(dim=1, keepdim=True) * self._directions(
            self.num_queries, seed, "queries"
        )
        clicks = _clicks(weight, aspect, quality, product, self.num_clicks, seed)
        logs = CatalogueLogs(listings, *self._towers(listings, queries, seed), clicks)
        return Sample(logs, CatalogueTruth(product, aspect, quality, weight))

    def _listings(self, seed: int) -> Tensor:
        drawn = rng(seed, "sellers").pareto(self.tail, self.num_products) + 1
        return torch.as_tensor(drawn.clip(max=self.most)).long()  # [P]

    def _weights(self, seed: int) -> Tensor:
        shares = torch.tensor(self.intents) / sum(self.intents)
        meant = torch.rand(self.num_queries, self.num_aspects, generator=torch_rng(seed, "intents")).argsort(1)
        held = torch.zeros(self.num_queries, self.num_aspects)
        return held.scatter_(1, meant[:, : len(shares)], shares.expand(self.num_queries, -1))

    def _directions(self, num: int, seed: int, name: str) -> Tensor:
        return torch.randn(num, self.dim, generator=torch_rng(seed, name)) / self.dim**0.5

    def _towers(self, listings: Tensor, queries: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Unit vectors of both sides: collapsed, and with a place for what is popular whatever is asked."""
        kept = torch.full((self.dim,), 1 - self.collapse)
        kept[:LEFT] = 1.0
        listings, queries = normalize(listings * kept, dim=1), normalize(queries * kept, dim=1)
        drawn = torch.randn(len(listings), generator=torch_rng(seed, "liked"))
        liked = (2 * (drawn - 2)).exp().clamp(max=1.0)  # of 1 for one listing in 44
        asked = torch.full((len(queries), 1), float(self.popularity > 0))
        return (
            normalize(torch.cat([listings, self.popularity * liked[:, None]], 1), dim=1),
            normalize(torch.cat([queries, asked], 1), dim=1),
        )


def _clicks(weight: Tensor, aspect: Tensor, quality: Tensor, product: Tensor, num: int, seed: int) -> Tensor:
    """[Q, C] listings: a user means an aspect, takes a product by its quality and any listing of it."""
    generator = torch_rng(seed, "clicks")
    meant = torch.multinomial(weight, num, replacement=True, generator=generator)  # [Q, C]
    size = torch.bincount(product, minlength=len(aspect))
    first = size.cumsum(0) - size
    member = (aspect[None] == torch.arange(weight.shape[1])[:, None]) * quality  # [A, P]
    empty = member.sum(1) == 0  # an aspect without products: its users click anything
    member[empty] = quality
    taken = torch.multinomial(member[meant.flatten()], 1, generator=generator).squeeze(1)
    place = (torch.rand(len(taken), generator=generator) * size[taken]).long().clamp(max=size[taken] - 1)
    return (first[taken] + place).view_as(meant)
