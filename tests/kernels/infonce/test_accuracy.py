"""No implementation may be less exact than plain torch in the same precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.infonce.config import Tiles
from tests.kernels.infonce.cases import COVERING, IMPLS, assert_no_worse, draw

SHAPES = ((1, 16, 5), (33, 17, 20), (100, 31, 37), (64, 64, 64), (70, 1, 130))
SMALL = Tiles(32, 32, 4, 2)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default tiles such few rows and columns are one tile with masks: no loop would turn twice."""
    monkeypatch.setattr("kernels.infonce.triton.tiles", lambda *_: SMALL)


def name(flags: dict[str, bool]) -> str:
    return "+".join(flag for flag, on in flags.items() if on) or "none"


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("flags", COVERING, ids=name)
def test_every_pair_of_features(flags: dict[str, bool], shape: tuple[int, int, int], impl: str) -> None:
    assert_no_worse(draw(shape, flags, seed=sum(shape)), impl)
