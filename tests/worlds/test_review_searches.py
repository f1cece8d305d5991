"""Real titles and texts, searched."""

from __future__ import annotations

import pytest
import torch

from recsys.worlds.review_searches import ReviewSearches, reviews

pytestmark = pytest.mark.real
SMALL = ReviewSearches(
    num_items=900, num_queries=400, num_head=80, num_clicks=3000, num_held_out=(40, 100), num_judged=(20, 50)
)


def test_words_are_padded_at_the_end_and_none_comes_twice() -> None:
    for held, fewest in zip(reviews(), (2, 8), strict=True):
        there = held > 0
        assert bool((there == (torch.arange(held.shape[1]) < there.sum(1, keepdim=True))).all())
        assert int(there.sum(1).min()) >= fewest
        assert all(len(set(row[row > 0].tolist())) == int((row > 0).sum()) for row in held[:200])


def test_relevant_is_what_has_the_title_and_tail_titles_were_never_typed() -> None:
    logs, truth = SMALL.sample(0)
    titles, texts = reviews()
    some = {tuple(text): [] for text in logs.items.tolist()}  # type: ignore[var-annotated]
    for title, text in zip(titles.tolist(), texts.tolist(), strict=True):
        if tuple(text) in some:
            some[tuple(text)].append(title)
    for query, row in zip(logs.held_out.tolist(), truth.relevant, strict=True):
        assert all(query in some[tuple(logs.items[item].tolist())] for item in row.nonzero()[:, 0].tolist())
        assert bool(row.any())
    typed = {tuple(row) for row in logs.queries.tolist()}
    fresh = {tuple(row) for row in logs.held_out[~truth.head].tolist()}
    judged = {tuple(row) for row in logs.judged[logs.judged_id == 1].tolist()}
    assert len(typed) == 400
    assert not typed & fresh
    assert not typed & judged
    assert not fresh & judged


def test_clicks_are_right_but_for_the_noise_and_seeds_differ() -> None:
    logs, _ = SMALL.sample(1)
    same, other = SMALL.sample(1).logs, SMALL.sample(2).logs
    assert torch.equal(logs.clicks, same.clicks)
    assert not torch.equal(logs.items, other.items)
    quiet = ReviewSearches(
        num_items=900, num_queries=400, num_head=80, noise=0.0, num_held_out=(40, 100), num_judged=(20, 50)
    )
    clicks = quiet.sample(1).logs.clicks
    assert len(clicks.unique(dim=0)) < 900  # a title's own reviews alone
    heads = logs.judged_id[logs.judged_id > 1] - 2
    assert torch.equal(logs.queries[heads], logs.judged[logs.judged_id > 1])


def test_more_titles_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="different titles are asked for"):
        ReviewSearches(num_items=1500).sample(0)
