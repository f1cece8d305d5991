"""Reviews that people wrote, found by their titles with a pretrained encoder whose vectors of reviews are the index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer
from torch import Tensor

from recsys.data.packages import MINILM, WIDEDEEP, locate
from recsys.data.text import TextSpec, model_folder, text_vectors
from recsys.random import torch_rng
from recsys.value import value
from recsys.worlds.truth_searches import SearchesTruth
from recsys.worlds.world import Logs, Sample

LONGEST = 12  # pieces of words of a title, which has two to a dozen words
ITEMS = 4000  # reviews that are searched
WORDS = 24  # of a review that are encoded: where it says what it is about
PADDING, UNKNOWN = 0, 1


@dataclass(frozen=True)
class TitleLogs(Logs):
    """Titles are [*, 12] int64 tokens from 2 on, padded with 0; 1 is a piece that no unlabelled title has."""

    items: Tensor  # [I, 384] the index: vectors of reviews by the pretrained encoder
    pieces: Tensor  # [V] the pretrained encoder's own number of each token
    unlabelled: Tensor  # titles to learn from, as typed
    vectors: Tensor  # [U, 384] the pretrained encoder's, of these
    validation: Tensor
    validation_vectors: Tensor
    held_out: Tensor  # titles to be measured on
    held_out_vectors: Tensor


@value
class ReviewTitles:
    """The Women's Clothing set (Kaggle, CC0 as far as known): a review is relevant to its title, and so are those of the same.

    The same 4,000 reviews are searched whatever the seed, which draws the titles that are measured on; titles of the other
    reviews, which the measured ones aren't among, are learnt from. Raises FileNotFoundError when a package that carries data
    or encoder can't be fetched.
    """

    num_validation: int = 500
    num_held_out: int = 500

    def sample(self, seed: int) -> Sample:
        titles, kind, texts, encoded = reviews()
        asked = kind[:ITEMS].unique()
        asked = asked[torch.randperm(len(asked), generator=torch_rng(seed, "titles"))]
        held = asked[: self.num_held_out]
        checked = asked[self.num_held_out : self.num_held_out + self.num_validation]
        known = kind[ITEMS:].unique()
        known = known[~torch.isin(known, torch.cat([held, checked]))]
        pieces = titles[known].unique()
        pieces = pieces[pieces > 0]
        logs = TitleLogs(
            items=texts,
            pieces=torch.cat([torch.tensor([PADDING, UNKNOWN]), pieces]),
            unlabelled=_numbered(titles[known], pieces),
            vectors=encoded[known],
            validation=_numbered(titles[checked], pieces),
            validation_vectors=encoded[checked],
            held_out=_numbered(titles[held], pieces),
            held_out_vectors=encoded[held],
        )
        often = kind.bincount()[held] > 1
        return Sample(logs, SearchesTruth(held[:, None] == kind[:ITEMS], often))


def _numbered(titles: Tensor, pieces: Tensor) -> Tensor:
    """[n, L] places among the known pieces, from 2 on."""
    place = torch.searchsorted(pieces, titles).clamp(max=len(pieces) - 1)
    found = torch.where(pieces[place] == titles, place + 2, UNKNOWN)
    return found.masked_fill(titles == 0, PADDING)


@lru_cache(maxsize=1)
def reviews() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distinct titles in pieces [T, 12], the title [N] of each review, vectors of 4,000 reviews and of titles [T, 384].

    Reviews are in an order of their own, the searched ones first: in the file's, those of a garment follow each other.
    """
    told = pq.read_table(locate(WIDEDEEP) / next(iter(WIDEDEEP.files)), columns=["Title", "Review Text"]).to_pylist()
    pairs = [
        (" ".join(row["Title"].lower().split()), " ".join(row["Review Text"].split()[:WORDS]))
        for row in told
        if row["Title"] and row["Review Text"]
    ]
    some = torch.randperm(len(pairs), generator=torch_rng(0, "reviews")).tolist()
    pairs = [pairs[row] for row in some if all(pairs[row])]
    names = sorted({title for title, _ in pairs})
    place = {title: at for at, title in enumerate(names)}
    tokenizer = Tokenizer.from_file(str(model_folder(locate(MINILM)) / "tokenizer.json"))
    tokenizer.no_padding()
    rows = [encoding.ids[:LONGEST] for encoding in tokenizer.encode_batch(names, add_special_tokens=False)]
    titles = torch.tensor([row + [0] * (LONGEST - len(row)) for row in rows])
    kind = torch.tensor([place[title] for title, _ in pairs])
    spec = TextSpec(kind="minilm")
    texts, encoded = (
        torch.from_numpy(text_vectors(spec, held)).float() for held in ([text for _, text in pairs[:ITEMS]], names)
    )
    return titles, kind, texts, encoded
