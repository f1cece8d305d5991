"""Offers against counts of what the sources really draw; pools across processes against one process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recsys.candidates import Candidates, Corpus, InBatch, Mixed, Popular, Source, Uniform, concat, gather, remember
from recsys.frequency import StreamingFrequency
from recsys.losses.softmax import SampledSoftmax
from recsys.random import torch_rng
from tests.model.worlds import log_p
from tests.workers import together

MIXED = Mixed(sources=(InBatch(), Uniform(num=30), Popular(num=20, power=0.75)))


@pytest.mark.parametrize("source", [InBatch(), Uniform(num=7), Popular(num=7), MIXED, Corpus()])
def test_the_positives_come_first_and_are_the_targets(source: Source) -> None:
    shares = log_p(20, torch_rng(0, "p"))
    positives = torch.tensor([5, 3, 5])
    offer = source(positives, shares, torch_rng(0, "draw"))
    assert offer.items[:3].equal(positives)
    assert offer.target.equal(torch.arange(3))
    assert offer.items.shape == offer.log_q.shape
    assert (offer.items[3:] >= 2).all()
    assert (offer.items < 20).all()
    again = source(positives, shares, torch_rng(0, "draw"))
    assert again.items.equal(offer.items)


@pytest.mark.parametrize("source", [InBatch(), Uniform(num=30), Popular(num=30), Popular(num=30, power=0.5), MIXED])
def test_log_q_is_the_log_of_the_mean_count_in_the_pool(source: Source) -> None:
    shares = log_p(12, torch_rng(1, "p"))
    g, rounds = torch_rng(2, "rounds"), 3000
    counts, log_q = torch.zeros(12), torch.full((12,), torch.nan)
    for _ in range(rounds):
        positives = torch.multinomial(shares.exp(), 25, replacement=True, generator=g)
        offer = source(positives, shares, g)
        counts += torch.bincount(offer.items, minlength=12)
        log_q[offer.items] = offer.log_q
    torch.testing.assert_close(counts[2:] / rounds, log_q[2:].exp(), rtol=0.05, atol=0.02)


def test_mixtures_add_up_and_reject_an_empty_list() -> None:
    shares = log_p(12, torch_rng(1, "p"))
    items = torch.arange(2, 12)
    both = Mixed(sources=(Uniform(num=10), Uniform(num=30)))(items, shares, torch_rng(0, "a")).log_q[:10]
    assert torch.allclose(both, Uniform(num=40)(items, shares, torch_rng(0, "b")).log_q[:10])
    with pytest.raises(ValueError, match="at least one source"):
        Mixed(sources=())
    with pytest.raises(ValueError, match="positive, got 0"):
        Uniform(num=0)


def test_concat_and_remember_keep_the_newest() -> None:
    def pool(start: int) -> Candidates:
        ids = torch.arange(start, start + 3)
        return Candidates(torch.ones(3, 2, requires_grad=True) * ids[:, None], ids, ids.float())

    memory = None
    for start in (0, 3, 6):
        memory = remember(memory, pool(start), 5)
    assert memory is not None
    assert memory.ids.tolist() == [4, 5, 6, 7, 8]
    assert not memory.vectors.requires_grad
    assert memory.vectors[:, 0].tolist() == memory.log_q.tolist()
    joined = concat(pool(0), memory)
    assert joined.ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert joined.vectors.requires_grad


def test_gather_without_a_group_changes_nothing() -> None:
    pool = Candidates(torch.randn(3, 2), torch.arange(3), torch.zeros(3))
    target = torch.tensor([2, 0])
    assert gather(pool, target) == (pool, target)


SIZES = {2: [3, 5], 3: [4, 0, 7]}


def _share(world: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g, num = torch_rng(0, "gather"), sum(SIZES[world])
    vectors = torch.randn(num, 4, generator=g, dtype=torch.float64)
    queries = torch.randn(num, 4, generator=g, dtype=torch.float64)
    return vectors, queries, torch.randint(2, 6, (num,), generator=g)


def _worker(rank: int, world: int, folder: str) -> None:
    start, size = sum(SIZES[world][:rank]), SIZES[world][rank]
    vectors, queries, ids = (part[start : start + size].clone() for part in _share(world))
    vectors.requires_grad_()
    pool, target = gather(Candidates(vectors, ids, ids.double() / 10), torch.arange(size))
    assert target.equal(torch.arange(start, start + size))
    SampledSoftmax()(queries, pool, target).sum().backward()
    numbers = {"grad": vectors.grad, "ids": pool.ids, "log_q": pool.log_q}
    save_file({name: held.contiguous() for name, held in numbers.items()}, Path(folder) / f"{rank}.safetensors")


@pytest.mark.parametrize("world", [2, 3])
def test_gathered_gradients_are_those_of_one_process(world: int) -> None:
    vectors, queries, ids = _share(world)
    vectors.requires_grad_()
    SampledSoftmax()(queries, Candidates(vectors, ids, ids.double() / 10), torch.arange(len(ids))).sum().backward()
    with tempfile.TemporaryDirectory() as folder:
        together(_worker, world, f"{folder}/meet", folder)
        held = [load_file(Path(folder) / f"{rank}.safetensors") for rank in range(world)]
    assert vectors.grad is not None
    torch.testing.assert_close(torch.cat([each["grad"] for each in held]), vectors.grad)
    for each in held:
        assert each["ids"].equal(ids)
        assert each["log_q"].equal(ids.double() / 10)


def test_streaming_frequency_finds_the_probability_per_step() -> None:
    g = torch_rng(3, "stream")
    chance = torch.tensor([0.9, 0.5, 0.2, 0.05])
    frequency = StreamingFrequency(1000, rate=0.01, initial_gap=5.0)
    estimates = []
    for step in range(1, 6001):
        frequency.update(torch.nonzero(torch.rand(4, generator=g) < chance)[:, 0], step)
        if step > 3000:
            estimates.append(frequency.log_q(torch.arange(4)).exp())
    torch.testing.assert_close(torch.stack(estimates).mean(0), chance, rtol=0.1, atol=0.01)


def test_streaming_frequency_takes_the_longest_gap_of_colliding_items() -> None:
    frequency = StreamingFrequency(3, num_hashes=4, rate=0.5)
    for step in range(1, 50):
        frequency.update(torch.tensor([0, 0, 0]), step)
    crowded, alone = frequency.log_q(torch.tensor([7, 0]))
    assert alone > -0.01
    assert crowded <= alone
