"""Several workers must make the gradient that one would make of the whole batch, whatever each one's share of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kernels.infonce import InfoNCEOutput, infonce, infonce_ring
from recsys.candidates import Candidates, gather
from tests.workers import together

SHARES = {2: (9, 4), 4: (5, 1, 8, 3)}  # rows of each worker
DIM, KINDS = 6, 7


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.item = nn.Linear(5, DIM), nn.Linear(5, DIM)
        self.log_temperature = nn.Parameter(torch.zeros(()))
        g = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=g).double() * 0.5

    def forward(self, rows: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(rows), self.item(items), self.log_temperature.exp()


def batch(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows, items, ids and log_q of the whole batch; row n's positive is item n."""
    g = torch.Generator().manual_seed(1)
    rows, items = (torch.randn(size, 5, generator=g).double() for _ in range(2))
    return rows, items, torch.randint(0, KINDS, (size,), generator=g), torch.randn(size, generator=g).double()


def gathered(query: Tensor, vectors: Tensor, temperature: Tensor, ids: Tensor, log_q: Tensor) -> InfoNCEOutput:
    pool, target = gather(Candidates(vectors, ids, log_q), torch.arange(len(query)))
    return infonce(query, pool.vectors, target, log_q=pool.log_q, ids=pool.ids, temperature=temperature)


def ring(query: Tensor, vectors: Tensor, temperature: Tensor, ids: Tensor, log_q: Tensor) -> InfoNCEOutput:
    target = torch.arange(len(query))
    return infonce_ring(query, vectors, target, log_q=log_q, ids=ids, temperature=temperature)


WAYS = {"gather": gathered, "ring": ring}


def single(size: int) -> tuple[InfoNCEOutput, Tensor]:
    towers = Towers()
    rows, items, ids, log_q = batch(size)
    query, vectors, temperature = towers(rows, items)
    found = infonce(query, vectors, torch.arange(size), log_q=log_q, ids=ids, temperature=temperature, impl="reference")
    found.loss.mean().backward()
    return found, flat(towers)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def work(rank: int, world: int, shares: tuple[int, ...], folder: Path) -> None:
    start, size = sum(shares[:rank]), sum(shares)
    here = slice(start, start + shares[rank])
    rows, items, ids, log_q = (x[here] for x in batch(size))
    for way, function in WAYS.items():
        towers = DistributedDataParallel(Towers())
        found = function(*towers(rows, items), ids, log_q)
        (found.loss.sum() / size * world).backward()  # DDP averages over the workers
        saved = {**found._asdict(), "gradient": flat(towers)}
        np.savez(folder / f"{way}-{rank}.npz", **{name: x.detach().numpy() for name, x in saved.items()})


@pytest.fixture(scope="module", params=sorted(SHARES), ids=lambda world: f"{world} workers")
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[int, ...], Path]:
    shares, folder = SHARES[request.param], tmp_path_factory.mktemp("workers")
    together(work, len(shares), f"{folder}/meet", shares, folder)
    return shares, folder


def part(folder: Path, way: str, rank: int) -> dict[str, Tensor]:
    return {name: torch.from_numpy(x) for name, x in np.load(folder / f"{way}-{rank}.npz").items()}


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_is_that_of_the_whole_batch(parts: tuple[tuple[int, ...], Path], way: str) -> None:
    shares, folder = parts
    _, expected = single(sum(shares))
    for rank in range(len(shares)):
        found = part(folder, way, rank)["gradient"]
        ratio = float(found @ expected / (expected @ expected))
        assert ratio == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("way", WAYS)
def test_every_row_has_the_outputs_of_the_whole_batch(parts: tuple[tuple[int, ...], Path], way: str) -> None:
    shares, folder = parts
    expected, _ = single(sum(shares))
    saved = [part(folder, way, rank) for rank in range(len(shares))]
    for name, whole in expected._asdict().items():
        torch.testing.assert_close(torch.cat([worker[name] for worker in saved]), whole.detach(), msg=name)


def test_a_ring_of_one_is_the_op_itself() -> None:
    g = torch.Generator().manual_seed(2)
    query, vectors = (torch.randn(7, 4, generator=g).double().requires_grad_() for _ in range(2))
    target, ids = torch.arange(7), torch.randint(0, 3, (7,), generator=g)
    for options in ({}, {"ids": ids}, {"ids": ids, "positive_mode": "corrected"}):
        ours, whole = (
            op(query, vectors, target, temperature=0.5, **options)  # type: ignore[operator]
            for op in (infonce_ring, infonce)
        )
        for name, x in whole._asdict().items():
            torch.testing.assert_close(getattr(ours, name), x, msg=name)
        gradients = [torch.autograd.grad(found.loss.sum(), [query, vectors]) for found in (ours, whole)]
        torch.testing.assert_close(gradients[0], gradients[1])
