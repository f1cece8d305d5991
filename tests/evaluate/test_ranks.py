import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluate.ranks import contains, find, hide, marked, part, score_block, tied_ranks, top_k, without
from tests.evaluate.worlds import jagged, random_rows

INF = float("inf")


def slow_top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Sort by (-score, index), leave -inf out, pad with -1."""
    rows = []
    for row in scores:
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        kept = [i for i in order if row[i] > -INF][:k]
        rows.append(kept + [-1] * (k - len(kept)))
    return np.array(rows)


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 12), st.integers(1, 15))
def test_top_k_is_a_stable_sort_under_any_ties(seed: int, rows: int, num_items: int, k: int):
    generator = np.random.default_rng(seed)
    scores = generator.integers(-2, 3, (rows, num_items)).astype(np.float32)
    scores[scores == -2] = -INF
    assert np.array_equal(top_k(torch.from_numpy(scores), k).numpy(), slow_top_k(scores, k))


def test_top_k_without_ties_on_a_long_row():
    scores = np.random.default_rng(0).permutation(50_000).reshape(5, 10_000).astype(np.float64)
    assert np.array_equal(top_k(torch.from_numpy(scores), 20).numpy(), slow_top_k(scores, 20))


def test_top_k_refuses_nan_scores():
    with pytest.raises(ValueError, match="NaN"):
        top_k(torch.tensor([[1.0, float("nan"), 0.0]]), 1)


def test_score_block_copies_and_blocks_items_that_are_not_offered():
    held = np.zeros(3, np.float32)
    scores = score_block(
        lambda users: np.broadcast_to(held, (len(users), 3)), np.arange(2), torch.tensor([False, True, True])
    )
    assert scores[:, 0].tolist() == [-INF, -INF]
    assert held.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        score_block(lambda users: np.zeros((2, 3)), np.arange(2), torch.ones(4, dtype=torch.bool))


def test_hidden_items_are_not_ranked():
    scores = hide(torch.arange(12.0).view(2, 6), jagged([[5, 0], []]))
    assert top_k(scores, 3).tolist() == [[4, 3, 2], [5, 4, 3]]


@given(st.integers(0, 10_000))
def test_find_agrees_with_a_loop(seed: int):
    generator = np.random.default_rng(seed)
    rows = random_rows(generator, 6, 9, 5)
    held = jagged(rows)
    row, values = torch.from_numpy(generator.integers(0, 6, 40)), torch.from_numpy(generator.integers(-1, 12, 40))
    place = find(held, row, values)
    for r, value, p in zip(row.tolist(), values.tolist(), place.tolist(), strict=True):
        assert (p >= 0) == (value in rows[r])
        if p >= 0:
            assert held.values[p] == value
            assert held.offsets[r] <= p < held.offsets[r + 1]
    assert torch.equal(contains(held, row, values), place >= 0)


@given(st.integers(0, 10_000), st.sampled_from([1, 20, 1 << 21]))
def test_marked_agrees_with_a_loop(seed: int, table: int):
    generator = np.random.default_rng(seed)
    rows = random_rows(generator, 9, 12, 6)
    ranked = np.stack([generator.permutation(np.arange(-1, 14))[:5] for _ in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.evaluate.ranks.TABLE", table)
        found = marked(torch.from_numpy(ranked), jagged(rows))
    assert found.tolist() == [[item in held for item in row] for row, held in zip(ranked, rows, strict=True)]


def test_part_is_a_slice_of_rows():
    held = part(jagged([[1], [2, 3], [], [4]]), 1, 3)
    assert held.values.tolist() == [2, 3]
    assert held.offsets.tolist() == [0, 2, 2]


def test_without_moves_the_rest_up():
    ranked = torch.tensor([[4, 2, 9, 1], [3, -1, -1, -1]])
    assert without(ranked, jagged([[2, 1], [5]]), 3).tolist() == [[4, 9, -1], [3, -1, -1]]
    assert without(ranked, jagged([[], [3]]), 5).tolist() == [[4, 2, 9, 1, -1], [-1] * 5]


def test_tied_ranks_count_what_is_above_and_what_is_equal():
    scores = torch.tensor([[3.0, 1.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    ranks = tied_ranks(scores, jagged([[1, 4], [2]]))
    assert ranks.above.tolist() == [4, 0, 0]
    assert ranks.tied.tolist() == [0, 2, 4]
    assert ranks.row.tolist() == [0, 0, 1]
