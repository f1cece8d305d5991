"""Retrieval needs the topic, ranking within what is shown needs the rest: two grains of one match."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.truth_coarse_fine import CoarseFineTruth
from recsys.worlds.world import Logs, Sample

GRAIN = 6  # dimensions of each latent part
TOPIC_GAIN, BIAS = 6.0, 0.0
NEAR = 0.25  # spread of items and users around their topic
FEATURE_NOISE = 0.05


@dataclass(frozen=True)
class CoarseFineLogs(Logs):
    """Lists that were shown, with what was clicked and what was liked; features of users and items."""

    users: Tensor  # [U, D] features
    items: Tensor  # [I, D] features
    attributes: Tensor  # [I, 6] catalogue attributes such as price and quality, noisy
    list_user: Tensor  # [L] training lists
    list_items: Tensor  # [L, K]
    clicks: Tensor  # [L, K] 0 or 1: what retrieval learns from
    likes: Tensor  # [L, K] 0 or 1: what ranking learns from
    valid_user: Tensor  # [V]
    valid_items: Tensor  # [V, K]
    valid_clicks: Tensor  # [V, K]
    valid_likes: Tensor  # [V, K]
    later_user: Tensor  # [W] lists shown after the change of system
    later_items: Tensor  # [W, K]
    later_likes: Tensor  # [W, K]
    test_user: Tensor  # [M]
    test_items: Tensor  # [M, K]


@value
class CoarseFineWorld:
    """logit of a click = 6 (a_u . c_i - 1) + fine b_u . f_i, with unit topic vectors a, c and standard normal b, f.

    Lists are drawn by topic alone, so inside a list only the fine part tells good from bad. `fine` 0 removes what the two
    tasks could compete for. `disagree` turns the fine part of likes against that of clicks: at 0 the labels are the same, at
    1 what is clicked for its style is disliked for it. `shift` makes the lists shown after the change of system narrower:
    better retrieval brings harder lists, whatever the ranker. Features render the latents by a fixed random map.
    """

    fine: float = 1.5
    disagree: float = 0.0
    shift: float = 0.0
    topics: int = 30
    num_users: int = 2500
    num_items: int = 1500
    num_lists: int = 6_000
    held_lists: int = 1000
    list_size: int = 24
    dim: int = 32

    def __post_init__(self) -> None:
        require(self.fine >= 0, f"fine must not be negative, got {self.fine}")
        require(0 <= self.disagree <= 1, f"disagree must lie in [0, 1], got {self.disagree}")
        require(self.list_size < self.num_items, f"list_size {self.list_size} must be below num_items {self.num_items}")

    def sample(self, seed: int) -> Sample:
        centres = F.normalize(torch.randn(self.topics, GRAIN, generator=torch_rng(seed, "topics")), dim=1)
        item_topic, items = _around(centres, self.num_items, seed, "items")
        _, users = _around(centres, self.num_users, seed, "users")
        coarse = users[:, :GRAIN] @ items[:, :GRAIN].T  # [U, I]
        fine = users[:, GRAIN:] @ items[:, GRAIN:].T / GRAIN**0.5
        base = TOPIC_GAIN * (coarse - 1) + BIAS
        click = (base + self.fine * fine).sigmoid()
        like = (base + self.fine * (1 - 2 * self.disagree) * fine).sigmoid()
        parts = {}
        for part, num in (("train", self.num_lists), ("valid", self.held_lists), ("later", self.held_lists),
                          ("test", self.held_lists)):  # fmt: skip
            sharpness = 8.0 * (1 + 4 * self.shift) if part == "later" else 8.0
            user, shown = self._lists(coarse, num, sharpness, seed, part)
            parts[part] = (
                user,
                shown,
                _draw(click, user, shown, seed, part),
                _draw(like, user, shown, seed, part, "like"),
            )
        mixer = torch.randn(2 * GRAIN, self.dim, generator=torch_rng(seed, "render")) / GRAIN**0.5
        logs = CoarseFineLogs(
            _rendered(users, mixer, seed, "users"),
            _rendered(items, mixer, seed, "items"),
            items[:, GRAIN:] + 0.3 * torch.randn(self.num_items, GRAIN, generator=torch_rng(seed, "attributes")),
            *parts["train"],
            *parts["valid"],
            parts["later"][0],
            parts["later"][1],
            parts["later"][3],
            *parts["test"][:2],
        )
        return Sample(logs, CoarseFineTruth(click, like, items[:, GRAIN:], item_topic))

    def _lists(self, coarse: Tensor, num: int, sharpness: float, seed: int, part: str) -> tuple[Tensor, Tensor]:
        """Users [n] and distinct items [n, K], drawn in proportion to exp(sharpness * topic match) (Gumbel's top K)."""
        generator = torch_rng(seed, "lists", part)
        user = torch.randint(self.num_users, (num,), generator=generator)
        waits = torch.empty(num, self.num_items).exponential_(generator=generator)
        return user, (sharpness * coarse[user] - waits.log()).topk(self.list_size, dim=1).indices


def _around(centres: Tensor, num: int, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Topics [n] and latents [n, 12]: a unit vector near the topic's, and a standard normal rest."""
    generator = torch_rng(seed, "latents", name)
    topic = torch.randint(len(centres), (num,), generator=generator)
    near = F.normalize(centres[topic] + NEAR * torch.randn(num, GRAIN, generator=generator), dim=1)
    return topic, torch.cat([near, torch.randn(num, GRAIN, generator=generator)], dim=1)


def _draw(chance: Tensor, user: Tensor, shown: Tensor, *stream: str | int) -> Tensor:
    uniform = torch.rand(shown.shape, generator=torch_rng(int(stream[0]), "labels", *stream[1:]))
    return (uniform < chance[user[:, None], shown]).float()


def _rendered(latents: Tensor, mixer: Tensor, seed: int, name: str) -> Tensor:
    scaled = torch.cat([latents[:, :GRAIN] * GRAIN**0.5, latents[:, GRAIN:]], dim=1)
    noise = torch.randn(len(latents), mixer.shape[1], generator=torch_rng(seed, "feature noise", name))
    return scaled @ mixer + FEATURE_NOISE * noise
