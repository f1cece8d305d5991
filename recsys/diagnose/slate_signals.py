"""What can be measured of logged lists: each an effect with its distance from none in standard errors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recsys.diagnose.logistic import Logistic, within_lists
from recsys.diagnose.slates import LoggedSlates
from recsys.propensity.clicks import shown_and_clicked


class Signal(NamedTuple):
    """An effect and how many standard errors it lies from none, positive on the side that tells of a fault."""

    effect: float
    z: float


def looks(slates: LoggedSlates, rows: Tensor) -> Signal:
    """eta of P(click) ~ place^-eta in the randomised lists in rows, by least squares in logarithms weighted by clicks."""
    num = int(slates.position.max())
    shown, clicked = shown_and_clicked(slates.click[rows], slates.position[rows], num)
    weight, place = clicked + 0.5, torch.arange(1, num + 1, dtype=torch.float64).log()
    rate = (weight / (shown + 1)).log()
    centred = place - (weight @ place) / weight.sum()
    spread = weight @ centred.square()
    eta = -float((weight * centred) @ rate / spread)
    return Signal(eta, eta * float(spread) ** 0.5)


def turned(slates: LoggedSlates, rows: Tensor, old: Tensor) -> Signal:
    """How far the model's score [L, K] is turned towards the old ranker's, by the clicks of the randomised lists in rows.

    Clicks are regressed on both scores, standardised within lists, with the place held fixed by its logarithm. The
    effect is one less the cosine between the model's score and the fitted mixture; z is that of a negative coefficient
    of the old score.
    """
    here = slates.position[rows] > 0
    ours, theirs = (within_lists(held[rows], here)[here] for held in (slates.score, old))
    columns = torch.stack([ours, theirs, _log_place(slates.position[rows])[here]], 1)
    told = Logistic.fit(columns, slates.click[rows][here])
    excess, alike = float(-told.weight[1] / told.weight[0].clamp(min=0.05)), float((ours * theirs).mean())
    cosine = (1 - excess * alike) / max(1e-12, 1 + excess**2 - 2 * excess * alike) ** 0.5
    return Signal(1 - cosine, -float(told.z[1]))


def lost(slates: LoggedSlates, before: Tensor, after: Tensor) -> Signal:
    """The share that the model's coefficient for clicks loses between two sets of lists [L], the place held fixed."""
    fits = [_score_alone(slates, rows) for rows in (before, after)]
    gap = fits[0].weight[0] - fits[1].weight[0]
    error = (fits[0].error[0] ** 2 + fits[1].error[0] ** 2).sqrt()
    return Signal(float(gap / fits[0].weight[0].clamp(min=0.05)), float(gap / error))


def missing_carts(slates: LoggedSlates, fresh: float) -> Signal:
    """One less the ratio of carts per click in the last lists to that in the twice as many lists before them."""
    assert slates.cart is not None
    assert slates.day is not None
    order = slates.day.argsort(descending=True)
    num = max(1, round(fresh * len(order)))
    clicks, carts = [], []
    for rows in (order[:num], order[num : 3 * num]):
        clicked = slates.click[rows] > 0
        clicks.append(max(1.0, float(clicked.sum())))
        carts.append(float(slates.cart[rows][clicked].sum()))
    rates, pooled = [c / n for c, n in zip(carts, clicks, strict=True)], sum(carts) / sum(clicks)
    error = max(1e-12, pooled * (1 - pooled) * sum(1 / n for n in clicks)) ** 0.5
    return Signal(1 - rates[0] / max(rates[1], 1e-12), (rates[1] - rates[0]) / error)


def disagreement(slates: LoggedSlates, rows: Tensor) -> Signal:
    """One less the cosine between the features' coefficients for a click at a fixed place and for a cart after a click.

    z is of the inner product of the part of the second that isn't along the first.
    """
    assert slates.cart is not None
    here = slates.position[rows] > 0
    features = slates.features[rows][here].double()
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-12)
    clicked = slates.click[rows][here] > 0
    draws = Logistic.fit(torch.cat([features, _log_place(slates.position[rows])[here][:, None]], 1), clicked)
    turns = Logistic.fit(features[clicked], slates.cart[rows][here][clicked])
    one, other = draws.weight[:-1], turns.weight
    along = (one @ other) / (one @ one).clamp(min=1e-12)
    apart = other - along * one
    cosine = float(one @ other / (one.norm() * other.norm()).clamp(min=1e-12))
    return Signal(1 - cosine, float((apart / turns.error).square().mean().sqrt()))


def old_ranker(slates: LoggedSlates, rows: Tensor, rounds: int = 3) -> tuple[Tensor, float]:
    """What features and groups say of the place: a score [L, K], and the share of the places' variance explained.

    Ridge regression and group means by turns (backfitting), on the lists in rows [L].
    """
    here = slates.position > 0
    wanted = within_lists(-slates.position, here)
    features = slates.features.double()
    features = features - features.mean((0, 1))
    linear, effect = torch.zeros_like(wanted), torch.zeros_like(wanted)
    used = rows[:, None] & here
    for _ in range(rounds):
        linear = features @ _ridge(features[used], (wanted - effect)[used])
        if slates.group is not None:
            effect = _group_means(slates.group, wanted - linear, used)[slates.group]
    guess = linear + effect
    centred = within_lists(guess, here)
    share = float((centred[used] * wanted[used]).mean() ** 2) if bool((guess != 0).any()) else 0.0
    return guess, share


def _score_alone(slates: LoggedSlates, rows: Tensor) -> Logistic:
    here = slates.position[rows] > 0
    columns = (slates.score[rows].double()[here], _log_place(slates.position[rows])[here])
    return Logistic.fit(torch.stack(columns, 1), slates.click[rows][here])


def _log_place(position: Tensor) -> Tensor:
    return position.clamp(min=1).double().log()


def _ridge(columns: Tensor, wanted: Tensor) -> Tensor:
    eye = torch.eye(columns.shape[1], dtype=torch.float64)
    return torch.linalg.solve(columns.T @ columns + eye, columns.T @ wanted)


def _group_means(group: Tensor, wanted: Tensor, used: Tensor, prior: float = 5.0) -> Tensor:
    zero = torch.zeros(int(group.max()) + 1, dtype=torch.float64)
    total = zero.index_add(0, group[used], wanted[used])
    return total / (torch.bincount(group[used], minlength=len(zero)) + prior)
