"""A language in which modifiers act on the token after them, so that the order of a query's tokens matters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.truth_tokens import TokensTruth
from recsys.worlds.world import Logs, Sample

LONGEST = 5  # tokens of a query
PADDING = 0
MANY = 4  # clicks of a query of the large encoder's data
TEMPERATURE = 0.1  # of users' choice among the ten most relevant


@dataclass(frozen=True)
class TokensLogs(Logs):
    """Queries are [*, 5] int64 tokens from 1 on, padded with 0 at the end."""

    items: Tensor  # [I, F] features of items
    broad: Tensor  # queries of all domains, with a click each: what a large encoder was trained on
    broad_clicks: Tensor  # [B, 4] int64 items
    clicked: Tensor  # queries of this domain that have a click
    clicks: Tensor  # [C] int64
    unlabelled: Tensor  # queries of this domain, as typed
    validation: Tensor  # queries of this domain that have a click and aren't trained on
    validation_clicks: Tensor
    held_out: Tensor  # queries to be measured on
    traffic: Tensor  # [R] int64 which held-out query each request types, in order of time


@value
class Tokens:
    """Half of the tokens are modifiers, of a few families. One that acts turns the meaning of the next token, if that is no
    modifier, by its family's rotation; other tokens add their own meaning. `order` is the share of modifiers that act: 0
    is a language in which a bag of tokens is all there is. In the domain tokens are Zipf-distributed with exponent
    `zipf`, elsewhere all tokens are as likely. Items are phrases of the domain, seen through a fixed linear map and noise.
    """

    num_tokens: int = 120
    num_families: int = 2
    num_items: int = 1500
    dim: int = 12
    order: float = 1.0
    zipf: float = 0.7
    noise: float = 0.3  # of item features, of a norm of 1
    num_broad: int = 30_000
    num_clicked: int = 3_500
    num_unlabelled: int = 12_000
    num_held_out: int = 500
    num_requests: int = 4_000
    repeats: float = 1.1  # Zipf exponent of how often each query is typed

    def __post_init__(self) -> None:
        require(0 <= self.order <= 1, f"order must lie in [0, 1], got {self.order}")
        require(self.num_tokens >= 4, f"num_tokens must be at least 4, got {self.num_tokens}")
        require(self.num_families >= 1, f"num_families must be at least 1, got {self.num_families}")

    def sample(self, seed: int) -> Sample:
        meaning = _Meaning.of(self, seed)
        typed = {
            "items": self.num_items, "clicked": self.num_clicked, "unlabelled": self.num_unlabelled,
            "validation": self.num_held_out, "held_out": self.num_held_out,
        }  # fmt: skip
        domain = self._domain(seed)
        queries = {name: self._queries(domain, num, seed, name) for name, num in typed.items()}
        queries["broad"] = self._queries(torch.full_like(domain, 1 / len(domain)), self.num_broad, seed, "broad")
        items = meaning(queries["items"])
        clicks = {
            name: _clicks(meaning(queries[name]), items, num, torch_rng(seed, "clicks", name))
            for name, num in {"broad": MANY, "clicked": 1, "validation": 1}.items()
        }
        mixing = torch.randn(self.dim, 2 * self.dim, generator=torch_rng(seed, "features")) / self.dim**0.5
        blur = torch.randn(self.num_items, self.dim, generator=torch_rng(seed, "noise")) / self.dim**0.5
        held = queries["held_out"]
        logs = TokensLogs(
            items=(items + self.noise * blur) @ mixing,
            broad=queries["broad"],
            broad_clicks=clicks["broad"],
            clicked=queries["clicked"],
            clicks=clicks["clicked"].squeeze(1),
            unlabelled=queries["unlabelled"],
            validation=queries["validation"],
            validation_clicks=clicks["validation"].squeeze(1),
            held_out=held,
            traffic=self._traffic(seed),
        )
        rare = domain[(held - 1).clamp(min=0)].masked_fill(held == PADDING, torch.inf).amin(1)
        return Sample(logs, TokensTruth(meaning(held), items, meaning.turned(held).any(1).float(), rare))

    def _domain(self, seed: int) -> Tensor:
        """[V] probability of each token in the domain."""
        order = torch.randperm(self.num_tokens, generator=torch_rng(seed, "domain"))
        share = (1.0 + torch.arange(self.num_tokens)) ** -self.zipf
        return (share / share.sum())[order]

    def _queries(self, share: Tensor, num: int, seed: int, name: str) -> Tensor:
        generator = torch_rng(seed, "queries", name)
        tokens = 1 + torch.multinomial(share, num * LONGEST, replacement=True, generator=generator).view(num, LONGEST)
        length = torch.randint(2, LONGEST + 1, (num, 1), generator=generator)
        return tokens.masked_fill(torch.arange(LONGEST) >= length, PADDING)

    def _traffic(self, seed: int) -> Tensor:
        share = (1.0 + torch.arange(self.num_held_out)) ** -self.repeats
        return torch.multinomial(share, self.num_requests, replacement=True, generator=torch_rng(seed, "traffic"))


@dataclass(frozen=True)
class _Meaning:
    own: Tensor  # [V + 1, D], 0 for padding
    family: Tensor  # [V + 1] int64, -1 for tokens that don't act
    rotation: Tensor  # [F, D, D]

    @classmethod
    def of(cls, world: Tokens, seed: int) -> _Meaning:
        generator = torch_rng(seed, "tokens")
        own = torch.randn(world.num_tokens + 1, world.dim, generator=generator) / world.dim**0.5
        own[PADDING] = 0
        family = torch.randint(world.num_families, (world.num_tokens + 1,), generator=generator)
        modifier = torch.rand(world.num_tokens + 1, generator=generator) < 0.5
        acts = torch.rand(world.num_tokens + 1, generator=generator) < world.order
        acts[PADDING] = False
        drawn = torch.randn(world.num_families, world.dim, world.dim, generator=torch_rng(seed, "families"))
        return cls(own, family.masked_fill(~(modifier & acts), -1), torch.linalg.qr(drawn).Q)

    def turned(self, queries: Tensor) -> Tensor:
        """[*, 5] bool: the token before acts on this one."""
        family = self.family[queries]
        after = torch.nn.functional.pad(family[:, :-1], (1, 0), value=-1)
        return (after >= 0) & (family < 0) & (queries != PADDING)

    def __call__(self, queries: Tensor) -> Tensor:
        """[*, D] norm 1. A modifier that acts adds nothing of its own; one that has nothing to act on does."""
        family, turned = self.family[queries], self.turned(queries)
        before = torch.nn.functional.pad(family[:, :-1], (1, 0), value=-1).clamp(min=0)
        own = self.own[queries]
        spun = torch.zeros_like(own)
        for number, rotation in enumerate(self.rotation):
            spun = torch.where((before == number)[..., None], own @ rotation.T, spun)
        used = torch.nn.functional.pad(turned[:, 1:], (0, 1), value=False)
        parts = torch.where(turned[..., None], spun, own).masked_fill(used[..., None], 0.0)
        return normalize(parts.sum(1), dim=1)


def _clicks(queries: Tensor, items: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """[*, num] items of a query, by the softmax of cosines over the ten most relevant; one may come twice."""
    found = [(block @ items.T).topk(10, dim=1) for block in queries.split(2048)]
    values, places = (torch.cat([getattr(part, name) for part in found]) for name in ("values", "indices"))
    drawn = torch.multinomial((values / TEMPERATURE).softmax(1), num, replacement=True, generator=generator)
    return places.gather(1, drawn)
