"""Sampled softmax: the positive against the other items on offer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kernels.infonce import infonce
from recsys.candidates import Candidates
from recsys.value import value

BLOCK = {"cpu": 2**19}  # scores held at once: what a core's cache takes, or what a GPU is busy with
LARGE_BLOCK, FEWEST_ROWS = 2**26, 64


@value
class SampledSoftmax:
    """Cross entropy over the pool; with log_q subtracted it estimates that over the whole catalogue.

    Bengio and Senécal 2008; Yi et al. 2019 for in-batch negatives. `mask_hits` leaves out the other copies of the
    target in the pool. `symmetric` averages with the loss of choosing the query for the item, over the batch's
    queries (Radford et al. 2021); that side isn't corrected, since how often a query occurs isn't known.
    """

    corrected: bool = True
    mask_hits: bool = True
    symmetric: bool = False

    def __call__(self, query: Tensor, pool: Candidates, target: Tensor) -> Tensor:
        """[B] losses of query [B, D] (divided by the temperature), pool of N, target [B] places in the pool.

        Memory is of the order of B + N: the scores [B, N] are never all there. Under autocast products take its dtype, as
        torch's own do; sums and losses stay float32.
        """
        dtype = product_dtype(query, pool.vectors)
        log_q = pool.log_q if self.corrected else pool.log_q.where(absent(pool.log_q), 0)
        return infonce(
            query.to(dtype),
            pool.vectors.to(dtype),
            target,
            log_q=log_q,
            ids=pool.ids,
            temperature=1.0,
            mask_hits=self.mask_hits,
            symmetric=self.symmetric,
        ).loss


def blocks(query: Tensor, columns: int) -> Iterator[slice]:
    """Slices of the queries such that a slice's scores with all columns are handled at once."""
    rows = max(FEWEST_ROWS, BLOCK.get(query.device.type, LARGE_BLOCK) // max(1, columns))
    for start in range(0, len(query), rows):
        yield slice(start, start + rows)


def product_dtype(query: Tensor, vectors: Tensor) -> torch.dtype:
    """What torch.mm would multiply in: autocast's dtype for float32, which is also what the kernels for GPUs are made for."""
    dtype, device = torch.promote_types(query.dtype, vectors.dtype), query.device.type
    return torch.get_autocast_dtype(device) if dtype == torch.float32 and torch.is_autocast_enabled(device) else dtype


def in_full(tensor: Tensor) -> Tensor:
    """At least float32, also under autocast: bfloat16 can't tell neighbouring items apart."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def absent(log_q: Tensor) -> Tensor:
    """Where an item competes at another place."""
    return log_q.isinf() & (log_q > 0)
