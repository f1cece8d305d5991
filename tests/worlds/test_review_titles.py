"""Reviews found by their titles: what is measured isn't learnt from, and tokens are the pretrained encoder's own."""

from __future__ import annotations

import numpy as np
import torch

from recsys.recipes.pretrained_query import Teacher
from recsys.worlds import review_titles
from recsys.worlds.review_titles import ITEMS, ReviewTitles


def made_up(seed: int, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Two thousand titles of few pieces in place of the reviews, which take minutes to encode."""
    g = torch.Generator().manual_seed(seed)
    titles = torch.randint(1, 90, (2000, 12), generator=g) * (
        torch.arange(12) < torch.randint(2, 13, (2000, 1), generator=g)
    )
    kind = torch.randint(2000, (ITEMS + 5000,), generator=g)
    vectors = torch.randn(ITEMS, 384, generator=g), torch.randn(2000, 384, generator=g)
    monkeypatch.setattr(review_titles, "reviews", lambda: (titles, kind, *vectors))


def test_measured_titles_are_not_learnt_from_and_their_reviews_are_there(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    made_up(0, monkeypatch)
    logs, truth = ReviewTitles().sample(1)
    titles, _, _, encoded = review_titles.reviews()
    assert truth.relevant.shape == (500, ITEMS)
    assert bool(truth.relevant.any(1).all())
    learnt = {tuple(row) for row in logs.vectors[:, :3].tolist()}
    assert not learnt & {tuple(row) for row in logs.held_out_vectors[:, :3].tolist()}
    assert not learnt & {tuple(row) for row in logs.validation_vectors[:, :3].tolist()}
    row = int((encoded == logs.vectors[7]).all(1).nonzero())
    assert torch.equal(logs.pieces[logs.unlabelled[7]], titles[row])


def test_a_piece_that_no_one_typed_is_unknown() -> None:
    found = review_titles._numbered(torch.tensor([[5, 9, 6, 0]]), torch.tensor([5, 9]))
    assert found.tolist() == [[2, 3, 1, 0]]


def test_the_teacher_reads_tokens_as_the_encoder_reads_texts() -> None:
    tokenizer = Teacher(torch.tensor([0, 1])).encoder.tokenizer
    texts = ["lovely dress", "runs small"]
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    pieces = torch.tensor([0, 1, *sorted({piece for row in ids for piece in row})])
    width = max(map(len, ids))
    numbered = review_titles._numbered(torch.tensor([row + [0] * (width - len(row)) for row in ids]), pieces[2:])
    teacher = Teacher(pieces)
    np.testing.assert_allclose(teacher(numbered), teacher.encoder.encode(texts), atol=1e-5)
    half = Teacher(pieces, 3)(numbered)
    assert float((half * teacher(numbered)).sum(1).max()) < 0.9
