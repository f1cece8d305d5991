"""Under caps an answer is the greedy one: from the best downwards, whoever's groups have room; k of them while there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.index.vector_index import IndexSpec, Traits, VectorIndex
from recsys.random import rng
from tests.index.shop import shop

N = 2000


def greedy(scores: np.ndarray, groups: dict[str, np.ndarray], caps: dict[str, int], k: int) -> list[int]:
    """A slow walk down one query's scores [n]; -inf is not allowed."""
    taken: list[int] = []
    for item in np.argsort(-scores, kind="stable").tolist():
        full = any(
            groups[name][item] >= 0 and sum(groups[name][other] == groups[name][item] for other in taken) >= cap
            for name, cap in caps.items()
        )
        if len(taken) < k and np.isfinite(scores[item]) and not full:
            taken.append(item)
    return taken


@given(
    kind=st.sampled_from(["flat", "ivf"]),
    sellers=st.sampled_from([1, 4, 40, 400]),
    skew=st.sampled_from([0.0, 2.0]),
    caps=st.sampled_from([{"seller": 1}, {"seller": 3}, {"seller": 2, "kind": 5}]),
    k=st.sampled_from([1, 10, 60]),
    share=st.sampled_from([None, 0.3, 0.01]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_caps_are_the_greedy_walk(
    kind: str, sellers: int, skew: float, caps: dict[str, int], k: int, share: float | None, seed: int
) -> None:
    world, draw = shop(N), rng(seed, "groups")
    odds = (np.arange(sellers) + 1.0) ** -skew
    groups = {
        "seller": draw.choice(sellers, N, p=odds / odds.sum()),
        "kind": np.where(draw.random(N) < 0.1, -1, world.cluster % 7),
    }
    spec = IndexSpec(kind=kind, lists=20, probes=20)  # type: ignore[arg-type]
    index = VectorIndex.build(world.items, None, spec, traits=Traits(groups=groups))
    mask = None if share is None else draw.random(N) < share
    hits = index.search(world.users[:3], k, allowed=mask, caps=caps)
    scores = world.users[:3] @ world.items.T
    if mask is not None:
        scores[:, ~mask] = -np.inf
    for row in range(3):
        assert [item for item in hits.ids[row].tolist() if item >= 0] == greedy(scores[row], groups, caps, k)


def test_one_group_that_holds_everything_near_is_walked_past() -> None:
    """A thousand nearest of one seller: k are found all the same, few lists visited or not."""
    world = shop(20_000)
    query, items = world.users[:1], np.arange(20_000)
    near = np.argsort(-(world.items @ query[0]))[:1000]
    seller = items.copy()
    seller[near] = near[0]
    spec = IndexSpec(kind="ivf", lists=100, probes=10)
    index = VectorIndex.build(world.items, None, spec, traits=Traits(groups={"seller": seller}))
    hits = index.search(query, 50, caps={"seller": 1})
    assert len(set(seller[hits.ids[0]])) == 50
    truth = [int(near[0]), *np.argsort(-(world.items @ query[0]))[1000:1049].tolist()]
    assert np.isin(truth, hits.ids[0]).mean() >= 0.9


def test_lists_keep_their_recall_under_caps() -> None:
    world = shop(20_000)
    index = VectorIndex.build(
        world.items,
        None,
        IndexSpec(kind="ivf", lists=128, recall_target=0.95),
        world.users[::2],
        Traits(groups={"cluster": world.cluster}),
    )
    queries = world.users[1:80:2]
    hits, scores = index.search(queries, 30, caps={"cluster": 2}), queries @ world.items.T
    truth = [greedy(row, {"cluster": world.cluster}, {"cluster": 2}, 30) for row in scores]
    shares = [np.isin(true, found).mean() for true, found in zip(truth, hits.ids, strict=True)]
    assert np.mean(shares) >= 0.93
    assert (hits.ids >= 0).all()


def test_changed_items_stand_in_their_new_group() -> None:
    world = shop(N)
    index = VectorIndex.build(world.items, None, IndexSpec(), traits=Traits(groups={"seller": np.arange(N)}))
    first = index.search(world.users[:1], 3).ids[0]
    index.add(world.items[first], first, Traits(groups={"seller": np.full(3, 9999)}))
    found = index.search(world.users[:1], 3, caps={"seller": 1}).ids[0]
    assert found[0] == first[0]
    assert not np.isin(first[1:], found).any()


def test_wrong_caps_are_named() -> None:
    world = shop(N)
    index = VectorIndex.build(world.items, None, IndexSpec(), traits=Traits(groups={"seller": np.arange(N)}))
    with pytest.raises(ValueError, match=r"no group 'brand', only \['seller'\]"):
        index.search(world.users[:1], 3, caps={"brand": 1})
    with pytest.raises(ValueError, match="cap of 'seller' must be a whole number from 1 on, got 0"):
        index.search(world.users[:1], 3, caps={"seller": 0})
    with pytest.raises(ValueError, match="must be integers"):
        VectorIndex.build(world.items, None, IndexSpec(), traits=Traits(groups={"seller": np.zeros(N)}))
