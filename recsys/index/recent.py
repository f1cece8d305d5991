"""What changed since the layout was made is small, searched exactly, and visible at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys.index.traits import Traits

RECENT_FILE = "recent.npz"


@dataclass(frozen=True)
class Recent:
    """m items added or updated, and the places among those laid out that aren't found any more.

    A value: every change makes another one, so a search in progress keeps what it began with.
    """

    ids: np.ndarray  # [m] int64
    vectors: np.ndarray  # [m, D] float32
    traits: Traits
    dead: np.ndarray  # [d] int64 places, ascending

    @classmethod
    def none(cls, dim: int, traits: Traits) -> Recent:
        """Nothing changed in an index with columns like `traits`."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, np.zeros((0, dim), dtype=np.float32), traits.take(nothing), nothing)

    def __len__(self) -> int:
        return len(self.ids)

    def added(self, ids: np.ndarray, vectors: np.ndarray, traits: Traits, dead: np.ndarray) -> Recent:
        """With these items in place of what they were; `dead` are their old places [d]."""
        kept = self.deleted(ids, dead)
        return Recent(
            np.concatenate([kept.ids, ids]),
            np.concatenate([kept.vectors, vectors]),
            kept.traits.joined(traits),
            kept.dead,
        )

    def deleted(self, ids: np.ndarray, dead: np.ndarray) -> Recent:
        """Without these items, whose places in the layout are `dead`."""
        keep = np.flatnonzero(~np.isin(self.ids, ids))
        mine = replace(self, dead=np.union1d(self.dead, dead))
        if len(keep) == len(self):
            return mine
        return replace(mine, ids=self.ids[keep], vectors=self.vectors[keep], traits=self.traits.take(keep))

    def columns(self) -> dict[str, np.ndarray]:
        return {"ids": self.ids, "vectors": self.vectors, "dead": self.dead} | self.traits.columns()

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray]) -> Recent:
        return cls(columns["ids"], columns["vectors"], Traits.of_columns(columns), columns["dead"])

    def save(self, folder: Path) -> None:
        """Write recent.npz, if anything changed."""
        if len(self) or len(self.dead):
            np.savez(folder / RECENT_FILE, **self.columns())  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path) -> Recent | None:
        path = folder / RECENT_FILE
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as held:
            return cls.of_columns(dict(held))
