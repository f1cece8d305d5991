"""How likely a look at each place is, from items that happened to be shown at several places."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.propensity.clicks import shown_and_clicked

ROUNDS, TOLERANCE = 1000, 1e-9


def harvested(item: Tensor, click: Tensor, position: Tensor, num: int) -> Tensor:
    """[K] propensities over the first place's, from items [L, K] that were shown at two places or more.

    Interventions harvested from changes of a ranker (Agarwal et al., 2019): of an item that was shown at both k and k',
    clicks at k relate to clicks at k' as the propensities do, however good it is. Which of the two got the clicks is a
    paired comparison (Bradley and Terry, 1952), whose likelihood is maximised over all pairs by Hunter's (2004)
    algorithm. The item's number must stand for the same item for the same kind of query. Places that no chain of
    pairs with clicks links to the first have NaN.
    """
    wins = pair_wins(item, click, position, num)
    games = wins + wins.T
    strength = torch.ones(num, dtype=torch.float64)
    for _ in range(ROUNDS):
        share = (games / (strength[:, None] + strength)).fill_diagonal_(0)
        new = (wins.sum(1) / share.sum(1).clamp(min=1e-300)).clamp(min=1e-12)
        new = new / new[0]
        done = bool((new / strength).log().abs().max() < TOLERANCE)
        strength = new
        if done:
            break
    return strength.masked_fill(~_linked(games), torch.nan)


def pair_wins(item: Tensor, click: Tensor, position: Tensor, num: int) -> Tensor:
    """[K, K] summed click rates at k of the items that were also shown at k'; the diagonal is 0."""
    _, number = item.flatten().unique(return_inverse=True)
    cell = number * num + (position.flatten() - 1).clamp(min=0) + 1
    cell = torch.where(position.flatten() > 0, cell, 0)
    size = (int(number.max()) + 1) * num
    shown, clicked = shown_and_clicked(click.flatten(), cell, size)
    shown, rate = shown.view(-1, num) > 0, (clicked / shown.clamp(min=1)).view(-1, num)
    return (rate.T @ shown.double()).fill_diagonal_(0)


def _linked(games: Tensor) -> Tensor:
    """[K] whether a chain of pairs leads to the first place."""
    reached = torch.zeros(len(games), dtype=torch.bool)
    reached[0] = True
    for _ in range(len(games)):
        reached = reached | (games[reached] > 0).any(0)
    return reached
