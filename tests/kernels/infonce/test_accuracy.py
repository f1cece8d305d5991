"""No implementation may be less exact than plain torch in the same precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.kernels.infonce.cases import COVERING, DEVICE, IMPLS, assert_exact, draw, results

SHAPES = ((1, 16, 5), (33, 17, 20), (100, 31, 37), (64, 64, 64), (70, 1, 130))


def name(flags: dict[str, bool]) -> str:
    return "+".join(flag for flag, on in flags.items() if on) or "none"


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("flags", COVERING, ids=name)
def test_every_pair_of_features(flags: dict[str, bool], shape: tuple[int, int, int], impl: str) -> None:
    assert_exact(draw(shape, flags, seed=sum(shape)), impl)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_seeds_with_the_default_tiles(seed: int, impl: str) -> None:
    flags = COVERING[seed::3]
    for each in flags:
        assert_exact(draw((130, 71, 24), each, seed), impl)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("impl", IMPLS)
def test_many_rows_and_columns(impl: str, bf16: bool) -> None:
    """1000 x 1037 x 96: many tiles of the default sizes, ragged on all sides."""
    flags = {"extra": True, "bf16": bf16, "log_q": True, "ids": bf16}
    assert_exact(draw((1000, 37, 96), flags), impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_long_sums(impl: str) -> None:
    one_by_one = 20_000**0.5 * 2.0**-24  # so a kernel adds its columns; torch adds parts of the sum on a GPU
    assert_exact(draw((3, 20_000, 8), {"extra": True, "log_q": True}), impl, one_by_one)
    if impl == "chunked":
        assert_exact(draw((5000, 0, 8), {"symmetric": True}), impl)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("flags", COVERING[1::2], ids=name)
def test_the_atomic_backward_pass(flags: dict[str, bool]) -> None:
    assert_exact(draw((70, 9, 37), flags), "triton-atomic")


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("impl", IMPLS)
def test_float16(impl: str) -> None:
    for flags in (COVERING[3], COVERING[4]):
        case = draw((40, 30, 24), {**flags, "extra": True, "bf16": False})
        case = replace(case, query=case.query.half(), vectors=case.vectors.half(), upstream=case.upstream * 2.0**-8)
        assert_exact(case, impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_diagonal_targets_leave_most_tiles_without_masks(impl: str, small_tiles: None) -> None:
    case = draw((96, 64, 16), {"extra": True})
    for shift in (0, 40, 64):
        assert_exact(replace(case, target=torch.arange(96, device=DEVICE) + shift), impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_sharp_temperature(impl: str) -> None:
    case = draw((60, 40, 32), {"extra": True, "ids": True, "symmetric": True})
    unit = {name: torch.nn.functional.normalize(getattr(case, name), dim=1) for name in ("query", "vectors")}
    case = replace(case, temperature=torch.tensor(0.01, device=DEVICE), **unit)
    assert_exact(case, impl)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("impl", IMPLS)
def test_a_gradient_of_zero_is_zero(impl: str) -> None:
    case = draw((33, 3, 8), {"extra": True, "symmetric": True})
    for name, x in results(replace(case, upstream=torch.zeros_like(case.upstream)), impl).items():
        if name.startswith("gradient"):
            assert x.count_nonzero() == 0, name


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_a_gradient_that_was_guessed_wrongly_is_made_again(weight: float) -> None:
    """Chunks prepare the gradient of a plain sum of the losses; others, and rows of weight 0, must not be taken for it."""
    case = draw((60, 20, 16), {"extra": True, "ids": True, "log_q": True, "weight": True})
    case.options["weight"][::3] = weight
    ones = torch.ones_like(case.upstream[0])
    for losses, lses in ((ones, 0 * ones), (ones / 60, ones), (-ones, 0 * ones), (case.upstream[0], 0 * ones)):
        assert_exact(replace(case, upstream=torch.stack([losses, lses])), "chunked")
