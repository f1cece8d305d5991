"""How likely a look at each place is, from clicks by place."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.value import require


def click_rates(click: Tensor, position: Tensor, num: int) -> Tensor:
    """[K] click rates of the places 1 to num, over those of the first; clicks and positions [L, K], 0 for no item.

    Of lists in random order these are the propensities (Wang et al., 2016; Joachims et al., 2017). Of an old ranker's
    lists they aren't: the better an item the higher it stood, so that the propensities fall too steeply. Raises
    ValueError where the first place has no clicks.
    """
    shown, clicked = shown_and_clicked(click, position, num)
    rate = clicked / shown.clamp(min=1)
    require(bool(rate[0] > 0), "no clicks at the first place: show more lists before propensities are estimated")
    return rate / rate[0]


def shown_and_clicked(click: Tensor, position: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """[K] items shown and clicks, by place."""
    place, here = position.flatten(), position.flatten() > 0
    require(not len(place) or int(place.max()) <= num, f"a position above {num}: give the length of the longest list")
    zero = torch.zeros(num, dtype=torch.float64)
    ones = torch.ones(int(here.sum()), dtype=torch.float64)
    shown = zero.index_add(0, place[here] - 1, ones)
    return shown, zero.index_add(0, place[here] - 1, click.flatten()[here].double())
