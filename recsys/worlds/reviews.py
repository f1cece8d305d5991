"""Reviews of clothes that people wrote: the class of the garment is a leaf of a tree, the stars given are a scale."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.packages import WIDEDEEP, locate
from recsys.encoders.latent_semantic import latent_semantic
from recsys.random import torch_rng
from recsys.taxonomy import Taxonomy
from recsys.value import value
from recsys.worlds.categories import CategoryLogs
from recsys.worlds.truth_taxonomy import CategoryTruth
from recsys.worlds.world import Sample

WORDS = 1 << 14  # hashed words and pairs of words
STARS = 5
# as the shop has them, without two classes of one and of two reviews
DEPARTMENTS = {
    "Bottoms": ("Jeans", "Pants", "Shorts", "Skirts"),
    "Dresses": ("Dresses",),
    "Intimate": ("Intimates", "Layering", "Legwear", "Lounge", "Sleep", "Swim"),
    "Jackets": ("Jackets", "Outerwear"),
    "Tops": ("Blouses", "Fine gauge", "Knits", "Sweaters"),
    "Trend": ("Trend",),
}
CLASSES = [(top, name) for top, names in DEPARTMENTS.items() for name in names]
TOPS = list(DEPARTMENTS)
SHOP = Taxonomy(parents=((0,) * len(TOPS), tuple(TOPS.index(top) for top, _ in CLASSES)))


@value
class WomensReviews:
    """22,626 reviews of the Women's Clothing set (Kaggle, CC0 as far as known), as vectors of their words.

    A seed splits them anew: 20 % are the products to be categorised, and what their shop says of them is taken for the
    truth, so a score is accuracy on held-out labels. Splits of one set overlap: their spread is that of the
    split, not of another set. Raises FileNotFoundError when the package that carries the data can't be fetched.
    """

    label: Literal["class", "stars"] = "class"
    dim: int = 128
    new: float = 0.2  # share of the reviews
    held_out: float = 0.1  # share of the rest

    @property
    def taxonomy(self) -> Taxonomy:
        """Departments and their classes; stars lie side by side."""
        return Taxonomy.balanced((STARS,)) if self.label == "stars" else SHOP

    def sample(self, seed: int) -> Sample:
        garment, stars = labels()
        leaf = garment if self.label == "class" else stars
        order = torch.randperm(len(leaf), generator=torch_rng(seed, "split"))
        new, known = order[: round(self.new * len(order))], order[round(self.new * len(order)) :]
        x = self.inputs(seed)
        logs = CategoryLogs(x[known], leaf[known], round(self.held_out * len(known)), x[new])
        said = torch.nn.functional.one_hot(leaf[new], self.taxonomy.num_leaves).float()
        return Sample(logs, CategoryTruth(leaf[known], leaf[new], said))

    def inputs(self, seed: int) -> Tensor:
        """[N, d] of all reviews."""
        del seed  # the reviews are always the same
        return vectors(self.dim)


def labels() -> tuple[Tensor, Tensor]:
    """Class [N] along the leaves of `DEPARTMENTS`, and stars less one [N]."""
    held = reviews()
    return torch.tensor([garment for garment, _, _ in held]), torch.tensor([stars - 1 for _, stars, _ in held])


@lru_cache(maxsize=4)
def vectors(dim: int) -> Tensor:
    """[N, dim] latent semantic analysis of the reviews' words (Deerwester et al., 1990), each feature of variance 1."""
    return latent_semantic(_counted([text for *_, text in reviews()]), dim)


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def place_of(word: str, num: int) -> int:
    """Where a word is hashed to, the same in every process."""
    return zlib.crc32(word.encode()) % num


def _counted(texts: list[str]) -> sp.csr_array:
    """[N, WORDS] counts of hashed words and of pairs of neighbours."""
    rows, columns = [], []
    for row, text in enumerate(texts):
        words = words_of(text)
        grams = [*words, *map(" ".join, pairwise(words))]
        columns += [place_of(gram, WORDS) for gram in grams]
        rows += [row] * len(grams)
    return sp.csr_array((np.ones(len(rows)), (rows, columns)), (len(texts), WORDS))


@lru_cache(maxsize=1)
def reviews() -> list[tuple[int, int, str]]:
    """Reviews that have a text, as (place of the class, stars, text)."""
    told = pq.read_table(locate(WIDEDEEP) / next(iter(WIDEDEEP.files))).to_pylist()
    place = {name: at for at, name in enumerate(CLASSES)}
    return [
        (place[row["Department Name"], row["Class Name"]], row["Rating"], f"{row['Title'] or ''} {row['Review Text']}")
        for row in told
        if row["Review Text"] and (row["Department Name"], row["Class Name"]) in place
    ]
