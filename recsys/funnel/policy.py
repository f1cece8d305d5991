"""Some items may not be shown, whatever their score: they are out of stock, or denied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from recsys.data.spec import FIRST


class Policy:
    """Which items are blocked now. The set may change while requests are answered; each reading of it is whole.

    Files hold one item id a line and are read again when they change; ids that the catalogue doesn't have are ignored.
    """

    def __init__(
        self,
        index_of: Mapping[str, int],
        num_items: int,
        *,
        out_of_stock: Collection[str] = (),
        denied: Collection[str] = (),
        files: Collection[str | Path] = (),
    ) -> None:
        self._index_of = index_of
        self._num_items = num_items
        self._given = {"out_of_stock": tuple(out_of_stock), "denied": tuple(denied)}
        self._files = tuple(Path(file) for file in files)
        self._stamps: tuple[tuple[int, int], ...] = ()
        self._blocked = self._read()

    def blocked(self) -> np.ndarray:
        """Mask over item indices [V]; padding and unknown are always blocked. Raises OSError when a file is gone."""
        if self._files and self._stamps != self._stamp():
            self._blocked = self._read()
        return self._blocked

    @property
    def open(self) -> bool:
        """Whether nothing but padding and unknown is blocked."""
        return int(self.blocked().sum()) == FIRST

    def update(self, *, out_of_stock: Collection[str] | None = None, denied: Collection[str] | None = None) -> None:
        """Replace the sets that are given; requests that are being answered see it at their last stage."""
        for name, told in (("out_of_stock", out_of_stock), ("denied", denied)):
            if told is not None:
                self._given[name] = tuple(told)
        self._blocked = self._read()

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        held = [file.stat() for file in self._files]
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in held)

    def _read(self) -> np.ndarray:
        self._stamps = self._stamp()
        blocked = np.zeros(self._num_items, dtype=bool)
        blocked[:FIRST] = True
        listed = [line.strip() for file in self._files for line in file.read_text().splitlines()]
        for item in (*self._given["out_of_stock"], *self._given["denied"], *listed):
            place = self._index_of.get(item)
            if place is not None:
                blocked[place] = True
        return blocked
