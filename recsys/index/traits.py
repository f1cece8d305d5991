"""What is known of an item besides its vector: how much everybody wants it, and whose, or of what kind, it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recsys.value import require

TRAITS_FILE = "traits.npz"
PRIOR, GROUP = "prior", "group:"


@dataclass(frozen=True)
class Traits:
    """Columns beside the vectors of n items; what a search doesn't use need not be there."""

    prior: np.ndarray | None = None  # [n] float32; a query adds its weight times this to the score
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)  # name -> [n] int64 group, -1 for none

    def checked(self, expected: int) -> Traits:
        """The columns in their types; raises ValueError naming the column that has another length, or a wrong value."""
        prior = None if self.prior is None else np.asarray(self.prior)
        if prior is not None:
            require(prior.shape == (expected,), f"prior must be [{expected}], one for each item, got {prior.shape}")
            wrong = np.flatnonzero(~np.isfinite(prior))
            require(not len(wrong), f"prior of row {wrong[:1]} isn't finite; give items without one the mean")
            prior = prior.astype(np.float32)
        groups = {}
        for name, column in self.groups.items():
            column = np.asarray(column)
            require(column.shape == (expected,), f"group {name!r} must be [{expected}], got {column.shape}")
            require(np.issubdtype(column.dtype, np.integer), f"group {name!r} must be integers, got {column.dtype}")
            groups[name] = np.maximum(column.astype(np.int64), -1)
        return Traits(prior, groups)

    def take(self, rows: np.ndarray) -> Traits:
        prior = None if self.prior is None else self.prior[rows]
        return Traits(prior, {name: column[rows] for name, column in self.groups.items()})

    def joined(self, more: Traits) -> Traits:
        """These items and then those; raises ValueError unless both have the same columns."""
        require(
            (self.prior is None) == (more.prior is None) and set(self.groups) == set(more.groups),
            f"the index holds these traits of its items: {sorted(self.columns())}; given were {sorted(more.columns())}",
        )
        prior = None if self.prior is None or more.prior is None else np.concatenate([self.prior, more.prior])
        groups = {name: np.concatenate([column, more.groups[name]]) for name, column in self.groups.items()}
        return Traits(prior, groups)

    def columns(self) -> dict[str, np.ndarray]:
        """name -> column, in names that files use."""
        prior = {} if self.prior is None else {PRIOR: self.prior}
        return prior | {f"{GROUP}{name}": column for name, column in self.groups.items()}

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray]) -> Traits:
        """What `columns` gave, other names left out."""
        groups = {name.removeprefix(GROUP): columns[name] for name in columns if name.startswith(GROUP)}
        return cls(columns.get(PRIOR), groups)

    def save(self, folder: Path) -> None:
        np.savez(folder / TRAITS_FILE, **self.columns())  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path) -> Traits:
        path = folder / TRAITS_FILE
        if not path.is_file():
            return cls()
        with np.load(path, allow_pickle=False) as held:
            return cls.of_columns(dict(held))
