"""Small tiles for tests in which a loop of a kernel has to turn more than once."""

from __future__ import annotations

import pytest

from kernels.infonce.config import Tiles


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default tiles, few rows and columns are one tile with masks."""
    for name, given in (("tiles", lambda *_: Tiles(32, 32, 4, 2)), ("FULL", Tiles(32, 32, 4, 2))):
        monkeypatch.setattr(f"kernels.infonce.triton.{name}", given)
