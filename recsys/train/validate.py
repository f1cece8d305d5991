"""A quick look during training: recall of the retrieval head over the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.batch import Batch
from recsys.data.catalogue import Catalogue
from recsys.data.spec import FIRST
from recsys.model import Recommender
from recsys.train.objective import Objective

BLOCK = 8192


@torch.no_grad()
def item_tables(model: Recommender, catalogue: Catalogue) -> tuple[Tensor, Tensor]:
    """Hidden states [V, H] and retrieval vectors [V, D] of the whole catalogue, in blocks."""
    hidden = []
    for start in range(0, len(catalogue), BLOCK):
        places = torch.arange(start, min(start + BLOCK, len(catalogue)), device=catalogue.id_hash.device)
        hidden.append(model.items(catalogue.take(places)).float())
    states = torch.cat(hidden)
    return states, model.vectors(states).float()


@dataclass(frozen=True, slots=True)
class Validation:
    """Requests at the validation boundary, one per user, with the items taken afterwards."""

    batch: Batch
    cutoff: int = 20

    @torch.no_grad()
    def __call__(self, model: Recommender, objective: Objective) -> dict[str, float]:
        """`recall@20` (hits over min(20, number taken)), the same on every worker: each computes it all."""
        model.eval()
        hidden, vectors = item_tables(model, objective.catalogue)
        batch = self.batch.to(objective.workers.device)
        state = model.users(hidden[batch.history.values], batch, objective.users.take(batch.user))
        scores = model.query(state) @ vectors.T  # [U, V]
        scores[:, :FIRST] = -torch.inf
        top = scores.topk(min(self.cutoff, scores.shape[1]), dim=1).indices
        recalls = [
            float(torch.isin(row, taken).sum()) / min(self.cutoff, taken.shape[0])
            for row, taken in zip(top, batch.positives.values.split(batch.positives.lengths.tolist()), strict=True)
            if taken.shape[0]
        ]
        model.train()
        return {f"recall@{self.cutoff}": sum(recalls) / max(1, len(recalls))}
