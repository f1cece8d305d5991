"""Ranking of judged lists by a small network, for one objective or another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.metric_gap import FACTORS, GradedProbe, TwoViews, attribution
from recsys.evaluate.graded import exponential
from recsys.evaluate.metrics import mean_average_precision, ndcg
from recsys.evaluate.slates import judged, mean_known
from recsys.losses.approx_ndcg import ApproxNDCG
from recsys.losses.lambda_loss import LambdaLoss
from recsys.losses.weighted_listwise import WeightedListwise
from recsys.random import torch_rng
from recsys.recipe import Metrics
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import require, value
from recsys.worlds.graded import GradedLogs
from recsys.worlds.truth_graded import GradedTruth
from recsys.worlds.world import World

Objective = Literal[
    "lambda_map", "binary_bce", "binary_softmax", "gain_softmax", "lambda_ndcg", "approx_ndcg", "grade_mse"
]
HIDDEN = 48
TOP_GAIN = 15.0  # of the highest grade


@value
class GradedRanker:
    """`mix` adds that share of LambdaMAP to an objective that has the rest."""

    world: World
    objective: Objective = "lambda_map"
    cutoff: int | None = None  # of lambda_ndcg
    mix: float = 0.0
    ceiling: bool = False  # score by the truth's expected gains
    train: Fit = Fit(steps=200, batch=16, learning_rate=1e-2)

    def __post_init__(self) -> None:
        require(0 <= self.mix <= 1, f"mix is a share, got {self.mix}")

    def fit(self, logs: GradedLogs, seed: int) -> Fitted:
        learnt, kept = ~logs.held_out, logs.held_out
        columns = (logs.features[learnt], logs.label[learnt])

        def validate(model: nn.Module) -> float:
            return mean_known(_ndcg(score(model, logs.features[kept]), logs.label[kept], 3))

        return self.train(network(logs.features.shape[2], seed), Lesson(columns, self._loss(), validate), seed)

    def evaluate(self, fitted: Fitted, logs: GradedLogs, truth: GradedTruth) -> Metrics:
        views = self.views(fitted, logs)
        online = truth.gain if self.ceiling else views.online_score
        online = online.masked_fill(~logs.online_pool, -torch.inf)
        grade = truth.grade * logs.online_pool
        found = {f"ndcg@{k}": _weighted(_ndcg(online, grade, k), logs.traffic) for k in (3, 10)}
        if self.ceiling:
            return found
        offline = judged(
            views.offline_score.masked_fill(~logs.offline_pool, -torch.inf), (logs.offline_label > 0).double()
        )
        found["map@10"] = mean_known(mean_average_precision(offline, min(10, offline.gains.shape[1])))
        shared = attribution(views, draws=2)
        found |= {f"lost[{name}]": float(x) for name, x in zip(FACTORS, shared.lost, strict=True)}
        found |= {f"share[{name}]": x for name, x in shared.shares().items()}
        return found | {"gap": found["map@10"] - found["ndcg@3"]} | fitted.stats()

    def evidence(self, fitted: Fitted, logs: GradedLogs, seed: int) -> Evidence:
        """Both views, and the probe: the same network, steps and rows, fitted to the grades."""
        probe = GradedRanker(world=self.world, objective="gain_softmax", train=self.train).fit(logs, seed)
        kept = logs.held_out
        own, other = (_ndcg(score(held.model, logs.features[kept]), logs.label[kept], 3) for held in (fitted, probe))
        gap = (other - own)[~(other - own).isnan()]
        part = GradedProbe(mean_known(own), mean_known(other), float(gap.std() / len(gap) ** 0.5))
        return Evidence.of(self.views(fitted, logs), part)

    def views(self, fitted: Fitted, logs: GradedLogs) -> TwoViews:
        return TwoViews(
            offline_score=score(fitted.model, logs.offline_features),
            online_score=score(fitted.model, logs.online_features),
            offline_label=logs.offline_label,
            online_label=logs.online_label,
            offline_pool=logs.offline_pool,
            online_pool=logs.online_pool,
            traffic=logs.traffic,
        )

    def _loss(self) -> Callable[..., Tensor]:
        main, side = _losses(self.cutoff)[self.objective], _losses(None)["lambda_map"]

        def loss(model: Any, features: Tensor, label: Tensor) -> Tensor:
            scores = model(features).squeeze(-1)
            held = (1 - self.mix) * main(scores, label).mean() if self.mix < 1 else scores.new_zeros(())
            return held + self.mix * side(scores, label).mean() if self.mix > 0 else held

        return loss


def network(features: int, seed: int) -> nn.Module:
    """One hidden layer."""
    generator = torch_rng(seed, "init")
    model = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            assert isinstance(layer, nn.Linear)
            for held in (layer.weight, layer.bias):
                held.copy_((2 * torch.rand(held.shape, generator=generator) - 1) * layer.in_features**-0.5)
    return model


@torch.no_grad()
def score(model: nn.Module, features: Tensor) -> Tensor:
    return model(features).squeeze(-1)


def _losses(cutoff: int | None) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """[B] losses of scores and grades [B, K]; the first three see only whether a document is relevant."""
    return {
        "lambda_map": lambda scores, grade: LambdaLoss(metric="map")(scores, grade.float()),
        "binary_bce": lambda scores, grade: F.binary_cross_entropy_with_logits(
            scores, (grade > 0).float(), reduction="none"
        ).mean(1),
        "binary_softmax": lambda scores, grade: _softmax(scores, (grade > 0).float()),
        "gain_softmax": lambda scores, grade: _softmax(scores, _gain(grade)),
        "lambda_ndcg": lambda scores, grade: LambdaLoss(cutoff=cutoff)(scores, _gain(grade)),
        "approx_ndcg": lambda scores, grade: ApproxNDCG()(scores, _gain(grade)),
        "grade_mse": lambda scores, grade: (scores - grade).square().mean(1),
    }


def _gain(grade: Tensor) -> Tensor:
    return exponential(grade).float() / TOP_GAIN


def _softmax(scores: Tensor, gain: Tensor) -> Tensor:
    share = gain / gain.sum(1, keepdim=True).clamp(min=1e-12)
    return WeightedListwise()(scores, share, torch.ones_like(share))


def _ndcg(scores: Tensor, grade: Tensor, k: int) -> Tensor:
    return ndcg(judged(scores, exponential(grade)), min(k, scores.shape[1]))


def _weighted(values: Tensor, weight: Tensor) -> float:
    known = ~values.isnan()
    return float((values[known] * weight[known]).sum() / weight[known].sum())
