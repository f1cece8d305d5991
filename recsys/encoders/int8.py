"""Weights of eight bits a number: a quarter of the memory, and one scale a row."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

M = TypeVar("M", bound=nn.Module)


class Int8Linear(nn.Module):
    """A linear map whose weights are integers in [-127, 127] times a scale of their row (Q8BERT, Zafrir et al., 2019).

    Products are taken in floating point: what is saved is memory and its traffic, not arithmetic.
    """

    weight: Tensor  # [out, in] int8
    scale: Tensor  # [out, 1]
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def forward(self, values: Tensor) -> Tensor:
        return linear(values, self.weight.to(values.dtype) * self.scale, self.bias)


def quantised(module: M) -> M:
    """A copy whose linear maps hold int8 weights; tables and norms stay as they are. It has no gradient."""
    held = deepcopy(module).eval().requires_grad_(False)
    for parent in list(held.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child.weight, child.bias))
    return held


def num_bytes(module: nn.Module) -> int:
    """Of parameters and buffers."""
    return sum(held.numel() * held.element_size() for held in [*module.parameters(), *module.buffers()])
