"""What a team has of its two stages: the index, the scores, and the outcomes of exchanging one stage at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recsys.diagnose.diagnosis import Evidence, Part
from recsys.diagnose.stages import IndexAudit, ScoreAudit, StageSwap
from recsys.recipes.common_evidence import QUERIES, clicks_of, served_parts, vector_parts
from recsys.recipes.pipeline import Deployment, Pipeline, clicks_found, exact, shown
from recsys.worlds.latent import TRAIN, VALIDATION
from recsys.worlds.latent_search import SearchLogs


def stage_evidence(
    fitted: Deployment, exchanged: Mapping[str, Pipeline], logs: SearchLogs, retrained: bool
) -> Evidence:
    """The audits of what is live, and what validation queries were answered with under each exchange.

    `retrained` says which candidates the live ranker was trained on: the new ones or the old ones.
    """
    before, after = fitted.before, fitted.after
    train, check = logs.part == TRAIN, logs.part == VALIDATION
    fed = [pipe.features[train][..., 0].flatten() for pipe in (after if retrained else before, after)]

    def outcome(pipe: Pipeline) -> Tensor:
        top = shown(pipe.ranker.model, pipe.features[check], pipe.candidates.items[check])
        return clicks_found(top, logs.answers[check])

    swap = StageSwap(outcome(before), outcome(after), **{name: outcome(pipe) for name, pipe in exchanged.items()})
    vectors = vector_parts(after.bundle.items[after.listed], after.bundle.recorder)
    return Evidence.of(_index(after, check), ScoreAudit(*fed), swap, *vectors, *_served(after, logs))


def _index(pipe: Pipeline, check: Tensor) -> IndexAudit:
    listed = pipe.listed
    return IndexAudit(
        stored=pipe.stored[listed],
        fresh=pipe.bundle.items[listed],
        found=pipe.candidates.items[check],
        exact=exact(pipe, check),
    )


def _served(pipe: Pipeline, logs: SearchLogs) -> tuple[Part, ...]:
    """Lists of training queries, of which there are organic clicks."""
    wanted = (logs.part == TRAIN).nonzero().squeeze(1)[:QUERIES]
    rows = torch.zeros(len(logs.part), dtype=torch.bool).index_fill(0, wanted, True)
    found = pipe.candidates.items[rows]
    lists = found, exact(pipe, rows), shown(pipe.ranker.model, pipe.features[rows], found)
    return served_parts((pipe.stored, pipe.bundle.queries[rows]), lists, clicks_of(logs.pairs, wanted), logs.items)
