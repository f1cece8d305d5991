"""How likely a look at each place of a shop's page is, by what its own log has or by an experiment."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from recsys.propensity.clicks import click_rates
from recsys.propensity.harvest import harvested
from recsys.propensity.regression_em import RegressionEM
from recsys.recipe import Metrics
from recsys.value import value
from recsys.worlds.open_bandit import PLACES, BanditLogs
from recsys.worlds.truth import Truth
from recsys.worlds.world import World


@value
class PlacePropensity:
    """`randomised` reads the experiment, the others the learnt policy's log."""

    world: World
    estimator: Literal["randomised", "click_rates", "harvested", "regression_em"] = "randomised"

    def fit(self, logs: BanditLogs, seed: int) -> Tensor:
        """[3] over the first place's."""
        del seed  # nothing is drawn
        held = logs.random if self.estimator == "randomised" else logs.ranked
        if self.estimator == "harvested":
            return harvested(held.item, held.click, held.position, PLACES)
        if self.estimator == "regression_em":
            return RegressionEM()(held.features, held.item, held.click, held.position, PLACES)
        return click_rates(held.click, held.position, PLACES)

    def evaluate(self, fitted: Tensor, logs: BanditLogs, truth: Truth) -> Metrics:
        """Looks at the second and third place over the first's, and how far they are from those of the experiment."""
        del truth  # nobody knows it
        drawn = click_rates(logs.random.click, logs.random.position, PLACES)
        held = logs.random if self.estimator == "randomised" else logs.ranked
        return {
            "look[2]": float(fitted[1]),
            "look[3]": float(fitted[2]),
            "off": float((fitted - drawn)[1:].abs().mean()),
            "clicks": float(held.click.sum()),
        }
