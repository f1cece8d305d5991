"""What a team has of its two stages: the index, the scores, and the outcomes of exchanging one stage at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.stages import IndexAudit, ScoreAudit, StageSwap
from recsys.index.exact import exact_search
from recsys.recipes.two_stage import Deployment, Pipeline, TwoStage, clicks_found, shown
from recsys.worlds.latent import TRAIN, VALIDATION
from recsys.worlds.latent_search import SearchLogs

CONTRACTS = ("zscore", "rank")  # under which a score has no scale to drift


def evidence(recipe: TwoStage, fitted: Deployment, logs: SearchLogs, seed: int) -> Evidence:
    """The audits, and logged clicks of validation queries under each exchange."""
    before, after = fitted.before, fitted.after
    train, check = logs.part == TRAIN, logs.part == VALIDATION
    trained = after if recipe.ranker == "retrained" else before
    fed = [pipe.features[train][..., 0].flatten() for pipe in (trained, after)]
    return Evidence.of(_index(after, check), ScoreAudit(*fed), _swap(recipe, fitted, logs, seed))


def _index(pipe: Pipeline, check: Tensor) -> IndexAudit:
    stored, found = pipe.stored.numpy(), pipe.candidates.items[check]
    exact = exact_search(stored, np.arange(len(stored)), pipe.bundle.queries[check].numpy(), found.shape[1])
    return IndexAudit(pipe.stored, pipe.bundle.items, found, torch.from_numpy(exact.ids))


def _swap(recipe: TwoStage, fitted: Deployment, logs: SearchLogs, seed: int) -> StageSwap:
    before, after, check = fitted.before, fitted.after, logs.part == VALIDATION

    def outcome(pipe: Pipeline) -> Tensor:
        top = shown(pipe.ranker.model, pipe.features[check], pipe.candidates.items[check])
        return clicks_found(top, logs.answers[check])

    def exchanged(other: TwoStage, stored: Tensor) -> Tensor:
        return outcome(other.live(before, after.bundle, stored, logs, seed))

    if not recipe.deployed:
        return StageSwap(outcome(before), outcome(after))
    mapped = recipe if recipe.contract in CONTRACTS else replace(recipe, contract="quantile")
    return StageSwap(
        before=outcome(before),
        now=outcome(after),
        mapped=exchanged(mapped, after.stored),
        retrained=exchanged(replace(recipe, ranker="retrained"), after.stored),
        reindexed=exchanged(replace(recipe, probes=None), after.bundle.items),
    )
