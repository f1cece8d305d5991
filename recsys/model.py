"""The recommender: encoders of items and users that retrieval and all ranking tasks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recsys.batch import Batch
from recsys.data.catalogue import Catalogue, UserTable
from recsys.data.spec import DatasetSpec
from recsys.encoders.item import ItemEncoder
from recsys.encoders.user import UserEncoder
from recsys.heads.mmoe import MMoE
from recsys.heads.ple import PLE
from recsys.heads.retrieval import RetrievalHead
from recsys.heads.towers import RankingRows, RankingShape, Scales
from recsys.random import stream_seed
from recsys.value import require, value


@value
class ModelSpec:
    """All choices of the model's shape; with a dataset's they determine its parameters."""

    item: ItemEncoder = ItemEncoder()
    user: UserEncoder = UserEncoder()
    retrieval: RetrievalHead = RetrievalHead()
    ranking: MMoE | PLE = MMoE()

    def __post_init__(self) -> None:
        same = self.item.hidden == self.user.hidden
        require(same, f"item.hidden {self.item.hidden} and user.hidden {self.user.hidden} must be equal")


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a batch becomes: unit vectors of requests and items, and the answers of the ranking tasks."""

    query: Tensor  # [B, D]
    vectors: Tensor  # [n, D] of the distinct items
    unique: Tensor  # [n] int64, the distinct items in rising order
    positive_places: Tensor  # [P] places of the batch's positives in unique
    extra_places: Tensor  # [E] places of the extra items in unique
    rank_logits: Tensor  # [R, T]


class Recommender(nn.Module):
    """A hidden state per item and per request; everything else is a head on these two."""

    def __init__(self, spec: ModelSpec, dataset: DatasetSpec) -> None:
        super().__init__()
        self.item_encoder = spec.item.build(dataset)
        self.user_encoder = spec.user.build(dataset)
        self.retrieval = spec.retrieval.build(spec.item.hidden, spec.user.hidden)
        self.scales = Scales(dataset)
        self.ranking = spec.ranking.build(RankingShape.of(spec.item.hidden, dataset))

    def items(self, columns: Catalogue) -> Tensor:
        """Hidden states [n, H] of the items in these rows of the catalogue."""
        return self.item_encoder(columns)

    def users(self, history_hidden: Tensor, batch: Batch, user_rows: UserTable) -> Tensor:
        """Hidden states [B, H] of requests, from the states of batch.history.values [n, H] and batch.user's rows."""
        return self.user_encoder(history_hidden, batch, user_rows)

    def query(self, user: Tensor) -> Tensor:
        """Unit vectors [B, D] of users' hidden states, in float32."""
        return self.retrieval.query(user)

    def vectors(self, item: Tensor) -> Tensor:
        """Unit vectors [n, D] of items' hidden states, in float32."""
        return self.retrieval.vectors(item)

    @property
    def temperature(self) -> Tensor:
        return self.retrieval.temperature

    def rank(self, user: Tensor, item: Tensor, row_context: Tensor, features: Tensor) -> Tensor:
        """Logits of binary and values of regression tasks [R, T].

        user and item [R, H] are hidden states, row_context [R, 2] is surface and position, features are [R, F].
        """
        score = self.retrieval.scores(self.query(user), self.vectors(item))
        return self.ranking(RankingRows(user, item, row_context, self.scales(features), score)).float()

    def forward(self, batch: Batch, catalogue: Catalogue, users: UserTable, extra: Tensor) -> Encoded:
        """Encode every distinct item of the batch, and of `extra` [E], once; `users` is the whole table.

        All parameters take part whatever the batch lacks (rows, history, positives), so that workers' gradients match.
        """
        wanted = (batch.history.values, batch.positives.values, batch.rows.values, extra)
        unique, places = torch.cat(wanted).unique(return_inverse=True)
        history, positives, rows, extras = places.split([part.shape[0] for part in wanted])
        hidden = self.items(catalogue.take(unique))  # [n, H]
        state = self.users(hidden.index_select(0, history), batch, users.take(batch.user))  # [B, H]
        query, vectors = self.query(state), self.vectors(hidden)
        row = batch.rows.row  # [R] request of each ranking row
        score = self.retrieval.scores(query[row], vectors[rows])
        ranked = RankingRows(state[row], hidden[rows], batch.row_context, self.scales(batch.row_features), score)
        logits = self.ranking(ranked).float()
        # a sum of nothing is zero with a gradient of zero: heads that the caller's loss leaves out stay in the graph
        query = query + 0 * logits[:0].sum()
        return Encoded(query, vectors, unique, positives, extras, logits)


def build_model(spec: ModelSpec, dataset: DatasetSpec, seed: int = 0) -> Recommender:
    """A model with fresh weights, the same for the same seed; the global random state stays as it is."""
    require(len(dataset.tasks) > 0, f"dataset {dataset.name!r} has no ranking task; name at least one in its tasks")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model"))
        return Recommender(spec, dataset)


def model_spec_from_json(held: Mapping[str, Any]) -> ModelSpec:
    """The inverse of dataclasses.asdict. Raises ValueError when the kind of ranking head is unknown."""
    ranking = dict(held["ranking"])
    kinds: dict[str, type[MMoE] | type[PLE]] = {"mmoe": MMoE, "ple": PLE}
    require(ranking.get("kind") in kinds, f"ranking.kind must be one of {sorted(kinds)}, got {ranking.get('kind')!r}")
    return ModelSpec(
        item=ItemEncoder(**held["item"]),
        user=UserEncoder(**held["user"]),
        retrieval=RetrievalHead(**held["retrieval"]),
        ranking=kinds[ranking["kind"]](**ranking),
    )
