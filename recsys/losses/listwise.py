"""Listwise softmax: the rows of a request compete with each other."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.batch import Jagged
from recsys.value import value


@value
class ListwiseSoftmax:
    """Cross entropy between the labels' shares and the softmax of the logits within a request (Cao et al. 2007)."""

    def __call__(self, logits: Jagged, labels: Tensor) -> Tensor:
        """[B] losses of logits (values [R]) and labels [R] >= 0, NaN where unknown; 0 where no label is above 0."""
        row, num = logits.row, len(logits)
        known = ~labels.isnan()
        scores = logits.values.masked_fill(~known, -torch.inf)
        gains = labels.masked_fill(~known, 0)
        highest = scores.detach().new_full((num,), -torch.inf)
        highest = highest.scatter_reduce(0, row, scores.detach(), "amax").nan_to_num(neginf=0)
        shifted = scores - highest[row]
        total = scores.new_zeros(num).index_add(0, row, shifted.exp())
        log_share = shifted.masked_fill(~known, 0) - total.clamp(min=torch.finfo(total.dtype).tiny).log()[row]
        gain = gains.new_zeros(num).index_add(0, row, gains)
        loss = scores.new_zeros(num).index_add(0, row, -gains * log_share)
        return loss / torch.where(gain > 0, gain, torch.ones_like(gain))
