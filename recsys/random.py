"""Random streams are derived by name, so that no consumer disturbs another."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """The same (seed, names) always gives the same 63-bit seed, on every machine and in every process."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator of its own for every name."""
    return np.random.default_rng(stream_seed(seed, *names))


def torch_rng(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator of its own for every name."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))
