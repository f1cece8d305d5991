"""Segments of a row, of any lengths, each with a softmax of its own: siblings in a tree, items of a list."""

from __future__ import annotations

from torch import Tensor

from kernels.choose import choose
from kernels.segments import op
from kernels.segments.check import check

__all__ = ["segment_log_softmax", "segment_logsumexp"]


def segment_logsumexp(scores: Tensor, offsets: Tensor, *, impl: str = "auto") -> Tensor:
    """[B, G] log of the sum of exponentials of each segment of every row; -inf for a segment without numbers.

    scores [B, N], offsets [G + 1] int64: segment g is columns offsets[g]:offsets[g + 1], the same for all rows. Computed
    in float32 at least; no exponent overflows (the segment's largest number is taken off first). Gradients as torch's
    logsumexp has them: 0 for -inf. Memory beyond inputs and results is of the order of a block of rows.
    Raises ValueError for what doesn't fit together.
    """
    check(scores, offsets)
    return op.logsumexp(scores, offsets, _chosen(impl, scores, offsets))


def segment_log_softmax(scores: Tensor, offsets: Tensor, *, impl: str = "auto") -> Tensor:
    """[B, N] log of each number's share in its segment; arguments and errors as for `segment_logsumexp`.

    A conditional softmax among siblings (Morin and Bengio, 2005) in one pass each way. A segment that holds nothing but
    -inf is NaN, as in torch's log_softmax.
    """
    check(scores, offsets)
    return op.log_softmax(scores, offsets, _chosen(impl, scores, offsets))


def _chosen(impl: str, scores: Tensor, offsets: Tensor) -> str:
    able = scores.element_size() < 8
    chosen = choose("segments", impl, (scores, offsets), able)
    if chosen == "triton" and not able:
        raise ValueError("segments: impl='triton' takes no float64; convert the scores or take impl='chunked'")
    return chosen
