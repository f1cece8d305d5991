"""What items are encoded from, as vectors that are alike where two items are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.data.catalogue import Catalogue
from recsys.random import torch_rng

WIDTH = 32  # random directions that stand for a text, and for each category


def item_features(catalogue: Catalogue) -> Tensor | None:
    """[V, F] float16 of texts, categories and numbers, None without any; ids are left out, for no two items have the same.

    Texts are projected at random, which keeps cosines (Johnson and Lindenstrauss, 1984); each value of a categorical column is
    a random direction; numbers are standardised, each as much as one of a text's directions.
    """
    parts = []
    if text := catalogue.text.shape[1]:
        project = torch.randn(text, WIDTH, generator=torch_rng(0, "texts"))
        parts.append(normalize(catalogue.text.float() @ project, dim=1))
    for place, column in enumerate(catalogue.categorical.unbind(1)):
        directions = torch.randn(int(column.max()) + 1, WIDTH, generator=torch_rng(0, f"column {place}"))
        parts.append(normalize(directions, dim=1)[column])
    if (numbers := catalogue.numeric).shape[1]:
        spread = numbers.std(0, correction=0).clamp(min=1e-6)
        parts.append((numbers - numbers.mean(0)) / spread / WIDTH**0.5)
    return torch.cat(parts, 1).half() if parts else None
