"""From what a scan finds to a loss: the positive is put back beside its rivals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.choose import choose
from kernels.infonce.problem import Found, full
from kernels.infonce.reference import InfoNCEOutput, cost

WIDEST = 256  # numbers in an embedding for which the Triton kernels hold a tile in registers


def implementation(impl: str, tensors: Sequence[Tensor | None]) -> str:
    """What runs for such tensors, query first: `auto` is triton on a CUDA device where its kernels can do it."""
    query = tensors[0]
    if impl == "auto" and query is not None and (query.shape[1] > WIDEST or query.dtype == torch.float64):
        return "chunked"
    if impl == "triton-atomic":
        choose("infonce", "triton", tensors)
        return impl
    return choose("infonce", impl, tensors)


def scale_of(temperature: float | Tensor, query: Tensor) -> Tensor:
    """[] 1 / temperature; NaN for a tensor that isn't positive, which can't be looked at on a device."""
    if not isinstance(temperature, Tensor):
        return torch.full((), 1 / temperature, dtype=full(query.dtype), device=query.device)
    whole = temperature.to(full(query.dtype))
    return 1 / torch.where(whole > 0, whole, torch.nan)


def inside(target: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """The target with column 0 for places outside the pool, and [B] NaN for those rows, else 0: to be added."""
    known = (target >= 0) & (target < columns)
    poison = torch.zeros(target.shape, device=target.device).masked_fill(~known, torch.nan)
    return target.masked_fill(~known, 0), poison


def rows(raw: Tensor, found: Found, log_q: Tensor | None, target: Tensor, mode: str) -> InfoNCEOutput:
    """The losses of choosing a column, and the diagnostics; raw [B] are the positives' scores without log_q."""
    own = raw
    if log_q is not None and mode == "sampled":
        chosen = log_q[target]
        own = raw - chosen.masked_fill(chosen.isposinf(), 0)
    lse = torch.logaddexp(own, found.rivals)
    with torch.no_grad():
        accuracy = (own > found.best).to(lse.dtype).masked_fill(lse.isnan(), torch.nan)
        mass = torch.sigmoid(found.hits - lse)
    return InfoNCEOutput(cost(found.rivals - own, mode), lse, accuracy, found.effective.detach(), mass)


def weighted(found: InfoNCEOutput, weight: Tensor | None) -> InfoNCEOutput:
    return found if weight is None else found._replace(loss=found.loss * weight.to(found.loss.dtype))
