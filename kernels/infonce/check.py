"""What infonce refuses, with the value and the remedy, before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_all(
    query: Tensor, vectors: Tensor, target: Tensor, log_q: Tensor | None, ids: Tensor | None, weight: Tensor | None
) -> None:
    """Raise ValueError or IndexError unless every tensor fits query [B, D] and vectors [N, D]."""
    check_embeddings(query, vectors)
    check_vector("target", target, len(query), query, whole=True)
    check_vector("log_q", log_q, len(vectors), query)
    check_vector("ids", ids, len(vectors), query, whole=True)
    check_vector("weight", weight, len(query), query)
    check_constant("log_q", log_q)
    check_target(target, len(vectors))


def check_modes(temperature: float | Tensor, positive_mode: str, query: Tensor) -> None:
    """Raise ValueError unless the temperature is positive and the mode is known."""
    check_temperature(temperature, query)
    check_choice("positive_mode", positive_mode, ("sampled", "corrected"))


def check_embeddings(query: Tensor, vectors: Tensor) -> None:
    """Raise ValueError unless query [B, D] and vectors [N, D] are of one float dtype and on one device."""
    if query.ndim != 2 or vectors.ndim != 2 or query.shape[1] != vectors.shape[1] or query.shape[1] == 0:
        raise ValueError(f"query must be [B, D] and vectors [N, D], got {_shape(query)} and {_shape(vectors)}")
    if query.dtype not in FLOATS or vectors.dtype != query.dtype:
        raise ValueError(
            f"query and vectors must have one float dtype, got {query.dtype} and {vectors.dtype}; convert one of them"
        )
    _on_device("vectors", vectors, query)


def check_vector(name: str, given: Tensor | None, size: int, query: Tensor, whole: bool = False) -> None:
    """Raise ValueError unless `given` is absent or [size], int64 where `whole`, else float, on the query's device."""
    if given is None:
        return
    if given.shape != (size,):
        raise ValueError(f"{name} must have shape [{size}], got {_shape(given)}")
    if (given.dtype != torch.int64) if whole else (given.dtype not in FLOATS):
        raise ValueError(f"{name} must be {'int64' if whole else 'of a float dtype'}, got {given.dtype}; convert it")
    _on_device(name, given, query)


def check_constant(name: str, given: Tensor | None) -> None:
    """Raise ValueError where a gradient would be lost without a word."""
    if given is not None and given.requires_grad:
        raise ValueError(f"{name} requires grad, but gets no gradient here: pass {name}.detach()")


def check_temperature(temperature: float | Tensor, query: Tensor) -> None:
    """Raise ValueError unless it is a positive number or a 0-d float tensor; a tensor's value only on a CPU."""
    if isinstance(temperature, Tensor):
        if temperature.ndim != 0 or temperature.dtype not in FLOATS:
            raise ValueError(f"temperature must be a number or a 0-d float tensor, got {_shape(temperature)}")
        _on_device("temperature", temperature, query)
        if not can_look(query):
            return
        temperature = float(temperature.detach())
    if not 0 < temperature < torch.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")


def check_target(target: Tensor, columns: int) -> None:
    """Raise IndexError where a target names no column, if that can be seen without waiting for a device."""
    if len(target) and not columns:
        raise ValueError(f"there are {len(target)} rows and no column: a row's positive must be in the pool")
    if not can_look(target) or not len(target):
        return
    outside = (target < 0) | (target >= columns)
    if outside.any():
        row = int(outside.nonzero()[0, 0])
        raise IndexError(f"target[{row}] is {int(target[row])}, but there are columns 0 to {columns - 1} only")


def check_choice(name: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")


def can_look(tensor: Tensor) -> bool:
    """Whether values can be looked at: on a device that would be a wait, while compiling a break of the graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _on_device(name: str, given: Tensor, query: Tensor) -> None:
    if given.device != query.device:
        raise ValueError(f"{name} is on {given.device}, query on {query.device}; move one of them")


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
