"""Retrieval and ranking trained together on what was shown, clicked and liked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.balance.balancer import Balanced, Balancer, Trace
from recsys.candidates import Candidates, concat
from recsys.evaluate.metrics import Judged, ndcg
from recsys.heads.joint_towers import Encoded, JointModel, JointTowers
from recsys.losses.softmax import SampledSoftmax
from recsys.recipe import Metrics
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.coarse_fine import CoarseFineLogs
from recsys.worlds.world import World

TASKS = ("retrieval", "ranking")
RECALL_AT, NDCG_AT, TEMPERATURE = 100, 10, 0.07
TRACED = 40


@dataclass(frozen=True)
class JointRun(Fitted):
    """A trained model with the gradients seen on the way."""

    trace: Trace

    def stats(self) -> dict[str, float]:
        grams = torch.stack(self.trace.grams)
        lengths = grams.diagonal(dim1=1, dim2=2).sqrt()
        ratio = float((lengths[:, 0] / lengths[:, 1].clamp(min=1e-12)).mean())
        cosine = float((grams[:, 0, 1] / lengths.prod(1).clamp(min=1e-12)).mean())
        return {**Fitted.stats(self), "norm_ratio": ratio, "cosine": cosine}


@value
class TrainJoint:
    """InfoNCE over the batch's clicked items, and a cross entropy of likes over the lists that were shown."""

    world: World
    towers: JointTowers = JointTowers()
    balancer: Balancer | None = None
    weights: tuple[float, float] = (1.0, 1.0)  # of retrieval and ranking, before any balancer
    hard_negatives: bool = False  # items that were shown to somebody in the batch and not clicked join the pool
    train: Fit = Fit(steps=400, batch=64, learning_rate=3e-3, checks=8)
    scores: Literal["model", "truth"] = "model"

    def fit(self, logs: CoarseFineLogs, seed: int) -> JointRun:
        model = self.towers.build(logs.users.shape[1], float(logs.likes.mean()), seed)
        return self.taught(model, logs, seed)

    def taught(self, model: nn.Module, logs: CoarseFineLogs, seed: int) -> JointRun:
        """Train this model in place."""
        trace = Trace(every=max(1, self.train.steps // TRACED))
        lesson = Lesson(
            (logs.list_user, logs.list_items, logs.clicks, logs.likes), losses_of(self, logs),
            lambda held: sum(quality(held, logs)) / 2,
            backward=Balanced(self.towers.shared, len(TASKS), seed, self.balancer, trace),
        )  # fmt: skip
        fitted = self.train(model, lesson, seed)
        return JointRun(fitted.model, fitted.curve, fitted.steps, trace)

    def evaluate(self, fitted: JointRun, logs: CoarseFineLogs, truth: Any) -> Metrics:
        """Recall of clicks and NDCG of likes, both expected over the true chances, on the test lists."""
        rows = logs.test_user[:, None], logs.test_items
        click, like = truth.click[rows], truth.like[rows]
        if self.scores == "truth":
            retrieved, ranked = truth.click, like
        else:
            retrieved, ranked = answers(fitted.model, logs, *rows)
        found = {
            f"recall@{RECALL_AT}": recall(retrieved, *rows, click),
            f"ndcg@{NDCG_AT}": list_ndcg(ranked, like),
        }
        return {**found, **fitted.stats()}


def losses_of(spec: TrainJoint, logs: CoarseFineLogs) -> Any:
    """loss(model, user [B], items [B, K], clicks, likes) -> [2]; every item of the catalogue is encoded once a step."""
    num = len(logs.items)
    clicked = torch.bincount(logs.list_items[logs.clicks > 0], minlength=num).float()
    passed = torch.bincount(logs.list_items[logs.clicks == 0], minlength=num).float()
    log_p, log_passed = ((held / held.sum()).clamp(min=1e-9).log() for held in (clicked, passed))
    infonce, weights = SampledSoftmax(), torch.tensor(spec.weights)

    def loss(model: Any, user: Tensor, items: Tensor, clicks: Tensor, likes: Tensor) -> Tensor:
        seen: Encoded = model(logs.users[user], logs.items)
        row, place = (clicks > 0).nonzero(as_tuple=True)
        positive = items[row, place]
        pool = _pool(seen.find_item, positive, log_p)
        if spec.hard_negatives:
            pool = concat(pool, _pool(seen.find_item, items[clicks == 0], log_passed))
        target = torch.arange(len(positive))
        retrieval = infonce(seen.find_user[row] / TEMPERATURE, pool, target).mean()
        logits = model.rank(seen.rank_user[:, None].expand(-1, items.shape[1], -1), seen.rank_item[items])
        ranking = F.binary_cross_entropy_with_logits(logits, likes)
        return torch.stack([retrieval, ranking]) * weights

    return loss


def _pool(vectors: Tensor, items: Tensor, log_p: Tensor) -> Candidates:
    return Candidates(vectors[items], items, log_p[items] + math.log(max(1, len(items))))


@torch.no_grad()
def answers(model: nn.Module, logs: CoarseFineLogs, user: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Retrieval scores [U, I] of everything, ranking scores [M, K] of lists; user [M, 1], items [M, K]."""
    assert isinstance(model, JointModel)
    seen = model(logs.users, logs.items)
    users = seen.rank_user[user].expand(-1, items.shape[1], -1)
    return seen.find_user @ seen.find_item.T, model.rank(users, seen.rank_item[items])


def quality(model: nn.Module, logs: CoarseFineLogs) -> tuple[float, float]:
    """Recall@100 of clicked items and NDCG@10 of liked ones on the validation lists, from logged labels."""
    rows = logs.valid_user[:, None], logs.valid_items
    retrieved, ranked = answers(model, logs, *rows)
    return recall(retrieved, *rows, logs.valid_clicks), list_ndcg(ranked, logs.valid_likes)


def recall(scores: Tensor, user: Tensor, items: Tensor, gains: Tensor) -> float:
    """Share of the gains [M, K] of shown items that are among their user's best 100 of all items; scores [U, I]."""
    threshold = scores.topk(min(RECALL_AT, scores.shape[1]), dim=1).values[:, -1]  # [U]
    return float((gains * (scores[user, items] >= threshold[user])).sum() / gains.sum())


def list_ndcg(scores: Tensor, gains: Tensor) -> float:
    """Mean NDCG@10 of lists [M, K] ordered by scores, those without any gain left out."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    placed, ideal = gains.gather(1, order).double(), gains.sort(dim=1, descending=True).values.double()
    return float(ndcg(Judged(placed, ideal, (gains > 0).sum(1).double()), NDCG_AT).nanmean())
