"""A shop's log of which garments stood at which of three places, once drawn at random and once by a learnt policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pyarrow import csv
from torch import Tensor

from recsys.data.packages import OPEN_BANDIT, locate
from recsys.random import torch_rng
from recsys.value import value
from recsys.worlds.truth import Truth
from recsys.worlds.world import Logs, Sample

Policy = Literal["random", "bts"]
CAMPAIGNS, PLACES = ("all", "men", "women"), 3


@dataclass(frozen=True)
class Shown:
    """Garments that were shown, one a row."""

    item: Tensor  # [N, 1] int64, numbered through the campaigns
    features: Tensor  # [N, 1, F]
    position: Tensor  # [N, 1] int64, 1 to 3
    click: Tensor  # [N, 1] 0 or 1


@dataclass(frozen=True)
class BanditLogs(Logs):
    """Of the same week; what users look at is to be the same under both."""

    ranked: Shown  # by Thompson sampling on clicks
    random: Shown  # every garment as likely at every place


@value
class OpenBandit:
    """The small sample of the Open Bandit Dataset (Saito et al., 2021): three campaigns of 10,000 garments shown, two policies.

    A seed is a bootstrap sample of both logs, so that the spread over seeds is that of a log of this size, which has some 150
    clicks a policy. Raises FileNotFoundError when the package that carries the data can't be fetched.
    """

    def sample(self, seed: int) -> Sample:
        return Sample(BanditLogs(_drawn("bts", seed), _drawn("random", seed)), Truth())


def _drawn(policy: Policy, seed: int) -> Shown:
    held = shown(policy)
    size = len(held.item)
    rows = torch.randint(size, (size,), generator=torch_rng(seed, "bootstrap", policy))
    return Shown(held.item[rows], held.features[rows], held.position[rows], held.click[rows])


@lru_cache(maxsize=2)
def shown(policy: Policy) -> Shown:
    """All garments that a policy showed; features are the campaign's indicators and the garment's own number, standardised."""
    folder, before, columns = locate(OPEN_BANDIT) / "obp" / "dataset" / "obd" / policy, 0, []
    for at, campaign in enumerate(CAMPAIGNS):
        known = csv.read_csv(folder / campaign / "item_context.csv")
        number = np.asarray(known["item_feature_0"])
        rows = csv.read_csv(
            folder / campaign / f"{campaign}.csv",
            convert_options=csv.ConvertOptions(include_columns=["item_id", "position", "click"]),
        )
        item, position, click = (np.asarray(rows[name]) for name in ("item_id", "position", "click"))
        place = np.broadcast_to(np.eye(len(CAMPAIGNS))[at], (len(item), len(CAMPAIGNS)))
        features = np.column_stack([place, ((number - number.mean()) / number.std())[item]])
        columns.append((item + before, features, position, click))
        before += len(number)
    item, features, position, click = (torch.from_numpy(np.concatenate(held)) for held in zip(*columns, strict=True))
    return Shown(item[:, None], features[:, None].float(), position[:, None], click[:, None].float())
