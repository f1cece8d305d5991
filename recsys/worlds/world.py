"""A world with known truth: a pure function of seed and settings to what was logged and what is so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from recsys.value import value
from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class Logs:
    """What a practitioner has. Worlds derive their own; no column may be a monotone copy of a Truth column."""


class Sample(NamedTuple):
    """One draw of a world."""

    logs: Any  # the world's own Logs
    truth: Any  # the world's own Truth


class World(Protocol):
    """A frozen value whose fields are the switches of its cause and of the rival causes."""

    def sample(self, seed: int) -> Sample:
        """The same seed and settings give the same bits; streams are derived by name (recsys/random.py)."""
        ...


@value
class Blindfolded:
    """The same world, of which nobody may know the truth: what is trained in it must be what is trained in the other."""

    world: World

    def sample(self, seed: int) -> Sample:
        logs, truth = self.world.sample(seed)
        assert isinstance(truth, Truth)
        return Sample(logs, truth.blinded())

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "world"), name)
