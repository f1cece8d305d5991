"""What a query encoder is worth: against the truth, against its teacher, and in time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.diagnose.latency import Agreement, Spans
from recsys.evaluate.timing import interleave
from recsys.recipes.endpoint import Served
from recsys.worlds.truth_tokens import TokensTruth

RELEVANT, FOUND = 20, 50
TIMED, ROUNDS, TRIES = 20, 5, 3
TAIL = 0.25  # share of queries with the rarest tokens
TURNED = 0.8  # cosine of a query's vector to that of its tokens reversed, below which their order matters


def quality(scores: Tensor, teacher: Tensor, truth: TokensTruth) -> dict[str, float]:
    """recall@50 of the 20 truly nearest items, whole and by slice, and overlap with the teacher's 20; scores [H, I]."""
    relevant = (truth.queries @ truth.items.T).topk(RELEVANT, dim=1).indices
    recall = overlap(scores.topk(FOUND, dim=1).indices, relevant)
    slices = {
        "order": truth.ordered > 0,
        "plain": truth.ordered == 0,
        "tail": truth.rare <= truth.rare.quantile(TAIL),
    }
    found = {"recall@50": float(recall.mean())}
    found |= {f"recall@50[{name}]": float(recall[rows].mean()) for name, rows in slices.items() if bool(rows.any())}
    agreed = overlap(scores.topk(RELEVANT, dim=1).indices, teacher.topk(RELEVANT, dim=1).indices)
    return found | {"agreement@20": float(agreed.mean())}


def overlap(found: Tensor, wanted: Tensor) -> Tensor:
    """[B] share of wanted [B, W] that is among found [B, F]."""
    return (wanted[:, :, None] == found[:, None]).any(2).double().mean(1)


def timed(student: nn.Module, teacher: nn.Module, queries: Tensor) -> dict[str, float]:
    """CPU time of the student over the teacher's, query by query, interleaved; and the teacher's over its own.

    Tried again where the teacher against itself isn't within a tenth of 1; the quietest try counts.
    """
    rows = [query[query > 0][None] for query in queries[:TIMED]]

    def ask(model: nn.Module) -> None:
        with torch.inference_mode():
            for row in rows:
                model(row)

    arms = {"teacher": lambda: ask(teacher), "student": lambda: ask(student)}
    best = None
    for _ in range(TRIES):
        found = interleave(arms, ROUNDS)
        if best is None or abs(found.aa_ratio - 1) < abs(best.aa_ratio - 1):
            best = found
        if best.quiet():
            break
    assert best is not None
    return {"time_ratio": best.ratio("student", "teacher"), "time_aa": best.aa_ratio}


def spans_of(served: Served, budget_ms: float) -> Spans:
    return Spans(
        **served.spans,
        tokens=served.tokens,
        padded=served.padded,
        hit=served.hit.astype(float),
        repeated=served.repeated.astype(float),
        budget_ms=budget_ms,
    )


@torch.no_grad()
def agreement_of(
    models: tuple[nn.Module, nn.Module], indexes: tuple[Tensor, Tensor], trained: Tensor, fresh: Tensor
) -> Agreement:
    """Of (teacher, student) with their indexes, on as many queries trained on as there are fresh ones."""
    teacher, student = models

    def agreed(queries: Tensor) -> Tensor:
        theirs, ours = teacher(queries) @ indexes[0].T, student(queries) @ indexes[1].T
        return overlap(ours.topk(RELEVANT, dim=1).indices, theirs.topk(RELEVANT, dim=1).indices)

    turned = (teacher(fresh) * teacher(reversed_tokens(fresh))).sum(1) < TURNED
    share = agreed(fresh)
    means = [float(held.mean()) if len(held) else float("nan") for held in (share[turned], share[~turned])]
    return Agreement(float(agreed(trained[: len(fresh)]).mean()), float(share.mean()), *means)


def reversed_tokens(queries: Tensor) -> Tensor:
    """[B, L] each query's tokens the other way round, padding still at the end."""
    there = queries != 0
    return queries.flip(1).gather(1, there.flip(1).byte().sort(dim=1, descending=True, stable=True).indices)
