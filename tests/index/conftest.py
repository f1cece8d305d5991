"""One compressed index that several files of tests ask, since it takes seconds to build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recsys.index.build_large import LargeIndex
from recsys.index.plan import Budgets, planned
from recsys.index.source import MatrixSource, Source
from recsys.index.spec import IndexSpec
from recsys.index.traits import Traits
from recsys.index.vector_index import VectorIndex
from recsys.index.vectors_folder import Asked, in_turn
from tests.index.shop import Shop, shop

N = 100_000


@dataclass(frozen=True)
class Compressed:
    """The index of a shop's items, whose ids are their rows, with popularity as prior and a seller of each."""

    shop: Shop
    traits: Traits
    source: Source
    folder: Path

    def opened(self) -> VectorIndex:
        return VectorIndex.load(self.folder)


def compressed_index(source: Source, traits: Traits, queries: np.ndarray, folder: Path) -> VectorIndex:
    """As jobs.index builds it, with fewer lists than its rule would take."""
    plan = planned(source, IndexSpec(lists=512), Budgets(recall=0.98), "none", 40_000)
    origin = {"checkpoint": "c", "model": "m"}
    LargeIndex(source, plan, Budgets(recall=0.98), Asked.unanswered(queries), {}, origin, traits).build(
        folder, in_turn, lambda line: None
    )
    return VectorIndex.load(folder)


@pytest.fixture(scope="session")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    folder, world = tmp_path_factory.mktemp("compressed"), shop(N)
    np.save(folder / "vectors.npy", world.items)
    source = MatrixSource(folder / "vectors.npy", "cosine", made_from="shop")
    traits = Traits(world.popularity, {"seller": np.arange(N) % 97})
    compressed_index(source, traits, world.users[::2], folder / "index")
    return Compressed(world, traits, source, folder / "index")


@pytest.fixture(scope="session")
def build_compressed() -> Callable[[Source, Traits, np.ndarray, Path], VectorIndex]:
    return compressed_index
