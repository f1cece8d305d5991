"""The baselines that stand beside every model, each with the same number of knobs to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.evaluate.baselines import Baseline, ItemItem, OwnFrequency, Popular
from recsys.evaluate.ease import Ease
from recsys.evaluate.events import Events
from recsys.evaluate.fullrank import FullRanking, Lists, rank
from recsys.evaluate.heldout import HeldOut
from recsys.evaluate.slices import everything, never_bought
from recsys.evaluate.tune import tune

# the first of each is what is used without tuning: the choice on the journey data's November
GRIDS: Mapping[str, Sequence[Baseline]] = {
    "popular": (Popular(window_days=28.0, count="users"), Popular(window_days=91.0, count="users"), Popular()),
    "own_frequency": (OwnFrequency(half_life_days=90.0), OwnFrequency(half_life_days=180.0), OwnFrequency()),
    "item_item": (
        ItemItem(weight="count", neighbours=20, min_users=10, keep_self=True),
        ItemItem(weight="log1p"),
        ItemItem(weight="binary", min_users=10),
    ),
    "ease": (Ease(weight="log1p", ridge=300.0), Ease(weight="log1p", ridge=100.0), Ease(weight="log1p", ridge=1000.0)),
}
EVERYTHING, NEVER_BOUGHT = "recall@20", "recall@20[never_bought]"


def standard_baselines(
    past: Events, held: HeldOut, spec: FullRanking, tuning: tuple[Events, HeldOut] | None
) -> tuple[dict[str, Lists], list[dict[str, Any]]]:
    """Ranked lists of every baseline, and the trials that chose their knobs on validation (none without `tuning`).

    All items and never-bought items are two questions: each baseline may answer them with different knobs, so that
    none is held to a choice made for the other.
    """
    lists, trials = {}, []
    for name, grid in GRIDS.items():
        best = {EVERYTHING: grid[0], NEVER_BOUGHT: grid[0]}
        if tuning is not None:
            slices = [everything(tuning[1]), never_bought(tuning[1])]
            tuned = tune(grid, *tuning, slices, spec)
            best = {metric: tuned.best(metric) for metric in best}
            trials += [{"method": name, **trial.to_json()} for trial in tuned.trials]
        found = {knobs: rank(knobs.fit(past), held, spec) for knobs in dict.fromkeys(best.values())}
        lists[name] = Lists(found[best[EVERYTHING]].everything, found[best[NEVER_BOUGHT]].unseen)
    return lists, trials
