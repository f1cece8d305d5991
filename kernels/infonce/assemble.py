"""From what a scan finds to a loss: the positive is put back beside its rivals."""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor

from kernels.infonce import check
from kernels.infonce.problem import Found, full
from kernels.infonce.reference import InfoNCEOutput, cost

IMPLS = ("auto", "triton", "triton-atomic", "chunked", "reference")
WIDEST = 256  # columns of the embeddings for which the Triton kernels are the faster choice
log = logging.getLogger("kernels.infonce")


def choose(impl: str, query: Tensor) -> str:
    """The implementation that `auto` stands for with such a query; said once in the log."""
    check.check_choice("impl", impl, IMPLS)
    if impl != "auto":
        return impl
    narrow = query.shape[1] <= WIDEST and query.dtype != torch.float64
    chosen = "triton" if query.is_cuda and narrow else "chunked"
    if not torch.compiler.is_compiling():
        _say(chosen, query.device.type, str(query.dtype), query.shape[1])
    return chosen


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


def output(own: Tensor, rivals: Tensor, best_own: Tensor, found: Found, mode: str) -> InfoNCEOutput:
    """Losses and diagnostics of rows whose positive has the logit own [B] beside the rivals' log sum exp [B]."""
    lse = torch.logaddexp(own, rivals)
    with torch.no_grad():
        accuracy = (best_own > found.best).to(lse.dtype).masked_fill(lse.isnan(), torch.nan)
        mass = torch.sigmoid(found.hits - lse)
    return InfoNCEOutput(cost(rivals - own, mode), lse, accuracy, found.effective.detach(), mass)


def weighted(found: InfoNCEOutput, weight: Tensor | None) -> InfoNCEOutput:
    return found if weight is None else found._replace(loss=found.loss * weight.to(found.loss.dtype))


@functools.cache
def _say(chosen: str, *why: object) -> None:
    log.info("impl='auto' is %s on %s with %s and D = %s", chosen, *why)
