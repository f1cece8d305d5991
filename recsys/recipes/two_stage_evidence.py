"""What a team has of its two stages: the index, the scores, and the outcomes of exchanging one stage at a time."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.stages import IndexAudit, ScoreAudit, StageSwap
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
    return Evidence.of(_index(after, check), ScoreAudit(*fed), swap)


def _index(pipe: Pipeline, check: Tensor) -> IndexAudit:
    listed = pipe.listed
    return IndexAudit(
        stored=pipe.stored[listed],
        fresh=pipe.bundle.items[listed],
        found=pipe.candidates.items[check],
        exact=exact(pipe, check),
    )
