"""Tests state their inputs on the CPU; where there is a CUDA device, kernels get them there and answer back here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def placed(op: Callable[..., Any]) -> Callable[..., Any]:
    """The op as it is, but `impl="triton"` runs on the tests' device; gradients flow through the moves."""

    @functools.wraps(op)
    def call(*given: Any, **knobs: Any) -> Any:
        there = any(isinstance(x, Tensor) and x.is_cuda for x in (*given, *knobs.values()))
        if there or DEVICE == "cpu" or knobs.get("impl") != "triton" or torch.compiler.is_compiling():
            return op(*given, **knobs)
        found = op(*map(_there, given), **{name: _there(value) for name, value in knobs.items()})
        return type(found)(*map(_back, found)) if isinstance(found, tuple) else _back(found)

    return call


def moved(impl: str, *given: Tensor) -> tuple[Tensor, ...]:
    """Tensors where `impl` can read them, for tests that call the registered operator itself."""
    return tuple(_there(x) if impl == "triton" else x for x in given)


def _there(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value._base is not None and not value.requires_grad:  # with what lies around it in its buffer
        return value._base.to(DEVICE).as_strided(value.shape, value.stride(), value.storage_offset())
    return value.to(DEVICE)


def _back(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
