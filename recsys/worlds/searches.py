"""A search log in which a few queries make most of the traffic, and the others say the same things in other words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.truth_searches import SearchesTruth
from recsys.worlds.world import Logs, Sample

PADDING, UNKNOWN, FIRST = 0, 1, 2  # ids of queries, as of everything else
ATTRIBUTES = 2  # of an item, beside its type and its brand
FILLERS = 2  # words of a title that mean nothing
MISSED = 0.1  # relevant items that judges overlook
COMMON_IN_HEAD = 0.95  # words of a head query that are the concept's common one
COMMON_IN_TITLES = 0.8
NAMED = ((0, 1), (0, 3), (0, 1, 3))  # which of an item's concepts a query names: type and attribute, brand, or all


@dataclass(frozen=True)
class SearchLogs(Logs):
    """Words are int64 tokens from 1 on, padded with 0 at the end; ids of queries begin at 2, 1 is a query never seen."""

    items: Tensor  # [I, 6] words of titles
    queries: (
        Tensor  # [Q, 3] words of the distinct queries of the log, the most frequent first; query i has the id i + 2
    )
    clicks: Tensor  # [C, 2] query (row of queries), item
    judged: Tensor  # [J, 3] queries of which people judged items
    judged_id: Tensor  # [J] int64
    judgements: Tensor  # [n, 2] row of judged, an item that was found relevant
    held_out: Tensor  # [H, 3] queries to be measured on
    held_out_id: Tensor  # [H] int64


@value
class Searches:
    """Items have a type, two attributes and a brand, each named by one of its words; queries name two or three of these.

    A concept has a common word and `synonyms` - 1 rarer ones. The first `num_head` queries use the common ones, the rest
    a rarer one with chance `rare`; how often each is typed falls as rank to the power of -`zipf`: 0 is a log without a head.
    Users click an item that has all concepts named, or with chance `noise` any. Clicks fall on a share `coverage` of the
    items. Tail queries that are held out or judged name sets of concepts that no query of the log names.
    """

    facets: tuple[int, int, int] = (40, 30, 25)  # types, attributes, brands
    synonyms: int = 24
    num_items: int = 4000
    num_queries: int = 6000
    num_head: int = 200
    num_clicks: int = 30_000
    num_fillers: int = 60
    zipf: float = 1.15
    rare: float = 0.9
    noise: float = 0.12
    coverage: float = 1.0
    num_held_out: tuple[int, int] = (150, 500)  # of the head; of the tail, never typed before
    num_judged: tuple[int, int] = (50, 200)  # likewise, other queries

    def __post_init__(self) -> None:
        require(self.synonyms >= 1, f"synonyms must be at least 1, got {self.synonyms}")
        require(self.zipf >= 0, f"zipf must be 0 or more, got {self.zipf}")
        for name in ("rare", "noise"):
            held = getattr(self, name)
            require(0 <= held <= 1, f"{name} must lie in [0, 1], got {held}")
        require(0 < self.coverage <= 1, f"coverage must lie in (0, 1], got {self.coverage}")
        heads = self.num_held_out[0] + self.num_judged[0]
        require(heads <= self.num_head, f"{heads} head queries are asked for, num_head is {self.num_head}")
        require(self.num_head <= self.num_queries, f"num_head {self.num_head} is above num_queries {self.num_queries}")

    @property
    def num_concepts(self) -> int:
        return sum(self.facets)

    @property
    def num_tokens(self) -> int:
        return self.num_concepts * self.synonyms + self.num_fillers

    def sample(self, seed: int) -> Sample:
        concepts = self._items(seed)
        fresh, typed = self._intents(concepts, seed)
        told, typed = self._typed(typed, seed)
        unseen = self._worded(fresh, torch.full((len(fresh),), self.rare), seed, "fresh")
        (heads, tails), (judged_heads, judged_tails) = self.num_held_out, self.num_judged
        order = torch.randperm(self.num_head, generator=torch_rng(seed, "held out"))
        held = torch.cat([order[:heads], torch.arange(tails)])
        judged = torch.cat([order[heads : heads + judged_heads], tails + torch.arange(judged_tails)])
        is_head, judged_head = torch.arange(len(held)) < heads, torch.arange(len(judged)) < judged_heads
        relevant = self._relevant(concepts, _either(judged_head, typed, fresh, judged))
        overlooked = torch.rand(relevant.shape, generator=torch_rng(seed, "judges")) < MISSED
        logs = SearchLogs(
            items=self._titles(concepts, seed),
            queries=told,
            clicks=self._clicks(concepts, typed, seed),
            judged=_either(judged_head, told, unseen, judged),
            judged_id=torch.where(judged_head, judged + FIRST, UNKNOWN),
            judgements=(relevant & ~overlooked).nonzero(),
            held_out=_either(is_head, told, unseen, held),
            held_out_id=torch.where(is_head, held + FIRST, UNKNOWN),
        )
        return Sample(logs, SearchesTruth(self._relevant(concepts, _either(is_head, typed, fresh, held)), is_head))

    def _items(self, seed: int) -> Tensor:
        """[I, 4] concepts: type, two different attributes, brand."""
        generator, (types, attributes, brands) = torch_rng(seed, "items"), self.facets

        def draw(num: int) -> Tensor:
            return torch.randint(num, (self.num_items,), generator=generator)

        kind, first, brand = draw(types), draw(attributes), draw(brands)
        second = (first + 1 + draw(attributes - 1)) % attributes
        return torch.stack([kind, types + first, types + second, types + attributes + brand], 1)

    def _intents(self, concepts: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Distinct sets of concepts for queries never typed, and as many as are needed for those typed, padded with -1."""
        generator, num = (
            torch_rng(seed, "intents"),
            4 * self.num_queries + 4 * (self.num_held_out[1] + self.num_judged[1]),
        )
        drawn = concepts[torch.randint(self.num_items, (num,), generator=generator)]
        swap = torch.rand(num, generator=generator) < 0.5  # an item's either attribute
        drawn = torch.where(swap[:, None], drawn[:, [0, 2, 1, 3]], drawn)
        kinds = torch.tensor([[place if place in kind else -1 for place in (0, 1, 3)] for kind in NAMED])
        places = kinds[torch.randint(len(NAMED), (num,), generator=generator)]
        sets = drawn.gather(1, places.clamp(min=0)).masked_fill(places < 0, -1)
        wanted = self.num_held_out[1] + self.num_judged[1]
        fresh = _distinct(sets[: 4 * wanted])[:wanted]
        taken = torch.isin(_keys(sets), _keys(fresh))[4 * wanted :]
        return fresh, sets[4 * wanted :][~taken]

    def _typed(self, intents: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Words and concepts of the queries of the log; no two have the same words."""
        chance = torch.full((len(intents),), self.rare)
        chance[: 2 * self.num_head] = 1 - COMMON_IN_HEAD
        words = self._worded(intents, chance, seed, "typed")
        sets, border = words.sort(1).values, 2 * self.num_head
        heads, tails = _first(sets[:border])[: self.num_head], border + _first(sets[border:])
        keys = _keys(sets)
        tails = tails[~torch.isin(keys[tails], keys[heads])]
        kept = torch.cat([heads, tails])[: self.num_queries]
        require(len(heads) == self.num_head and len(kept) == self.num_queries,
                f"only {len(kept)} different queries can be made of {self.num_concepts} concepts; ask for fewer")  # fmt: skip
        return words[kept], intents[kept]

    def _worded(self, intents: Tensor, chance: Tensor, seed: int, name: str) -> Tensor:
        """Concepts [n, L] in words, with a chance [n] of a rarer one; -1 becomes padding, which goes to the end."""
        generator = torch_rng(seed, "words", name)
        other = torch.rand(intents.shape, generator=generator) < chance[:, None]
        synonym = 1 + torch.randint(max(1, self.synonyms - 1), intents.shape, generator=generator)
        which = torch.where(other & (self.synonyms > 1), synonym, 0)
        table = 1 + torch.randperm(self.num_tokens, generator=torch_rng(seed, "vocabulary"))
        words = table[intents.clamp(min=0) * self.synonyms + which].masked_fill(intents < 0, PADDING)
        return words.gather(1, (words == PADDING).long().sort(dim=1, stable=True).indices)

    def _titles(self, concepts: Tensor, seed: int) -> Tensor:
        told = self._worded(concepts, torch.full((len(concepts),), 1 - COMMON_IN_TITLES), seed, "titles")
        told = torch.cat([told, self._worded(concepts, torch.ones(len(concepts)), seed, "descriptions")], 1)
        table = 1 + torch.randperm(self.num_tokens, generator=torch_rng(seed, "vocabulary"))
        drawn = torch.randint(self.num_fillers, (len(concepts), FILLERS), generator=torch_rng(seed, "fillers"))
        return torch.cat([told, table[self.num_concepts * self.synonyms + drawn]], 1)

    def _relevant(self, concepts: Tensor, intents: Tensor) -> Tensor:
        """[n, I] bool: the item has all concepts of the set."""
        has = torch.zeros(self.num_concepts + 1, len(concepts), dtype=torch.bool)
        has.scatter_(0, concepts.T, True)
        has[-1] = True  # of no concept
        first, *others = intents.where(intents >= 0, self.num_concepts).unbind(1)
        found = has[first]
        for each in others:
            found &= has[each]
        return found

    def _clicks(self, concepts: Tensor, intents: Tensor, seed: int) -> Tensor:
        """[C, 2] query, item. Who finds nothing relevant among the items that are shown at all leaves without a click."""
        shown = torch.rand(self.num_items, generator=torch_rng(seed, "coverage")).argsort()
        shown = shown[: max(1, round(self.coverage * self.num_items))].sort().values
        pairs = self._relevant(concepts[shown], intents).nonzero()
        counts = pairs[:, 0].bincount(minlength=self.num_queries)
        share = (1.0 + torch.arange(self.num_queries)) ** -self.zipf * (counts > 0)
        query = torch.multinomial(share, self.num_clicks, replacement=True, generator=torch_rng(seed, "traffic"))
        generator = torch_rng(seed, "clicks")
        at = (torch.rand(self.num_clicks, generator=generator) * counts[query]).long()
        wanted = pairs[(counts.cumsum(0) - counts)[query] + at, 1]
        astray = torch.rand(self.num_clicks, generator=generator) < self.noise
        anything = torch.randint(len(shown), (self.num_clicks,), generator=generator)
        return torch.stack([query, shown[torch.where(astray, anything, wanted)]], 1)


def _either(first: Tensor, ours: Tensor, theirs: Tensor, rows: Tensor) -> Tensor:
    """Rows of one table where `first`, of another elsewhere."""
    found = theirs[rows.clamp(max=len(theirs) - 1)]
    found[first] = ours[rows[first]]
    return found


def _first(rows: Tensor) -> Tensor:
    """Places of the first of each kind of row, in order."""
    _, kind = rows.unique(dim=0, return_inverse=True)
    place = torch.full((int(kind.max()) + 1,), len(rows)).scatter_reduce(0, kind, torch.arange(len(rows)), "amin")
    return place.sort().values


def _keys(rows: Tensor) -> Tensor:
    """[n] int64, equal for equal rows of small numbers from -1 on."""
    found = torch.zeros(len(rows), dtype=torch.int64)
    for column in rows.unbind(1):
        found = found * (1 << 20) + column + 1
    return found


def _distinct(rows: Tensor) -> Tensor:
    return rows[_first(rows)]
