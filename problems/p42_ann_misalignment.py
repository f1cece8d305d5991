"""TODO"""
from __future__ import annotations

from functools import partial
from typing import Any

from recsys.recipes.towers import Retriever
from recsys.recipes.two_stage import TwoStage
from recsys.worlds.latent_search import LatentSearch


def recipe(  # noqa: PLR0913 - the knobs under study
    *,
    deployed: bool = True,
    contract: Any = "raw",
    ranker: Any = "old",
    drift: float = 20.0,
    stale: float = 0.0,
    probes: int | None = None,
    mined: float = 0.0,
    distilled: float = 0.0,
    best: bool = False,
    **world: Any,
) -> TwoStage:
    """A fine-tuned retriever in front of the old ranker, unless told otherwise."""
    return TwoStage(
        world=LatentSearch(**world), retriever=Retriever(mined=mined, distilled=distilled),
        deployed=deployed, drift=drift, stale=stale, probes=probes, contract=contract, ranker=ranker, best=best,
    )
ARMS=dict(healthy=partial(recipe,deployed=False), baseline=recipe, quantile=partial(recipe,contract="quantile"), zscore=partial(recipe,contract="zscore"),
 rank=partial(recipe,contract="rank"), old_score=partial(recipe,contract="old_score"), retrained=partial(recipe,ranker="retrained"), distilled=partial(recipe,ranker="retrained",distilled=1.0), ceiling=partial(recipe,best=True))
