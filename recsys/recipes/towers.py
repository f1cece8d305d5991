"""A pair of towers, first trained a little and later fine-tuned: the same towers before and after."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.candidates import Candidates as Pool
from recsys.encoders.feature_tower import FeatureTower
from recsys.losses.distil import ListDistillation
from recsys.losses.own_negatives import OwnNegatives
from recsys.losses.softmax import SampledSoftmax
from recsys.random import torch_rng
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.train.record import Recorder
from recsys.value import require, value
from recsys.worlds.latent_search import SearchLogs

NEGATIVES, DISTILLED = 8, 16  # mined negatives, and candidates of a teacher's list, for each query of a batch


@dataclass(frozen=True)
class Bundle:
    """Query and item vectors of one version of the towers."""

    queries: Tensor  # [Q, D] norm 1
    items: Tensor  # [I, D] norm 1
    parameters: float
    recorder: Recorder = field(default_factory=Recorder)  # of the fine-tuning

    def scores(self, items: Tensor) -> Tensor:
        """[Q, C] inner products of every query with its own items [Q, C]."""
        return torch.einsum("qd,qcd->qc", self.queries, self.items[items])


class Towers(nn.Module):
    def __init__(self, spec: FeatureTower, width: int, seed: int) -> None:
        super().__init__()
        self.query, self.item = spec.build(width, seed, "query"), spec.build(width, seed, "item")


@value
class Retriever:
    """InfoNCE over in-batch negatives (van den Oord et al. 2018), on a quarter of the clicks, then on all of them.

    `mined` is the share of the fine-tuning loss that compares the positive with items from the top of the query's own
    list, without a look at whether they are relevant; `distilled` the weight of the ranker's order of its candidates.
    """

    tower: FeatureTower = FeatureTower(hidden=64, dim=24, normalise=True)
    temperature: float = 0.1
    tuned_temperature: float = 0.05
    mined: float = 0.0
    mined_from: int = 30
    distilled: float = 0.0
    early: Fit = Fit(steps=60, batch=128, learning_rate=1e-2)
    late: Fit = Fit(steps=200, batch=128, learning_rate=1e-2)

    def __post_init__(self) -> None:
        require(0 <= self.mined <= 1, f"mined must lie in [0, 1], got {self.mined}")
        require(self.distilled >= 0, f"distilled must be 0 or more, got {self.distilled}")

    def first(self, logs: SearchLogs, seed: int) -> Towers:
        """The first retriever: few clicks, few steps."""
        towers = Towers(self.tower, logs.queries.shape[1], seed)
        self._train(towers, logs, logs.pairs[: len(logs.pairs) // 4], (self.early, self.temperature, seed), None)
        return towers

    def tuned(self, towers: Towers, logs: SearchLogs, ranked: tuple[Tensor, Tensor], seed: int) -> Bundle:
        """The towers after fine-tuning; `ranked` are the old candidates [Q, C] and the ranker's scores of them."""
        more = self._further(logs, (ranked[0], ranked[1].detach()), seed) if self.mined or self.distilled else None
        towers = copy.deepcopy(towers)
        trained = self._train(towers, logs, logs.pairs, (self.late, self.tuned_temperature, seed), more)
        return replace(self.bundle(towers, logs), recorder=trained.recorder)

    @torch.no_grad()
    def bundle(self, towers: Towers, logs: SearchLogs) -> Bundle:
        number = float(sum(p.numel() for p in towers.parameters()))
        return Bundle(towers.query(standard(logs.queries)), towers.item(standard(logs.items)), number)

    def _train(
        self,
        towers: Towers,
        logs: SearchLogs,
        pairs: Tensor,
        how: tuple[Fit, float, int],
        more: Callable[..., Any] | None,
    ) -> Fitted:
        fit, temperature, seed = how
        queries, items = standard(logs.queries), standard(logs.items)

        def loss(model: Any, pair: Tensor) -> Tensor:
            who, what = (column.contiguous() for column in pair.unbind(1))
            query, vectors = model.query(queries[who]), model.item(items[what])
            pool = Pool(vectors, what, vectors.new_zeros(len(what)))
            plain = SampledSoftmax(corrected=False)(query / temperature, pool, torch.arange(len(what)))
            return plain.mean() if more is None else more(model, (query, vectors, who), plain)

        return fit(towers, Lesson((pairs,), loss), seed)

    def _further(self, logs: SearchLogs, ranked: tuple[Tensor, Tensor], seed: int) -> Callable[..., Tensor]:
        items, generator = standard(logs.items), torch_rng(seed, "mined")
        candidates, teacher = ranked

        def more(model: Any, batch: tuple[Tensor, Tensor, Tensor], plain: Tensor) -> Tensor:
            query, positive, who = batch
            losses = (1 - self.mined) * plain
            if self.mined:
                at = torch.randint(self.mined_from, (len(who), NEGATIVES), generator=generator)
                rivals = model.item(items[candidates[who].gather(1, at)])
                losses = losses + self.mined * OwnNegatives(temperature=self.tuned_temperature)(query, positive, rivals)
            if self.distilled:
                at = torch.randint(candidates.shape[1], (len(who), DISTILLED), generator=generator)
                listed = model.item(items[candidates[who].gather(1, at)])
                student = torch.einsum("bd,bcd->bc", query, listed) / self.tuned_temperature
                losses = losses + self.distilled * ListDistillation()(student, teacher[who].gather(1, at))
            return losses.mean()

        return more


def standard(features: Tensor) -> Tensor:
    """[N, F] with mean 0 and deviation 1."""
    return F.batch_norm(features, None, None, training=True)
