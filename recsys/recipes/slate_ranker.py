"""Ranking of lists learnt from clicks, with or without a model of where users look."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.slates import DebiasedCurve, LoggedSlates
from recsys.evaluate.metrics import ndcg
from recsys.evaluate.slates import judged, mean_known, served, snips_discount
from recsys.heads.position import PositionTower
from recsys.heads.slate import SlateScorer
from recsys.propensity.clicks import click_rates
from recsys.propensity.harvest import harvested
from recsys.propensity.regression_em import RegressionEM
from recsys.propensity.weights import inverse
from recsys.random import torch_rng
from recsys.recipe import Metrics
from recsys.recipes.slate_objectives import Objective, SlateModel, objective
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import require, value
from recsys.worlds.slates import SlateLogs
from recsys.worlds.truth_slates import SlateTruth
from recsys.worlds.world import World

Weights = Literal["none", "click_rates", "randomised", "harvested", "regression_em", "known"]
FEWEST_RANDOM = 30  # randomised lists from which propensities are estimated; below, the ranker's noise must do


@dataclass(frozen=True)
class Watched:
    """A fitted ranker with the two curves of its training and the propensities that its monitor used."""

    fitted: Fitted
    clicks: tuple[float, ...]
    debiased: tuple[float, ...]

    @property
    def model(self) -> SlateModel:
        assert isinstance(self.fitted.model, SlateModel)
        return self.fitted.model


@value
class SlateRanker:
    """What an arm corrects for is its objective, its weights and what the item tower sees; all else is the same."""

    world: World
    objective: Objective = "listwise"
    weights: Weights = "none"
    known_eta: float = 1.0  # of weights "known": nobody knows it outside a simulator
    sees_position: bool = False
    dropout: float = 0.0  # of the place tower, by lists
    floor: float = 0.02  # of propensities
    keep: int | None = None  # number of the check, from 0, whose weights are kept; None: the last
    ceiling: bool = False  # score by the truth
    train: Fit = Fit(steps=300, batch=128, checks=12)

    def __post_init__(self) -> None:
        require(self.weights == "none" or self.objective == "listwise",
                f"weights are of the listwise objective, not of {self.objective!r}")  # fmt: skip

    def fit(self, logs: SlateLogs, seed: int) -> Watched:
        model, monitor = self._model(logs, seed), _Monitor(logs, self.keep)
        learnt = logs.period == 0
        columns = (logs.features[learnt], logs.seller[learnt], logs.position[learnt], logs.click[learnt])
        lesson = Lesson(columns, objective(self.objective, self.place_weights(logs)), monitor)
        fitted = self.train(model, lesson, seed)
        monitor.restore(model)
        return Watched(fitted, tuple(monitor.clicks), tuple(monitor.debiased))

    def place_weights(self, logs: SlateLogs) -> Tensor:
        """[K] weights of a click at each place, of mean 1."""
        if self.weights == "none":
            return torch.ones(logs.position.shape[1])
        held = inverse(self.propensity(logs).nan_to_num(nan=self.floor), self.floor).float()
        return held / held.mean()

    def propensity(self, logs: SlateLogs) -> Tensor:
        """[K] what the arm believes of users' looks."""
        learnt, num = logs.period == 0, logs.position.shape[1]
        ranked = learnt & ~logs.randomised
        if self.weights == "known":
            return torch.arange(1, num + 1, dtype=torch.float64) ** -self.known_eta
        if self.weights == "randomised":
            return random_or_harvested(logs, learnt)
        if self.weights == "harvested":
            return harvested(logs.item[ranked], logs.click[ranked], logs.position[ranked], num)
        if self.weights == "regression_em":
            return RegressionEM()(
                logs.features[ranked], logs.seller[ranked], logs.click[ranked], logs.position[ranked], num
            )
        return click_rates(logs.click[learnt], logs.position[learnt], num)

    def evaluate(self, fitted: Watched, logs: SlateLogs, truth: SlateTruth) -> Metrics:
        carted, held = truth.click * truth.cart, logs.period == 1
        scores = carted if self.ceiling else fitted.model.score(logs.requests, logs.request_sellers)
        found = {
            "atc": served(scores, carted, truth.examination),
            "ctr": served(scores, truth.click, truth.examination),
            "ndcg@5": mean_known(ndcg(judged(scores, truth.click), 5)),
        }
        if self.ceiling:
            return found
        on_log = fitted.model.score(logs.features[held], logs.seller[held])
        found["click_ndcg@10"] = mean_known(ndcg(judged(on_log, logs.click[held]), min(10, on_log.shape[1])))
        found["legacy"] = _agreement(on_log, logs.logged_score[held])
        return found | fitted.fitted.stats()

    def evidence(self, fitted: Watched, logs: SlateLogs, seed: int) -> Evidence:
        del seed  # nothing is drawn
        slates = LoggedSlates(
            position=logs.position,
            click=logs.click,
            score=fitted.model.score(logs.features, logs.seller),
            features=logs.features,
            randomised=logs.randomised,
            cart=logs.cart,
            group=logs.seller,
            logged_score=logs.logged_score,
            item=logs.item,
            day=logs.day,
            period=logs.period,
        )
        return Evidence.of(slates, DebiasedCurve(fitted.clicks, fitted.debiased))

    def _model(self, logs: SlateLogs, seed: int) -> SlateModel:
        num = logs.position.shape[1]
        scorer = SlateScorer(logs.features.shape[2], logs.num_sellers, num, torch_rng(seed, "init"))
        return SlateModel(scorer, PositionTower(num, self.dropout, torch_rng(seed, "dropout")), self.sees_position)


def random_or_harvested(logs: SlateLogs, rows: Tensor) -> Tensor:
    """[K] propensities from the randomised lists among the rows, or from the ranker's noise where there are few."""
    drawn, num = rows & logs.randomised, logs.position.shape[1]
    if int(drawn.sum()) >= FEWEST_RANDOM:
        return click_rates(logs.click[drawn], logs.position[drawn], num)
    return harvested(logs.item[rows], logs.click[rows], logs.position[rows], num)


class _Monitor:
    """Both curves of a run, on held-out lists; the debiased one is what all arms are tuned by."""

    def __init__(self, logs: SlateLogs, keep: int | None) -> None:
        held, self.keep = logs.period == 1, keep
        believed = random_or_harvested(logs, logs.period < 2).clamp(min=0.02).nan_to_num(nan=0.02)
        self.rows = (logs.features[held], logs.seller[held])
        self.click, self.propensity = logs.click[held], believed[logs.position[held] - 1]
        self.clicks: list[float] = []
        self.debiased: list[float] = []
        self.kept: dict[str, Any] | None = None

    def __call__(self, model: nn.Module) -> float:
        assert isinstance(model, SlateModel)
        if len(self.clicks) == self.keep:
            self.kept = deepcopy(model.state_dict())
        scores = model.score(*self.rows)
        self.clicks.append(mean_known(ndcg(judged(scores, self.click), min(10, scores.shape[1]))))
        self.debiased.append(snips_discount(scores, self.click, self.propensity))
        return self.debiased[-1]

    def restore(self, model: nn.Module) -> None:
        if self.kept is not None:
            model.load_state_dict(self.kept)


def _agreement(score: Tensor, other: Tensor) -> float:
    """Mean over the lists of the rank correlation of two scores (Spearman, 1904)."""
    ranks = [held.argsort(1).argsort(1).double() for held in (score, other)]
    centred = [held - held.mean(1, keepdim=True) for held in ranks]
    return float(((centred[0] * centred[1]).sum(1) / centred[0].square().sum(1)).mean())
