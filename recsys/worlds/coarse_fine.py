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
TOPIC_GAIN = 6.0
SHARPNESS = 8.0  # of the logging policy: how much more often it shows what has the user's topic
NEAR = 0.25  # spread of items and users around their topic
FEATURE_NOISE = 0.05


@dataclass(frozen=True)
class Shown:
    """Lists that were shown, and what became of each place: retrieval learns from clicks, ranking from likes."""

    user: Tensor  # [L]
    items: Tensor  # [L, K]
    clicks: Tensor  # [L, K] 0 or 1
    likes: Tensor  # [L, K] 0 or 1


@dataclass(frozen=True)
class CoarseFineLogs(Logs):
    """Features and lists; those shown `later` come from after the change of system. Test lists are without outcomes."""

    users: Tensor  # [U, D] features
    items: Tensor  # [I, D] features
    attributes: Tensor  # [I, 6] catalogue attributes such as price and quality, noisy
    train: Shown
    valid: Shown
    later: Shown
    test_user: Tensor  # [M]
    test_items: Tensor  # [M, K]


@value
class CoarseFineWorld:
    """logit of a like = 6 (a_u . c_i - 1) + fine b_u . f_i / sqrt(6), with unit topic vectors a, c and standard normal b, f.

    Lists are drawn by topic alone, so inside a list only the fine part tells good from bad. `fine` 0 removes what the two
    tasks could compete for. A click has the fine part times `agree`: at 1 labels have the same chances, at 0 people click
    by topic alone, at -1 what is clicked for its style is disliked for it. `shift` makes the lists shown after the change of
    system harder, whatever the ranker: substitutes, without what the user would clearly like or dislike. Features render
    the latents by a fixed map.
    """

    fine: float = 1.5
    agree: float = 1.0
    shift: float = 0.0
    topics: int = 30
    num_users: int = 2000
    num_items: int = 1000
    num_lists: int = 5_000
    held_lists: int = 800
    list_size: int = 24
    dim: int = 32

    def __post_init__(self) -> None:
        require(self.fine >= 0, f"fine must not be negative, got {self.fine}")
        require(-1 <= self.agree <= 1, f"agree must lie in [-1, 1], got {self.agree}")
        require(self.list_size < self.num_items, f"list_size {self.list_size} must be below num_items {self.num_items}")

    def sample(self, seed: int) -> Sample:
        centres = F.normalize(torch.randn(self.topics, GRAIN, generator=torch_rng(seed, "topics")), dim=1)
        item_topic, items = _around(centres, self.num_items, seed, "items")
        _, users = _around(centres, self.num_users, seed, "users")
        coarse = users[:, :GRAIN] @ items[:, :GRAIN].T  # [U, I]
        fine = users[:, GRAIN:] @ items[:, GRAIN:].T / GRAIN**0.5
        base = TOPIC_GAIN * (coarse - 1)
        click = (base + self.agree * self.fine * fine).sigmoid()
        like = (base + self.fine * fine).sigmoid()

        def shown(part: str, num: int, narrowed: float = 0.0) -> Shown:
            user, listed = self._lists(SHARPNESS * coarse - narrowed * fine.square(), num, seed, part)
            outcomes = (_draw(chance[user[:, None], listed], seed, part, name) for name, chance in chances.items())
            return Shown(user, listed, *outcomes)

        chances, held = {"click": click, "like": like}, self.held_lists
        test = shown("test", held)
        mixer = torch.randn(2 * GRAIN, self.dim, generator=torch_rng(seed, "render")) / GRAIN**0.5
        logs = CoarseFineLogs(
            users=_rendered(users, mixer, seed, "users"),
            items=_rendered(items, mixer, seed, "items"),
            attributes=items[:, GRAIN:] + 0.3 * torch.randn(len(items), GRAIN, generator=torch_rng(seed, "attributes")),
            train=shown("train", self.num_lists),
            valid=shown("valid", held),
            later=shown("later", held, 2 * self.shift),
            test_user=test.user,
            test_items=test.items,
        )
        return Sample(logs, CoarseFineTruth(SHARPNESS * coarse, click, like, items[:, GRAIN:], item_topic))

    def _lists(self, draw: Tensor, num: int, seed: int, part: str) -> tuple[Tensor, Tensor]:
        """Users [n] and distinct items [n, K], drawn in proportion to exp(draw [U, I]) (Gumbel's top K)."""
        generator = torch_rng(seed, "lists", part)
        user = torch.randint(self.num_users, (num,), generator=generator)
        waits = torch.empty(num, self.num_items).exponential_(generator=generator)
        return user, (draw[user] - waits.log()).topk(self.list_size, dim=1).indices


def _around(centres: Tensor, num: int, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Topics [n] and latents [n, 12]: a unit vector near the topic's, and a standard normal rest."""
    generator = torch_rng(seed, "latents", name)
    topic = torch.randint(len(centres), (num,), generator=generator)
    near = F.normalize(centres[topic] + NEAR * torch.randn(num, GRAIN, generator=generator), dim=1)
    return topic, torch.cat([near, torch.randn(num, GRAIN, generator=generator)], dim=1)


def _draw(chance: Tensor, seed: int, part: str, name: str) -> Tensor:
    return (torch.rand(chance.shape, generator=torch_rng(seed, "outcomes", part, name)) < chance).float()


def _rendered(latents: Tensor, mixer: Tensor, seed: int, name: str) -> Tensor:
    scaled = torch.cat([latents[:, :GRAIN] * GRAIN**0.5, latents[:, GRAIN:]], dim=1)
    noise = torch.randn(len(latents), mixer.shape[1], generator=torch_rng(seed, "feature noise", name))
    return scaled @ mixer + FEATURE_NOISE * noise
