"""InfoNCE by its definition: every logit at once, as many operations as the formulas have, any float dtype."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class InfoNCEOutput(NamedTuple):
    """What a row's choice among the columns costs, and how hard the choice is.

    Float32, float64 for float64 inputs; the reference keeps the inputs' dtype. `loss` and `lse` carry gradients, the
    others don't. All but `loss` are of the rows' direction.
    """

    loss: Tensor  # [B] nats, times the row's weight
    lse: Tensor  # [B] log of the sum of exp of the logits of the positive and its rivals
    accuracy: Tensor  # [B] 1 where the positive's logit is above every rival's, else 0; NaN where lse is
    effective_negatives: Tensor  # [B] (sum p)^2 / sum p^2 over the rivals' shares p: Kish's effective number; 0 of none
    masked_mass: Tensor  # [B] the share of the softmax that the masked hits would have had


def infonce(
    query: Tensor,
    vectors: Tensor,
    target: Tensor,
    *,
    log_q: Tensor | None = None,
    ids: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    weight: Tensor | None = None,
    positive_mode: str = "sampled",
    mask_hits: bool = True,
    symmetric: bool = False,
) -> InfoNCEOutput:
    """See `kernels.infonce.infonce`: the same meaning and no checks. B x N numbers several times over."""
    raw = query @ vectors.T / temperature  # [B, N]
    raw = F.pad(raw, (0, 1), value=-torch.inf)  # a column that nobody chooses: a row always has a maximum
    columns = torch.arange(raw.shape[1], device=raw.device)
    positive = target[:, None] == columns
    hit = positive
    if ids is not None and mask_hits:
        hit = positive | F.pad(ids[target, None] == ids, (0, 1))
    offset = raw.new_zeros(raw.shape[1])
    if log_q is not None:
        offset[:-1] = log_q.to(raw.dtype)
    absent = offset == torch.inf
    logits = raw - offset
    own_offset = offset[target]
    if ids is not None:  # a positive that competes elsewhere is corrected as there
        copies = torch.where(F.pad(ids[target, None] == ids, (0, 1)), offset, torch.inf)
        own_offset = torch.where(absent[target], copies.amin(1), own_offset)
    own_offset = own_offset.masked_fill(own_offset == torch.inf, 0)
    own_raw = raw.gather(1, target[:, None])[:, 0]
    own = own_raw if positive_mode == "corrected" else own_raw - own_offset

    negatives = logits.masked_fill(hit | absent, -torch.inf)
    rivals = negatives.logsumexp(1)
    lse = torch.logaddexp(own, rivals)
    loss = cost(rivals - own, positive_mode)
    if symmetric:
        seen, chosen = raw.T[target], hit.T[target]  # [B, B] of the rows' positives, the queries that choose among them
        back = seen.masked_fill(chosen, -torch.inf).logsumexp(1) - own_raw
        loss = (loss + cost(back, "sampled")) / 2
    if weight is not None:
        loss = loss * weight

    with torch.no_grad():
        accuracy = (own > negatives.amax(1)).to(raw.dtype).masked_fill(lse.isnan(), torch.nan)
        effective = (2 * rivals - (2 * negatives).logsumexp(1)).exp().masked_fill(rivals == -torch.inf, 0)
        masked = logits.masked_fill(~hit | positive | absent, -torch.inf).logsumexp(1)
        mass = torch.sigmoid(masked - lse)
    return InfoNCEOutput(loss, lse.clone(), accuracy, effective, mass)


def infonce_multi(
    query: Tensor,
    vectors: Tensor,
    group: Tensor,
    *,
    ids: Tensor,
    log_q: Tensor | None = None,
    temperature: float | Tensor,
    weight: Tensor | None = None,
) -> InfoNCEOutput:
    """See `kernels.infonce.infonce_multi`: the same meaning and no checks."""
    logits = query @ vectors.T / temperature  # [B, N]
    if log_q is not None:
        logits = logits - log_q.to(logits.dtype)
    logits = F.pad(logits, (0, 1), value=-torch.inf)
    positive = F.pad(group[:, None] == ids, (0, 1)) & (logits != -torch.inf)
    lse = logits.logsumexp(1)
    count = positive.sum(1)
    loss = torch.where(positive, lse[:, None] - logits, 0).sum(1) / count.clamp(min=1)
    if weight is not None:
        loss = loss * weight
    with torch.no_grad():
        negatives = logits.masked_fill(positive, -torch.inf)
        best = logits.masked_fill(~positive, -torch.inf).amax(1)
        accuracy = (best > negatives.amax(1)).to(lse.dtype).masked_fill(lse.isnan(), torch.nan)
        rivals = negatives.logsumexp(1)
        effective = (2 * rivals - (2 * negatives).logsumexp(1)).exp().masked_fill(rivals == -torch.inf, 0)
    return InfoNCEOutput(loss, lse.clone(), accuracy, effective, torch.zeros_like(loss))


def cost(gap: Tensor, positive_mode: str) -> Tensor:
    """[B] nats of a gap between the rivals' log sum exp and the positive's logit; 0 where there is no rival."""
    if positive_mode == "sampled":
        return F.softplus(gap, threshold=40)  # beyond 40, log(1 + exp) is the identity in float64 too
    wrong = torch.sigmoid(gap).detach()  # the model's probability of not choosing the positive
    return wrong * gap.masked_fill(gap == -torch.inf, 0)
