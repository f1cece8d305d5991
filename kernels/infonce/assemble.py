"""From what a scan finds to a loss: the positive is put back beside its rivals."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.choose import choose
from kernels.infonce.hits import Hits
from kernels.infonce.problem import Found, Guess, Problem, full
from kernels.infonce.reference import InfoNCEOutput, cost

WIDEST = 256  # numbers in an embedding for which the Triton kernels hold a tile in registers


def implementation(impl: str, query: Tensor, vectors: Tensor) -> str:
    """What runs: `auto` is triton for 2-byte numbers on a CUDA device, since float32 has no tensor cores, else chunked."""
    able = query.shape[1] <= WIDEST and query.element_size() == 2
    chosen = choose("infonce", impl.removesuffix("-atomic"), (query, vectors), able)
    return impl if impl == "triton-atomic" else chosen


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


def own_log_q(log_q: Tensor | None, target: Tensor, elsewhere: Tensor | None) -> Tensor | None:
    """[B] what corrects the positives: their own log_q, or where that is +inf the least of their copies, 0 without any."""
    if log_q is None:
        return None
    own = log_q[target]
    other = torch.zeros_like(own) if elsewhere is None else elsewhere.masked_fill(elsewhere.isposinf(), 0)
    return torch.where(own.isposinf(), other, own)


def least(log_q: Tensor, hits: Hits) -> Tensor:
    """[B] the least log_q among the columns with a row's id, +inf for none."""
    by_code = torch.full_like(log_q, torch.inf).scatter_reduce(0, hits.code.long(), log_q, "amin")
    return by_code[hits.start.long().clamp(min=0)].masked_fill(hits.start < 0, torch.inf)


def rows(raw: Tensor, found: Found, offset: Tensor | None, mode: str) -> InfoNCEOutput:
    """The losses of choosing a column, and the diagnostics; raw [B] are the positives' scores, offset [B] corrects them."""
    own = raw if offset is None else raw - offset
    lse = torch.logaddexp(own, found.rivals)
    with torch.no_grad():
        accuracy = (own > found.best).to(lse.dtype).masked_fill(lse.isnan(), torch.nan)
        mass = torch.sigmoid(found.hits - lse)
    return InfoNCEOutput(cost(found.rivals - own, mode), lse, accuracy, found.effective.detach(), mass)


def guess(problem: Problem, offset: Tensor | None, weight: Tensor | None) -> Guess:
    """That the losses will be summed or averaged as they are."""
    rows = problem.scale.expand(len(problem.query))
    offset = torch.zeros_like(rows) if offset is None else offset
    return Guess(offset, torch.ones_like(rows) if weight is None else weight.detach().to(rows.dtype))


def weighted(found: InfoNCEOutput, weight: Tensor | None) -> InfoNCEOutput:
    return found if weight is None else found._replace(loss=found.loss * weight.to(found.loss.dtype))
