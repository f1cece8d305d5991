"""Items' features say which items are alike, and ids say nothing."""

from __future__ import annotations

import torch

from recsys.data.catalogue import Catalogue
from recsys.doctor.features import item_features
from recsys.random import torch_rng


def test_alike_are_items_of_the_same_text_categories_and_numbers() -> None:
    texts = torch.randn(2, 384, generator=torch_rng(0, "texts"))
    columns = {
        "categorical": torch.tensor([[1, 4], [1, 4], [2, 4], [1, 4], [1, 4]]),
        "numeric": torch.tensor([[0.0], [0.0], [0.0], [9.0], [0.0]]),
        "text": texts[[0, 0, 0, 0, 1]].half(),
    }
    found = item_features(Catalogue(id_hash=torch.arange(5)[:, None], log_p=torch.zeros(5), **columns))
    assert found is not None
    held = found.float()
    distance = (held - held[0]).norm(dim=1)
    assert distance[1] == 0
    assert (distance[2:] > 0.1).all()


def test_without_texts_or_columns_there_is_nothing_to_compare() -> None:
    none = {"categorical": torch.zeros(3, 0).long(), "numeric": torch.zeros(3, 0), "text": torch.zeros(3, 0).half()}
    assert item_features(Catalogue(id_hash=torch.arange(3)[:, None], log_p=torch.zeros(3), **none)) is None
