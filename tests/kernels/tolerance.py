"""What every op is held to: no worse than plain torch, nothing read beside its buffers, the same bits twice."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_no_worse(got: Tensor, plain: Tensor, exact: Tensor, slack: float = 1e-6) -> None:
    """The error against float64 is at most twice plain torch's in the same dtype, in both norms (Wijmans et al. 2024).

    `slack`, relative, is for what plain torch may get right by luck.
    """
    assert got.shape == exact.shape
    if not exact.numel():
        return
    ours, theirs = got.double() - exact, plain.double() - exact
    scale = exact.norm().clamp(min=1e-30)
    assert ours.norm() / scale <= 2 * theirs.norm() / scale + slack, (ours.norm() / scale, theirs.norm() / scale)
    assert ours.abs().max() <= 2 * theirs.abs().max() + slack * exact.abs().max().clamp(min=1), ours.abs().max()


def buried(tensor: Tensor | None, around: int = 64) -> Tensor | None:
    """The same values, with what must not be read before and behind them: NaN, or a place far outside."""
    if tensor is None:
        return None
    poison = torch.nan if tensor.is_floating_point() else -(2**30)
    ground = torch.full((tensor.numel() + 2 * around,), poison, dtype=tensor.dtype, device=tensor.device)
    held = ground[around : around + tensor.numel()].view(tensor.shape)
    held.copy_(tensor)
    return held.requires_grad_(tensor.requires_grad)
