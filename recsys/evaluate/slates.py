"""Lists of a few items with a grade, a click or a probability each, in the order that scores give them."""

from __future__ import annotations

from torch import Tensor

from recsys.evaluate.metrics import Judged


def ordered(scores: Tensor, held: Tensor) -> Tensor:
    """[L, K] what is held of each item, the highest score first; equal scores in the order of the columns."""
    return held.gather(1, scores.argsort(dim=1, descending=True, stable=True))


def judged(scores: Tensor, grades: Tensor) -> Judged:
    """Lists [L, K] ranked by their scores, to be given to a metric; grades >= 0, 0 is not relevant."""
    held = grades.double()
    best = held.sort(1, descending=True).values
    return Judged(ordered(scores, held), best, (held > 0).sum(1).double())


def mean_known(values: Tensor) -> float:
    """Mean over the lists that have a value; NaN where none has."""
    return float(values[~values.isnan()].mean())


def served(scores: Tensor, action: Tensor, examination: Tensor) -> float:
    """Expected actions a list when lists are served by their scores: action [L, K] is the probability after a look,
    examination [K] that of a look at each place.
    """
    return float((ordered(scores, action) * examination).sum(1).mean())


def snips_discount(scores: Tensor, click: Tensor, propensity: Tensor) -> float:
    """Mean discount 1 / log2(1 + rank) of a relevant item, from clicks weighted by 1 / propensity; all [L, K].

    The self-normalised estimate (Swaminathan and Joachims, 2015) of how high what is relevant would stand; unlike the
    NDCG of clicks it doesn't reward the old ranker's order. NaN without a click.
    """
    rank = 1 + scores.argsort(dim=1, descending=True, stable=True).argsort(1)
    weight = click.double() / propensity.double()
    return float((weight / (1 + rank).double().log2()).sum() / weight.sum())
