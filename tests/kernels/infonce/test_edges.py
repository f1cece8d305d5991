"""Where fused losses go wrong: rows without rivals, duplicates, large offsets, NaN, neighbouring memory, order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.infonce import check, infonce
from tests.kernels.infonce.cases import COVERING, DEVICE, FIRST_ID, IMPLS, Case, draw, results
from tests.kernels.tolerance import buried

EVERY = (*IMPLS, "reference")
pytestmark = pytest.mark.usefixtures("small_tiles")


def loss(case: Case, impl: str, **changes: Any) -> Tensor:
    options = {**case.options, **changes}
    return infonce(case.query, case.vectors, case.target, temperature=case.temperature, impl=impl, **options).loss


@pytest.mark.parametrize("impl", EVERY)
@pytest.mark.parametrize("mode", ["sampled", "corrected"])
def test_a_row_without_rivals_costs_nothing(impl: str, mode: str) -> None:
    case = draw((34, 6, 8), {"extra": True, "symmetric": True, "weight": True})
    ids = torch.zeros(40, dtype=torch.int64, device=DEVICE)
    case = replace(case, options={**case.options, "ids": ids, "positive_mode": mode})
    case = replace(case, upstream=case.upstream * torch.tensor([[1.0], [0.0]], device=DEVICE))
    found = results(case, impl)
    own = (case.query * case.vectors[case.target]).sum(1) / case.temperature
    torch.testing.assert_close(found["lse"], own)
    assert found["accuracy"].eq(1).all()
    for name in ("loss", "effective_negatives", *(name for name in found if name.startswith("gradient"))):
        assert found[name].count_nonzero() == 0, name
    hits = (case.query @ case.vectors.T / case.temperature).softmax(1)
    torch.testing.assert_close(found["masked_mass"], 1 - hits.gather(1, case.target[:, None])[:, 0])


@pytest.mark.parametrize("impl", EVERY)
def test_a_column_with_infinite_log_q_competes_nowhere(impl: str) -> None:
    """As if it weren't there, also for a row whose positive it is: that row's positive isn't corrected."""
    case = draw((33, 20, 8), {"extra": True, "log_q": True, "ids": True})
    case = replace(case, target=case.target.clamp(max=39))
    log_q = case.options["log_q"].nan_to_num(posinf=0.5)
    gone = torch.arange(53, device=DEVICE) >= 40
    less = {name: case.options[name][~gone] for name in ("ids",)}
    short = replace(case, vectors=case.vectors[~gone], options={**case.options, **less, "log_q": log_q[~gone]})
    full = replace(case, options={**case.options, "log_q": log_q.masked_fill(gone, torch.inf)})
    ours, expected = results(full, impl), results(short, impl)
    assert ours["gradient of vectors"][gone].count_nonzero() == 0
    ours["gradient of vectors"] = ours["gradient of vectors"][~gone]
    for name, x in expected.items():
        torch.testing.assert_close(ours[name], x, msg=lambda m, name=name: f"{name}: {m}")
    absent = loss(case, impl, log_q=torch.full((53,), torch.inf, device=DEVICE))
    assert absent.count_nonzero() == 0


@pytest.mark.parametrize("impl", EVERY)
def test_copies_of_the_positive_dont_compete(impl: str) -> None:
    """Row 0's item stands in three more columns, and row 1 has the same item: the loss is that without the copies."""
    case = draw((20, 12, 8), {"extra": True})
    ids = FIRST_ID + torch.arange(32, device=DEVICE)
    target = torch.arange(20, device=DEVICE)
    vectors = case.vectors.clone()
    copies = torch.tensor([1, 25, 30, 31], device=DEVICE)
    vectors[copies], ids[copies] = vectors[0].clone(), ids[0].clone()
    kept = torch.ones(32, dtype=torch.bool, device=DEVICE)
    kept[copies] = False
    short = infonce(
        case.query[:1], vectors[kept], target[:1], ids=ids[kept], temperature=case.temperature, impl="reference"
    )
    found = infonce(case.query, vectors, target, ids=ids, temperature=case.temperature, impl=impl)
    torch.testing.assert_close(found.loss[:1], short.loss)
    unmasked = loss(replace(case, vectors=vectors, target=target), impl, ids=ids, mask_hits=False)
    torch.testing.assert_close(unmasked, loss(replace(case, vectors=vectors, target=target), impl))
    assert (unmasked[:2] > found.loss[:2]).all()


@pytest.mark.parametrize("impl", EVERY)
def test_ids_are_exact(impl: str) -> None:
    """Neighbours beyond 2^53 and ids that agree in their lower 32 bits are different items."""
    case = draw((3, 0, 4), {})
    case = replace(case, target=torch.arange(3, device=DEVICE))
    for ids in ([FIRST_ID, FIRST_ID + 1, FIRST_ID + 2], [7, 7 + 2**32, 7 - 2**32], [-1, -2, -(2**63)]):
        named = loss(case, impl, ids=torch.tensor(ids, device=DEVICE))
        torch.testing.assert_close(named, loss(case, impl), rtol=0, atol=0)


@pytest.mark.parametrize("impl", EVERY)
def test_ties_arent_right(impl: str) -> None:
    query = torch.ones(4, 8, device=DEVICE)
    found = infonce(query, query, torch.arange(4, device=DEVICE), temperature=1.0, impl=impl)
    assert found.accuracy.eq(0).all()
    torch.testing.assert_close(found.effective_negatives, torch.full((4,), 3.0, device=DEVICE))


@pytest.mark.parametrize("impl", EVERY)
@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_a_common_offset_leaves_the_loss(impl: str, offset: float) -> None:
    case = draw((40, 25, 16), {"extra": True, "log_q": True, "ids": True})
    case.options["log_q"][case.target] = case.options["log_q"][case.target].nan_to_num(posinf=0.3)
    moved = loss(case, impl, log_q=case.options["log_q"] - offset)
    spacing = 2.0**-10  # of float32 at 1e4
    assert (moved - loss(case, impl)).abs().max() <= 3 * spacing


@pytest.mark.parametrize("impl", EVERY)
def test_nan_poisons_its_row_only(impl: str) -> None:
    case = draw((40, 25, 16), {"extra": True, "ids": True})
    query = case.query.clone()
    query[7, 3] = torch.nan
    before, after = results(case, impl), results(replace(case, query=query), impl)
    others = torch.arange(40, device=DEVICE) != 7
    for name in ("loss", "lse", "accuracy", "effective_negatives", "masked_mass"):
        if name != "masked_mass" or before[name][7] > 0:
            assert after[name][7].isnan(), name
        torch.testing.assert_close(after[name][others], before[name][others], rtol=0, atol=0)


@pytest.mark.parametrize("impl", EVERY)
@pytest.mark.parametrize("outside", [-1, 65, 2**40])
def test_a_target_outside_the_pool_is_never_a_number(impl: str, outside: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = draw((40, 25, 16), {"extra": True, "ids": True, "weight": True, "symmetric": True})
    target = case.target.clone()
    target[5] = outside
    if DEVICE == "cpu":
        with pytest.raises(IndexError, match=rf"target\[5\] is {outside}, but there are columns 0 to 64"):
            loss(replace(case, target=target), impl)
    monkeypatch.setattr(check, "can_look", lambda _: False)  # as on a device
    found = results(replace(case, target=target), impl)
    assert found["loss"][5].isnan()
    assert found["gradient of query"][5].isnan().any()
    assert found["loss"].isnan().sum() == 1


@pytest.mark.parametrize("impl", EVERY)
def test_the_order_of_the_negatives_doesnt_matter(impl: str) -> None:
    case = draw((50, 30, 16), {"extra": True, "ids": True, "log_q": True})
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    back = order.argsort()
    options = {**case.options, "ids": case.options["ids"][order], "log_q": case.options["log_q"][order]}
    other = replace(case, vectors=case.vectors[order], target=back[case.target], options=options)
    ours, moved = results(case, impl), results(other, impl)
    moved["gradient of vectors"] = moved["gradient of vectors"][back]
    for name, x in ours.items():
        torch.testing.assert_close(moved[name], x, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("flags", [COVERING[2], COVERING[5]], ids=str)
def test_two_runs_give_the_same_bits(impl: str, flags: dict[str, bool]) -> None:
    case = draw((70, 30, 24), flags)
    first, second = results(case, impl), results(case, impl)
    for name, x in first.items():
        assert torch.equal(x, second[name]), name


@pytest.mark.parametrize("impl", [*IMPLS, "triton-atomic"])
@pytest.mark.parametrize("flags", [COVERING[1], COVERING[2], COVERING[3], COVERING[7]], ids=str)
def test_nothing_beside_the_inputs_is_read(impl: str, flags: dict[str, bool]) -> None:
    """Buffers end where the inputs end; fresh memory is poisoned too."""
    case = draw((37, 13, 21), flags)
    plain = results(case, impl)
    options = {name: buried(x) if isinstance(x, Tensor) else x for name, x in case.options.items()}
    names = ("query", "vectors", "target")
    guarded = replace(case, options=options, **{name: buried(getattr(case, name)) for name in names})
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills what torch.empty gives with NaN
    try:
        found = results(guarded, impl)
    finally:
        torch.use_deterministic_algorithms(False)
    for name, x in plain.items():
        torch.testing.assert_close(found[name], x, equal_nan=False, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("impl", ["triton", "triton-atomic"])
def test_nothing_beside_the_outputs_is_written(impl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[tuple[Tensor, int]] = []

    def between_canaries(make: Callable[..., Tensor], value: float) -> Callable[..., Tensor]:
        def made(like: Tensor, *size: Any, **options: Any) -> Tensor:
            wanted = make(like, *size, **options)
            buffer = torch.full((wanted.numel() + 512,), -77.0, dtype=wanted.dtype, device=wanted.device)
            buffer[256 : 256 + wanted.numel()] = wanted.flatten()
            buffers.append((buffer, wanted.numel()))
            return buffer[256 : 256 + wanted.numel()].view(wanted.shape)

        return made

    case = draw((37, 13, 21), {"extra": True, "ids": True, "log_q": True, "symmetric": True})
    expected = results(case, impl)
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "new_zeros", between_canaries(Tensor.new_zeros, 0.0))
        patch.setattr(Tensor, "new_full", between_canaries(Tensor.new_full, 0.0))
        found = results(case, impl)
    assert len(buffers) >= 8
    for buffer, size in buffers:
        assert buffer[:256].eq(-77).all()
        assert buffer[256 + size :].eq(-77).all()
    torch.testing.assert_close(found["gradient of vectors"], expected["gradient of vectors"])


@pytest.mark.parametrize("impl", EVERY)
def test_no_rows_and_strided_inputs(impl: str) -> None:
    case = draw((33, 10, 8), {"extra": True, "symmetric": True, "ids": True})
    wide = torch.stack([case.query, case.query], 2)[:, :, 0]
    assert not wide.is_contiguous()
    torch.testing.assert_close(loss(replace(case, query=wide), impl), loss(case, impl))
    none = replace(case, query=case.query[:0], target=case.target[:0])
    assert loss(none, impl).shape == (0,)
    assert loss(replace(none, vectors=case.vectors[:0]), impl, ids=case.options["ids"][:0]).shape == (0,)


@pytest.mark.parametrize("impl", EVERY)
def test_the_temperature_is_a_number_or_a_tensor(impl: str) -> None:
    case = draw((33, 10, 8), {"extra": True})
    number = infonce(case.query, case.vectors, case.target, temperature=float(case.temperature), impl=impl).loss
    torch.testing.assert_close(number, loss(case, impl))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"query": torch.zeros(4, 3)}, r"\[4, 3\] and \[5, 2\]"),
        ({"query": torch.zeros(4, 2).double()}, "float64 and torch.float32; convert"),
        ({"target": torch.zeros(4)}, "target must be int64"),
        ({"target": torch.zeros(3).long()}, r"target must have shape \[4\], got \[3\]"),
        ({"log_q": torch.zeros(4)}, r"log_q must have shape \[5\]"),
        ({"log_q": torch.zeros(5).requires_grad_()}, "log_q.detach"),
        ({"ids": torch.zeros(5)}, "ids must be int64"),
        ({"weight": torch.zeros(5)}, r"weight must have shape \[4\]"),
        ({"temperature": 0.0}, "positive and finite, got 0.0"),
        ({"temperature": torch.tensor(-1.0)}, "positive and finite, got -1.0"),
        ({"temperature": torch.ones(2)}, "0-d"),
        ({"positive_mode": "both"}, "sampled, corrected, got 'both'"),
        ({"impl": "cuda"}, "impl must be one of"),
        ({"query": torch.zeros(4, 2, device="meta")}, "meta"),
    ],
)
def test_what_doesnt_fit_is_refused(changes: dict[str, Any], told: str) -> None:
    given = {"query": torch.zeros(4, 2), "vectors": torch.zeros(5, 2), "target": torch.arange(4), "temperature": 1.0}
    given |= changes
    with pytest.raises(ValueError, match=told):
        infonce(given.pop("query"), given.pop("vectors"), given.pop("target"), **given)


def test_triton_says_what_it_cant_do(monkeypatch: pytest.MonkeyPatch) -> None:
    query = torch.zeros(4, 300)
    target = torch.arange(4)
    with pytest.raises(ValueError, match="D up to 256.*D = 300"):
        infonce(query.to(DEVICE), query.to(DEVICE), target.to(DEVICE), temperature=1.0, impl="triton")
    monkeypatch.setattr("kernels.choose.INTERPRETED", False)
    with pytest.raises(RuntimeError, match="set TRITON_INTERPRET=1"):
        infonce(query, query, target, temperature=1.0, impl="triton")
    assert infonce(query, query, target, temperature=1.0).loss.shape == (4,)
