"""Gradient surgery: the step is combined from the tasks' gradients so that none is undone by another."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchjd.aggregation import AlignedMTLWeighting, IMTLGWeighting, MGDAWeighting, PCGradWeighting
from torchjd.aggregation._weighting_bases import Weighting

from recsys.balance.balancer import Balance, Shares
from recsys.random import stream_seed
from recsys.value import value

Method = Literal["pcgrad", "mgda", "imtl_g", "aligned_mtl"]
TORCHJD: dict[str, type[Weighting]] = {
    "pcgrad": PCGradWeighting,
    "mgda": MGDAWeighting,
    "imtl_g": IMTLGWeighting,
    "aligned_mtl": AlignedMTLWeighting,
}


@value
class Surgery:
    """torchjd's weightings of the Gram matrix (Quinton and Rey 2024), on shared parameters alone.

    "pcgrad" takes out of each gradient what opposes another's, in random order, and sums (Yu et al. 2020); "mgda" is the
    shortest convex combination (Sener and Koltun 2018); "imtl_g" has equal projections on all gradients (Liu et al.
    2021); "aligned_mtl" makes the gradients orthogonal and of one length (Senushkin et al. 2023). All but PCGrad also undo
    differences of length, and give a step of the scale of a mean, not of a sum.
    """

    method: Method = "pcgrad"

    def start(self, tasks: int, seed: int) -> Balance:
        weighting, ones = TORCHJD[self.method](), torch.ones(tasks, dtype=torch.float64)
        state = torch.Generator().manual_seed(stream_seed(seed, "balance")).get_state()

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            nonlocal state
            del losses
            with torch.random.fork_rng(devices=[]):  # torchjd draws from torch's global stream
                torch.set_rng_state(state)
                shared = weighting(gram)
                state = torch.get_rng_state()
            return Shares(shared.nan_to_num(0.0), ones)  # a gradient of zero has no direction

        return balance
