"""The causes of repetition told apart, with evidence made by hand and by the world."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from problems.p21_repetitive_results import FEW, PLAIN, recipe
from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.repetition import (
    ClickedItems,
    ExactLists,
    Repetition,
    ServedLists,
    clusters,
    effective_rank,
    twins,
)  # fmt: skip
from recsys.random import torch_rng

SEED = 6


def evidence(**world) -> Evidence:
    held = recipe(**world)
    logs = held.world.sample(SEED).logs
    return held.evidence(held.fit(logs, SEED), logs, SEED)


@pytest.mark.parametrize(
    ("world", "cause"),
    [
        (PLAIN, HEALTHY),
        ({"intents": (1.0,), "most": 12}, "near_duplicates"),
        ({"most": 1, "intents": (0.7, 0.3)}, "single_mode_query"),
        (PLAIN | {"collapse": 0.92}, "embedding_collapse"),
        (PLAIN | {"popularity": 1.2}, "popularity_bias"),
        ({"most": 1, "intents": (0.34, 0.33, 0.33), "index": FEW}, "coarse_index"),
    ],
)
def test_strengths_that_no_case_names(world, cause: str) -> None:
    said = Repetition()(evidence(**world))
    assert said.cause == cause
    assert set(said.rejected) == set(Repetition.causes) - {cause}


def test_without_a_replay_or_clicks_it_names_the_experiment() -> None:
    lists = evidence(**PLAIN).get(ServedLists)
    said = Repetition()(Evidence.of(lists))
    assert said.cause == ABSTAIN
    assert "without an index" in (said.next_experiment or "")
    said = Repetition()(Evidence.of(lists, ExactLists(lists.found)))
    assert said.cause == ABSTAIN
    assert "click" in (said.next_experiment or "")
    narrow = evidence(most=1)
    said = Repetition()(Evidence.of(narrow.get(ServedLists), narrow.get(ClickedItems)))
    assert said.cause == ABSTAIN
    twice = evidence(intents=(1.0,)).get(ServedLists)
    assert Repetition()(Evidence.of(twice)).cause == "near_duplicates"  # seen in lists and features
    said = Repetition()(Evidence.of(replace(twice, features=None)))
    assert said.cause == ABSTAIN
    assert "features" in (said.next_experiment or "")


def test_items_that_only_the_encoder_makes_alike_are_no_duplicates() -> None:
    confused = evidence(intents=(1.0,))
    lists = confused.get(ServedLists)
    others = torch.randn(lists.vectors.shape, generator=torch_rng(0, "other features"))
    parts = replace(lists, features=others), confused.get(ExactLists), confused.get(ClickedItems)
    said = Repetition()(Evidence.of(*parts))
    rows = {row.signal: row.value for row in said.evidence}
    assert said.cause == HEALTHY
    assert rows["share of shown items with a twin above"] > Repetition().duplicates
    assert rows["of these, twins in what is encoded"] == 0
    with pytest.raises(ValueError, match="a row for each of the"):
        replace(lists, features=others[1:])


def test_effective_rank_of_a_sphere_and_of_a_line() -> None:
    sphere = normalize(torch.randn(20_000, 7, generator=torch_rng(0, "sphere")), dim=1)
    assert effective_rank(sphere) == pytest.approx(7, rel=0.01)
    assert effective_rank(torch.tensor([[0.6, 0.8]]).expand(5, -1)) == pytest.approx(1)


def test_twins_are_those_after_the_first_and_empty_places_are_none() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.999, 0.0447], [0.0, 1.0]])
    assert twins(vectors, torch.tensor([[0, 2, 1, -1], [-1, -1, 0, 0]]), 0.95).tolist() == [
        [False, False, True, False],
        [False, False, False, True],
    ]


def test_clusters_of_separate_directions() -> None:
    label = torch.arange(90) % 3
    vectors = normalize(torch.eye(5)[label] + 0.05 * torch.randn(90, 5, generator=torch_rng(0, "v")), dim=1)
    found = clusters(vectors, 3)
    assert len(set(zip(label.tolist(), found.tolist(), strict=True))) == 3


def sphere(num: int, dim: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(num, dim, generator=torch_rng(seed, "sphere")), dim=1)


def test_few_directions_are_no_collapse_where_clicks_are_found() -> None:
    items = sphere(400, 6, 0)
    queries, found = items[:100], (items[:100] @ items.T).topk(40).indices
    near = found[:, :20]
    lists = ServedLists(items, queries, found, found[:, :10])
    assert Repetition()(Evidence.of(lists, ExactLists(found), ClickedItems(near))).cause == HEALTHY
    anywhere = torch.randint(400, near.shape, generator=torch_rng(0, "clicks"))
    assert Repetition()(Evidence.of(lists, ExactLists(found), ClickedItems(anywhere))).cause == "embedding_collapse"


def test_a_common_offset_of_all_vectors_changes_no_list_and_no_diagnosis() -> None:
    plain = evidence(**PLAIN)
    lists = plain.get(ServedLists)
    moved = torch.cat([lists.vectors, torch.full((len(lists.vectors), 1), 3.0)], 1)
    queries = torch.cat([lists.queries, torch.ones(len(lists.queries), 1)], 1)
    far = ServedLists(normalize(moved, dim=1), normalize(queries, dim=1), lists.found, lists.shown)
    said = Repetition()(Evidence.of(far, plain.get(ExactLists), plain.get(ClickedItems)))
    assert said.cause == HEALTHY


def test_clicks_spread_without_modes_are_no_second_meaning() -> None:
    items = sphere(1500, 24, 1)
    queries = items[:100]
    found = (queries @ items.T).topk(100).indices
    spread = torch.multinomial((4 * queries @ items.T).exp(), 24, generator=torch_rng(1, "clicks"))
    lists = ServedLists(items, queries, found, found[:, :10])
    said = Repetition()(Evidence.of(lists, ExactLists(found), ClickedItems(spread)))
    rows = {row.signal: row.value for row in said.evidence}
    assert rows["entropy of clicks less that of lists"] > Repetition().narrow
    assert said.cause == HEALTHY
