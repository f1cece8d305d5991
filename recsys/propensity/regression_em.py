"""How likely a look at each place is, from a ranker's own lists, where a model of the items can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.propensity.clicks import click_rates, shown_and_clicked
from recsys.value import require, value


@value
class RegressionEM:
    """EM of the position-based click model with a regression of relevance on features (Wang et al., 2018).

    Needs no randomised lists, but believes its regression: what the features can't say of an item's worth and the old
    ranker knew goes into the propensities. The M-step of the logistic regression is the bound of Böhning and Lindsay
    (1988), so that the likelihood rises in every round and there is no step size. Group effects are shrunk by `prior`
    pseudo-items towards 0.
    """

    rounds: int = 100
    prior: float = 10.0

    def __post_init__(self) -> None:
        require(self.rounds >= 1, f"rounds must be at least 1, got {self.rounds}")

    def __call__(self, features: Tensor, group: Tensor, click: Tensor, position: Tensor, num: int) -> Tensor:
        """[K] propensities over the first place's, of features [L, K, F], groups, clicks and positions [L, K]."""
        here = position.flatten() > 0
        rows = features.flatten(0, 1)[here].double()
        fitted = _Regression.blank(rows, group.flatten()[here], self.prior)
        clicked, place = click.flatten()[here].double(), position.flatten()[here]
        shown, _ = shown_and_clicked(click, position, num)
        look = click_rates(click, position, num).clamp(0.01, 0.99)
        for _ in range(self.rounds):
            seen, wanted = posterior(look[place - 1], fitted.relevance, clicked)
            look = torch.zeros_like(look).index_add(0, place - 1, seen) / shown.clamp(min=1)
            fitted.improve(wanted)
        return look / look[0]


def posterior(look: Tensor, wish: Tensor, click: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of a look and of a wish, given their priors and whether there was a click; all [n]."""
    none = (1 - look * wish).clamp(min=1e-12)
    return click + (1 - click) * look * (1 - wish) / none, click + (1 - click) * wish * (1 - look) / none


@dataclass
class _Regression:
    """Logistic regression on rows and groups, improved a step at a time."""

    rows: Tensor  # [n, 1 + F]
    group: Tensor  # [n]
    bound: Tensor  # [1 + F, 1 + F] inverse of a quarter of the rows' products
    size: Tensor  # [G] items of a group, prior included
    prior: float
    weight: Tensor  # [1 + F]
    effect: Tensor  # [G]

    @classmethod
    def blank(cls, rows: Tensor, group: Tensor, prior: float) -> _Regression:
        held = torch.cat([torch.ones(len(rows), 1, dtype=rows.dtype), rows], 1)
        size = torch.bincount(group).double() + prior
        eye = torch.eye(held.shape[1], dtype=held.dtype)
        bound = torch.linalg.inv(held.T @ held / 4 + 1e-6 * len(held) * eye)
        return cls(held, group, bound, size, prior, held.new_zeros(held.shape[1]), torch.zeros_like(size))

    @property
    def relevance(self) -> Tensor:
        return torch.sigmoid(self.rows @ self.weight + self.effect[self.group])

    def improve(self, wanted: Tensor) -> None:
        """One step of the features' weights, one of the groups' effects, towards the wanted probabilities [n]."""
        self.weight = self.weight + self.bound @ (self.rows.T @ (wanted - self.relevance))
        pull = torch.zeros_like(self.effect).index_add(0, self.group, wanted - self.relevance)
        self.effect = self.effect + (pull - self.prior * self.effect / 4) / (self.size / 4)
