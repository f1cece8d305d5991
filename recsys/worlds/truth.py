"""What only a simulator knows. Nothing that trains, tunes or diagnoses may import this module; an import rule says so."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T", bound="Truth")


@dataclass(frozen=True)
class Truth:
    """Probabilities, clean labels, propensities and the fault itself: for scoring alone. Worlds derive their own."""

    def blinded(self: T) -> T:
        """The same truth with every number not a number: whoever computes with it shows it."""
        return replace(self, **{field.name: _blind(getattr(self, field.name)) for field in fields(self)})


def _blind(held: Any) -> Any:
    if isinstance(held, torch.Tensor):
        return torch.full(held.shape, torch.nan)
    if isinstance(held, np.ndarray):
        return np.full(held.shape, np.nan)
    if isinstance(held, (int, float)):
        return float("nan")
    if isinstance(held, tuple):
        return tuple(_blind(item) for item in held)
    if isinstance(held, dict):
        return {key: _blind(item) for key, item in held.items()}
    if held is None:
        return None
    raise TypeError(f"a Truth holds tensors, arrays and numbers, not {type(held).__name__}")
