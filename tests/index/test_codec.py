"""Codes are those of the library that scans them, and bytes are as exact as their step."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from recsys.index.codec import Codec, spreads


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    spread = np.linspace(0.2, 2, 16)
    return (np.random.default_rng(0).standard_normal((6000, 16)) * spread + 0.3).astype(np.float32)


def trained(rows: np.ndarray, parts: int) -> Codec:
    return Codec.train(rows, np.ones(5, np.float32), np.zeros(len(rows), np.int32), parts)


@pytest.mark.parametrize("parts", [16, 8, 4])
def test_codes_are_faisss_own(rows: np.ndarray, parts: int) -> None:
    codec = trained(rows, parts)
    leaves = np.zeros((1, 16), np.float32)
    codes, _ = codec.encode(rows, leaves, np.zeros(len(rows), np.int32))
    quantiser = faiss.ProductQuantizer(16, parts, 4)
    faiss.copy_array_to_vector(codec.centres.ravel(), quantiser.centroids)
    theirs = quantiser.compute_codes(rows)  # type: ignore[call-arg]
    assert (codes == theirs).mean() > 0.9999  # a value in the very middle of two levels may take either


def test_a_dimension_a_part_is_nearly_the_best_four_bits(rows: np.ndarray) -> None:
    codec = trained(rows, 16)
    levels = codec.centres[:, :, 0]
    own = np.abs(rows[:, :, None] - levels[None]).min(-1)
    # a Gaussian's best 16 levels have an error of 0.009497 of its variance (Max, 1960)
    np.testing.assert_allclose((own**2).mean(0) / rows.var(0), 0.0095, rtol=0.08)


def test_residuals_and_not_vectors_are_coded(rows: np.ndarray) -> None:
    leaves = np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)
    own = np.arange(len(rows), dtype=np.int32) % 5
    codec = trained(rows, 16)
    shifted = codec.encode(rows + leaves[own], leaves, own)
    plain = codec.encode(rows, np.zeros((1, 16), np.float32), np.zeros(len(rows), np.int32))
    for one, other in zip(shifted, plain, strict=True):
        assert (one == other).mean() > 0.999  # but for rounding


def test_bytes_are_within_half_a_step_or_clipped(rows: np.ndarray) -> None:
    codec = trained(rows, 16)
    _, held = codec.encode(rows, np.zeros((1, 16), np.float32), np.zeros(len(rows), np.int32))
    off = np.abs(codec.offset + codec.scale * held - rows)
    clipped = (held == 0) | (held == 255)
    assert (off <= codec.scale * 0.5001)[~clipped].all()
    assert clipped.mean() < 0.01
    assert np.sqrt((off**2).mean()) < 0.02 * rows.std()


def test_parts_must_divide_the_dimensions(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="5 parts, which must be even and divide the 16 dimensions"):
        trained(rows, 5)


def test_a_codec_comes_back_as_it_was(rows: np.ndarray, tmp_path: Path) -> None:
    codec = trained(rows, 8)
    codec.save(tmp_path)
    again = Codec.load(tmp_path)
    for name in ("centres", "offset", "scale", "spread"):
        np.testing.assert_array_equal(getattr(again, name), getattr(codec, name))


def test_dense_lists_have_finer_steps(rows: np.ndarray) -> None:
    own = np.arange(len(rows), dtype=np.int32) % 2
    uneven = rows * np.where(own, 0.05, 1.0).astype(np.float32)[:, None]
    spread = spreads(uneven, own, 3)
    np.testing.assert_allclose(spread[:2], [np.sqrt((uneven[own == one] ** 2).mean()) for one in (0, 1)], rtol=0.05)
    assert np.isfinite(spread).all()  # the third has no rows
    codec = Codec.train(uneven, spread, own, 16)
    _, held = codec.encode(uneven, np.zeros((3, 16), np.float32), own)
    off = codec.spread[own, None] * (codec.offset + codec.scale * held) - uneven
    errors = [np.sqrt((off[own == one] ** 2).mean()) for one in (0, 1)]
    assert errors[1] < 0.06 * errors[0]
