"""One op has several implementations; which of them runs is decided here, and said once."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import torch
from torch import Tensor

IMPLS = ("auto", "triton", "chunked", "reference")
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"  # triton reads it when a kernel is defined, so once
BLOCK = 2**19  # numbers held at once on a CPU: what a core's cache takes

_said: set[tuple[str, str]] = set()


def choose(op: str, impl: str, tensors: Sequence[Tensor | None], able: bool = True) -> str:
    """ "triton", "chunked" or "reference". "auto" is triton on a CUDA device and chunked elsewhere; it is logged once an op.

    `able` tells whether the op's kernels can do, and do well, what these tensors ask for; auto takes chunked if not.

    Raises ValueError for an unknown name or tensors of several devices, RuntimeError for triton where it can't run.
    """
    if impl not in IMPLS:
        raise ValueError(f"{op}: impl must be one of {', '.join(IMPLS)}, got {impl!r}")
    devices = {tensor.device for tensor in tensors if tensor is not None}
    if len(devices) > 1:
        raise ValueError(f"{op}: tensors lie on {', '.join(sorted(map(str, devices)))}; move them to one device")
    device = next(iter(devices)).type
    if impl == "triton" and device != "cuda" and not INTERPRETED:
        raise RuntimeError(
            f"{op}: impl='triton' needs a CUDA device, the tensors are on {device}; move them there, take impl='chunked', "
            "or set TRITON_INTERPRET=1 before Python starts to run the kernels slowly without one"
        )
    if impl != "auto":
        return impl
    choice = "triton" if device == "cuda" and able else "chunked"
    if not torch.compiler.is_compiling() and (op, choice) not in _said:
        _said.add((op, choice))
        logging.getLogger("kernels").info("%s: impl='auto' is %r on %s", op, choice, device)
    return choice


def rows_at_once(width: int, fewest: int = 1) -> int:
    """How many rows of `width` numbers are handled together so that they stay in the cache."""
    return max(fewest, BLOCK // max(1, width))
