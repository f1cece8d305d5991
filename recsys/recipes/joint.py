"""Retrieval and ranking trained together on what was shown, clicked and liked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.balance.balancer import Balanced, Balancer, Trace
from recsys.candidates import Candidates, concat
from recsys.diagnose.diagnosis import Evidence
from recsys.evaluate.metrics import Judged, ndcg
from recsys.heads.joint_towers import Encoded, JointModel, JointTowers
from recsys.losses.softmax import SampledSoftmax
from recsys.recipe import Metrics
from recsys.recipes import joint_evidence
from recsys.train.fit import Backward, Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.coarse_fine import CoarseFineLogs
from recsys.worlds.world import World

TASKS = ("retrieval", "ranking")
RECALL_AT, NDCG_AT, TEMPERATURE = 100, 10, 0.07
RECALL, NDCG = f"recall@{RECALL_AT}", f"ndcg@{NDCG_AT}"
TRACED = 20


@dataclass(frozen=True)
class JointRun(Fitted):
    """A trained model with the gradients seen on the way."""

    trace: Trace
    checks: tuple[Tensor, ...] = ()  # at every check, what quality() averages: [M, 2] of validation lists

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
    negatives: Literal["batch", "shown", "mined"] = "batch"  # what joins the batch's positives in the pool
    head_from: float = 0.0  # share of the steps after which the ranking head learns; the fault is a late start
    train: Fit = Fit(steps=300, batch=32, learning_rate=3e-3, checks=8)
    scores: Literal["model", "truth"] = "model"

    def fit(self, logs: CoarseFineLogs, seed: int) -> JointRun:
        return self.taught(self.model(logs, seed), logs, seed)

    def model(self, logs: CoarseFineLogs, seed: int) -> JointModel:
        """Untrained, the ranking answer at the rate of likes."""
        return self.towers.build(logs.users.shape[1], float(logs.train.likes.mean()), seed)

    def taught(self, model: JointModel, logs: CoarseFineLogs, seed: int) -> JointRun:
        """Train this model in place."""
        trace = Trace(every=max(1, self.train.steps // TRACED))
        checks: list[Tensor] = []

        def validate(held: nn.Module) -> float:
            checks.append(of_lists(held, logs))
            return sum(averaged(checks[-1], logs)) / 2

        balanced = Balanced(self.towers.shared, len(TASKS), seed, self.balancer, trace)
        lesson = Lesson(
            (logs.train.user, logs.train.items, logs.train.clicks, logs.train.likes),
            losses_of(self, logs),
            validate,
            backward=late(balanced, model.head(), round(self.head_from * self.train.steps)),
        )
        fitted = self.train(model, lesson, seed)
        return JointRun(fitted.model, fitted.curve, fitted.steps, trace, tuple(checks), recorder=fitted.recorder)

    def evaluate(self, fitted: JointRun, logs: CoarseFineLogs, truth: Any) -> Metrics:
        """Recall of clicks and NDCG of likes, both expected over the true chances, on the test lists."""
        rows = logs.test_user[:, None], logs.test_items
        click, like = truth.click[rows], truth.like[rows]
        if self.scores == "truth":
            return {RECALL: recall(truth.exposure + truth.click.log(), *rows, click), NDCG: list_ndcg(like, like)}
        retrieved, ranked = answers(fitted.model, logs, *rows)
        return {RECALL: recall(retrieved, *rows, click), NDCG: list_ndcg(ranked, like), **fitted.stats()}

    def evidence(self, fitted: JointRun, logs: CoarseFineLogs, seed: int) -> Evidence:
        return joint_evidence.evidence(self, fitted, logs, seed)


def losses_of(spec: TrainJoint, logs: CoarseFineLogs) -> Any:
    """loss(model, user [B], items [B, K], clicks, likes) -> [2]; every item of the catalogue is encoded once a step."""
    num = len(logs.items)
    clicked = torch.bincount(logs.train.items[logs.train.clicks > 0], minlength=num).float()
    passed = torch.bincount(logs.train.items[logs.train.clicks == 0], minlength=num).float()
    log_p, log_passed = ((held / held.sum()).clamp(min=1e-9).log() for held in (clicked, passed))
    infonce, weights = SampledSoftmax(), torch.tensor(spec.weights)

    def loss(model: Any, user: Tensor, items: Tensor, clicks: Tensor, likes: Tensor) -> Tensor:
        seen: Encoded = model(logs.users[user], logs.items)
        row, place = (clicks > 0).nonzero(as_tuple=True)
        positive = items[row, place]
        pool = _pool(seen.find_item, positive, log_p)
        if spec.negatives == "shown":
            pool = concat(pool, _pool(seen.find_item, items[clicks == 0], log_passed))
        if spec.negatives == "mined":
            pool = concat(pool, _pool(seen.find_item, _mined(seen, items, clicks), log_p))
        query, target = seen.find_user[row] / TEMPERATURE, torch.arange(len(positive))
        each = infonce(query, pool, target)
        logits = model.rank(seen.rank_user[:, None].expand(-1, items.shape[1], -1), seen.rank_item[items])
        return torch.stack([each.mean(), F.binary_cross_entropy_with_logits(logits, likes)]) * weights

    return loss


def late(balanced: Balanced, head: Sequence[nn.Parameter], start: int) -> Callable[[nn.Module], Backward]:
    """The same backward, but these parameters have no gradient before step `start`."""
    if start == 0:
        return balanced

    def made(model: nn.Module) -> Backward:
        backward, step = balanced(model), iter(range(2**62))

        def held(losses: Tensor) -> None:
            backward(losses)
            if next(step) < start:
                for p in head:
                    p.grad = None

        return held

    return made


def _mined(seen: Encoded, items: Tensor, clicks: Tensor, each: int = 8) -> Tensor:
    """The best-scored items of every user of the batch but those clicked in its list: hardest, and often liked."""
    scores = (seen.find_user @ seen.find_item.T).detach()
    scores.scatter_add_(1, items, torch.where(clicks > 0, -10.0, 0.0))
    return scores.topk(each, dim=1).indices.flatten()


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
    return averaged(of_lists(model, logs), logs)


def of_lists(model: nn.Module, logs: CoarseFineLogs) -> Tensor:
    """[M, 2] of the validation lists: clicked items that are found, and NDCG@10 of liked ones, NaN without any."""
    rows = logs.valid.user[:, None], logs.valid.items
    retrieved, ranked = answers(model, logs, *rows)
    return torch.stack([found(retrieved, *rows, logs.valid.clicks).double(), ndcgs(ranked, logs.valid.likes)], dim=1)


def averaged(lists: Tensor, logs: CoarseFineLogs) -> tuple[float, float]:
    """Recall and NDCG of what lists [M, 2] came to."""
    return float(lists[:, 0].sum() / logs.valid.clicks.sum()), float(lists[:, 1].nanmean())


def recall(scores: Tensor, user: Tensor, items: Tensor, gains: Tensor) -> float:
    """Share of the gains [M, K] of shown items that are among their user's best 100 of all items; scores [U, I]."""
    return float(found(scores, user, items, gains).sum() / gains.sum())


def found(scores: Tensor, user: Tensor, items: Tensor, gains: Tensor) -> Tensor:
    """[M] the gains [M, K] of shown items that are among their user's best 100."""
    mine = scores[user[:, 0]]  # [M, I]
    threshold = mine.topk(min(RECALL_AT, mine.shape[1]), dim=1).values[:, -1:]
    return (gains * (mine.gather(1, items) >= threshold)).sum(1)


def list_ndcg(scores: Tensor, gains: Tensor) -> float:
    """Mean NDCG@10 of lists [M, K] ordered by scores, those without any gain left out."""
    return float(ndcgs(scores, gains).nanmean())


def ndcgs(scores: Tensor, gains: Tensor) -> Tensor:
    """[M] NDCG@10 of each list, NaN without any gain."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    placed, ideal = gains.gather(1, order).double(), gains.sort(dim=1, descending=True).values.double()
    return ndcg(Judged(placed, ideal, (gains > 0).sum(1).double()), NDCG_AT)
