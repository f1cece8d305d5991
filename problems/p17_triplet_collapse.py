"""TODO"""

from __future__ import annotations

from functools import partial
from typing import Any

from recsys.encoders.feature_tower import FeatureTower
from recsys.losses.class_infonce import ClassInfoNCE
from recsys.losses.multi_similarity import MultiSimilarity
from recsys.losses.triplet import Curriculum, EasyNegatives, Triplet
from recsys.recipes.metric_learning import MetricLearning
from recsys.samplers.pk import PKSampler
from recsys.train.fit import Fit
from recsys.worlds.latent import LatentClasses, Rendering

HARD = Triplet(negative="hard", positive="hard", margin=1.0)


def recipe(
    *,
    loss: Any = HARD,
    normalise: bool = False,
    rank: int | None = None,
    weight_decay: float = 0.0,
    learning_rate: float = 1e-2,
    noise: float = 1.8,
    style: float = 6.0,
    steps: int = 400,
    items: int = 8,
    active: bool = True,
    uniformity: float = 0.0,
    drop_copies: bool = False,
    scored: Any = "tower",
    **world: Any,
) -> MetricLearning:
    return MetricLearning(
        world=LatentClasses(rendering=Rendering(noise=noise, style=style), **world),
        tower=FeatureTower(normalise=normalise, rank=rank),
        loss=loss, sampler=PKSampler(classes=24, items=items), active=active, uniformity=uniformity,
        drop_copies=drop_copies, scored=scored,
        train=Fit(steps=steps, checks=20, learning_rate=learning_rate, weight_decay=weight_decay),
    )
ARMS = dict(
    features=partial(recipe, scored="features"),
    baseline=recipe,
    l2_only=partial(recipe, loss=Triplet(negative="hard", positive="hard", margin=0.2), normalise=True),
    soft_margin=partial(recipe, loss=Triplet(negative="hard", positive="hard", margin=None)),
    semihard_raw=partial(recipe, loss=Triplet(margin=1.0)),
    semihard=partial(recipe, loss=Triplet(margin=0.2), normalise=True),
    distance=partial(recipe, loss=Triplet(margin=0.5, negative="distance"), normalise=True),
    infonce=partial(recipe, loss=ClassInfoNCE(), normalise=True),
    multi=partial(recipe, loss=MultiSimilarity(), normalise=True),
    curriculum=partial(recipe, loss=Curriculum(switch=200), normalise=True),
    uniform=partial(recipe, loss=Triplet(negative="hard", positive="hard", margin=0.2), normalise=True, uniformity=1.0),
    ceiling=partial(recipe, scored="truth"),
    decay=partial(recipe, weight_decay=60.0),
    decay_semi=partial(recipe, loss=Triplet(margin=1.0), weight_decay=60.0),
    easy=partial(recipe, loss=EasyNegatives(margin=0.2), normalise=True, active=False),
    dead=partial(recipe, loss=Triplet(margin=1.0), learning_rate=0.3),
    lowrank=partial(recipe, loss=Triplet(margin=0.2), normalise=True, rank=2),
    dedup=partial(recipe, drop_copies=True),
)
ARMS['disteu2']=partial(recipe, loss=Triplet(margin=0.2, negative="distance",metric="euclidean"), normalise=True)
ARMS['disteu5']=partial(recipe, loss=Triplet(margin=0.5, negative="distance",metric="euclidean"), normalise=True)
