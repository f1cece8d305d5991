"""A click is a look and a wish: their probabilities multiply."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.value import value


@value
class PositionBased:
    """Cross entropy of the position-based click model, P(click) = P(look | place) P(click | item, look).

    Richardson et al., 2007; as two towers trained together: PAL (Guo et al., 2019). A gradient step on it is a step of
    EM whose M-step is one gradient step.
    """

    def __call__(self, item: Tensor, place: Tensor, click: Tensor) -> Tensor:
        """[B] sums over the lists of the losses of item logits, place logits and clicks [B, K]."""
        log_p = F.logsigmoid(item) + F.logsigmoid(place)
        # 1 - pq = (1 - p) + p (1 - q), in logarithms: exact where both are near 1
        log_not = torch.logaddexp(F.logsigmoid(-item), F.logsigmoid(item) + F.logsigmoid(-place))
        return -(click * log_p + (1 - click) * log_not).sum(1)
