"""Without a CUDA device kernels run in triton's interpreter, which must be chosen before anything imports triton."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

torch.set_num_threads(1)  # as jobs do: sums in another order end in other bits
