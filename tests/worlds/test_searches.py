"""The search log against its own statement."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from recsys.worlds.searches import Searches, SearchLogs
from recsys.worlds.truth_searches import SearchesTruth

SMALL = {
    "facets": (12, 10, 8), "synonyms": 5, "num_items": 500, "num_queries": 700, "num_head": 50, "num_clicks": 6000,
    "num_held_out": (30, 60), "num_judged": (20, 40),
}  # fmt: skip


def sampled(seed: int = 0, **settings: object) -> tuple[Searches, SearchLogs, SearchesTruth]:
    world = Searches(**{**SMALL, **settings})  # type: ignore[arg-type]
    logs, truth = world.sample(seed)
    return world, logs, truth


def concept_of(world: Searches, seed: int) -> dict[int, int]:
    """Word -> concept, by the statement: a concept's words stand together in a shuffled vocabulary."""
    from recsys.random import torch_rng

    table = 1 + torch.randperm(world.num_tokens, generator=torch_rng(seed, "vocabulary"))
    return {
        int(word): place // world.synonyms for place, word in enumerate(table[: world.num_concepts * world.synonyms])
    }


def sets(queries: Tensor, concept: dict[int, int]) -> list[frozenset[int]]:
    return [frozenset(concept[word] for word in row if word) for row in queries.tolist()]


def test_relevance_is_that_of_a_loop_over_words() -> None:
    world, logs, truth = sampled()
    concept = concept_of(world, 0)
    items = [frozenset(concept[word] for word in row if word in concept) for row in logs.items.tolist()]
    for asked, row in zip(sets(logs.held_out, concept), truth.relevant, strict=True):
        assert row.nonzero()[:, 0].tolist() == [i for i, has in enumerate(items) if asked <= has]
    assert all(len(has) == 4 for has in items)
    assert int(truth.relevant.sum(1).min()) >= 1


def test_tail_queries_that_are_tested_or_judged_name_what_no_query_of_the_log_names() -> None:
    world, logs, truth = sampled()
    concept = concept_of(world, 0)
    typed = set(sets(logs.queries, concept))
    held, judged = sets(logs.held_out[~truth.head], concept), sets(logs.judged[logs.judged_id == 1], concept)
    assert not typed & set(held)
    assert not typed & set(judged)
    assert not set(held) & set(judged)
    assert len(set(held)) == len(held)
    heads = logs.held_out_id[truth.head] - 2
    assert torch.equal(logs.queries[heads], logs.held_out[truth.head])
    assert not set(heads.tolist()) & set((logs.judged_id[logs.judged_id > 1] - 2).tolist())
    strings = {tuple(sorted(row)) for row in logs.queries.tolist()}
    assert len(strings) == len(logs.queries)


def test_rates_are_as_stated() -> None:
    world, logs, _ = sampled(num_clicks=40_000, noise=0.2)
    concept = concept_of(world, 0)
    items = [frozenset(concept[word] for word in row if word in concept) for row in logs.items.tolist()]
    asked = sets(logs.queries, concept)
    right = sum(asked[q] <= items[i] for q, i in logs.clicks.tolist()) / len(logs.clicks)
    assert right == pytest.approx(0.8, abs=0.02)
    counts = logs.clicks[:, 0].bincount(minlength=world.num_queries).double()
    assert float(counts[:4].mean() / counts[32:64].mean()) == pytest.approx(
        float((torch.arange(1, 5.0) ** -1.15).mean() / (torch.arange(33, 65.0) ** -1.15).mean()), rel=0.1
    )
    table = {word: place % world.synonyms for place, word in enumerate(_vocabulary(world))}
    for rows, wanted in ((logs.queries[:50], 0.95), (logs.queries[50:], 0.1)):
        common = [table[word] == 0 for row in rows.tolist() for word in row if word]
        assert sum(common) / len(common) == pytest.approx(wanted, abs=0.04)
    found = torch.zeros(len(logs.judged), world.num_items, dtype=torch.bool)
    found[logs.judgements[:, 0], logs.judgements[:, 1]] = True
    every = torch.tensor([[wants <= has for has in items] for wants in sets(logs.judged, concept)])
    assert not bool((found & ~every).any())
    assert float(found.sum() / every.sum()) == pytest.approx(0.9, abs=0.06)


def _vocabulary(world: Searches) -> list[int]:
    from recsys.random import torch_rng

    table = 1 + torch.randperm(world.num_tokens, generator=torch_rng(0, "vocabulary"))
    return table[: world.num_concepts * world.synonyms].tolist()


def test_clicks_fall_on_covered_items_alone() -> None:
    _, logs, _ = sampled(coverage=0.3)
    assert logs.clicks[:, 1].unique().numel() <= 150
    _, full, _ = sampled(coverage=1.0)
    assert full.clicks[:, 1].unique().numel() > 450


def test_the_same_seed_gives_the_same_bits_and_switches_leave_other_streams_alone() -> None:
    (_, a, ta), (_, b, _), (_, c, _) = sampled(), sampled(), sampled(1)
    for field in fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name))
    assert not torch.equal(a.items, c.items)
    _, even, te = sampled(zipf=0.0)
    for name in ("items", "queries", "held_out", "judged", "judgements"):
        assert torch.equal(getattr(a, name), getattr(even, name))
    assert torch.equal(ta.relevant, te.relevant)
    assert not torch.equal(a.clicks, even.clicks)


def test_settings_that_mean_nothing_are_named() -> None:
    with pytest.raises(ValueError, match=r"coverage must lie in \(0, 1\], got 0"):
        Searches(coverage=0)
    with pytest.raises(ValueError, match="200 head queries are asked for, num_head is 100"):
        Searches(num_head=100)
    with pytest.raises(ValueError, match="different queries can be made"):
        Searches(**{**SMALL, "num_queries": 60_000}).sample(0)  # type: ignore[arg-type]
