"""A block of rows at a time, sized to the cache; the logits are made once more for the gradient. Any device, any dtype."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kernels.infonce.hits import pairs
from kernels.infonce.problem import Found, Problem, Wanted

BLOCK = {"cpu": 2**23}  # bytes of logits held at once: what a core's cache takes, or what a GPU is busy with
LARGE_BLOCK, FEWEST_ROWS = 2**28, 64


def forward(problem: Problem) -> Found:
    """Everything that is known before a gradient arrives, with one block of logits beside the results."""
    found = Found(*(problem.scale.new_full((len(problem.query),), -torch.inf) for _ in range(5)), _nothing(problem))
    over_rows = _OverRows(problem)
    if len(problem.vectors):
        query, vectors = problem.query.to(problem.full), problem.vectors.to(problem.full)
        for rows, scores in _blocks(problem, query, vectors):
            closed = _close(problem, rows, scores)
            if problem.named:
                found.best_hit[rows], found.hits[rows] = _of_hits(problem, rows, closed)
            if problem.symmetric:
                over_rows.add(scores)
            _summarise(_correct(problem, scores), rows, found)
    return found._replace(columns=over_rows.total()) if problem.symmetric else found


def backward(problem: Problem, found: Found, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Gradients [B, D] and [N, D] of what comes through the rivals and the columns, not through the own scores."""
    query, vectors = problem.query.to(problem.full), problem.vectors.to(problem.full)
    of_query, of_vectors = torch.zeros_like(query), torch.zeros_like(vectors)
    if not len(vectors):
        return of_query, of_vectors
    rivals, columns = _finite(found.rivals), _finite(found.columns)
    for rows, scores in _blocks(problem, query, vectors):
        _close(problem, rows, scores)
        factor = (wanted.rivals[rows] * problem.scale)[:, None]
        if problem.symmetric:
            back = (scores - columns).exp_().mul_(wanted.columns * problem.scale)
            share = _correct(problem, scores).sub_(rivals[rows, None]).exp_().mul_(factor).add_(back)
            torch.mm(share, vectors, out=of_query[rows])
            of_vectors.addmm_(share.T, query[rows])
        else:
            share = _correct(problem, scores).sub_(rivals[rows, None]).exp_()
            torch.mm(share, vectors, out=of_query[rows]).mul_(factor)
            of_vectors.addmm_(share.T, query[rows] * factor)
    return of_query, of_vectors


def _blocks(problem: Problem, query: Tensor, vectors: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows and their scores [b, N]; each overwrites the one before."""
    limit = BLOCK.get(query.device.type, LARGE_BLOCK) // query.element_size()
    size = min(len(query), max(FEWEST_ROWS, limit // len(vectors)))
    held = query.new_empty(size, len(vectors))
    for start in range(0, len(query), max(1, size)):
        rows = slice(start, min(start + size, len(query)))
        yield rows, torch.mm(query[rows] * problem.scale, vectors.T, out=held[: rows.stop - start])


def _close(problem: Problem, rows: slice, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Close the pairs that are no rivals in place; their rows, columns and what their scores were."""
    row, column = pairs(problem.hits, rows)
    values = scores[row, column]
    scores[row, column] = -torch.inf
    return row, column, values


def _correct(problem: Problem, scores: Tensor) -> Tensor:
    return scores if problem.log_q is None else scores.sub_(problem.log_q)


def _summarise(logits: Tensor, rows: slice, found: Found) -> None:
    best = logits.amax(1)
    shift = best.masked_fill(best == -torch.inf, 0)
    share = logits.sub_(shift[:, None]).exp_()
    total = share.sum(1)
    found.best[rows] = best
    found.rivals[rows] = total.log() + shift
    found.effective[rows] = (total.square_() / share.square_().sum(1)).masked_fill_(total == 0, 0)


def _of_hits(problem: Problem, rows: slice, closed: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """[b] maximum and log sum exp over the closed pairs that aren't the rows' own positives."""
    row, column, values = closed
    if problem.log_q is not None:
        values = values - problem.log_q[column]
    values = values.masked_fill(column == problem.target[rows][row], -torch.inf)
    size = rows.stop - rows.start
    best = values.new_full((size,), -torch.inf).scatter_reduce_(0, row, values, "amax")
    shift = best.masked_fill(best == -torch.inf, 0)
    total = values.new_zeros(size).scatter_add_(0, row, (values - shift[row]).exp_())
    return best, total.log() + shift


def _finite(total: Tensor) -> Tensor:
    """A sum over nothing has no shares: exp(score - inf) is 0."""
    return total.masked_fill(total == -torch.inf, torch.inf)


def _nothing(problem: Problem) -> Tensor:
    return problem.scale.new_empty(0)


class _OverRows:
    """The columns' log sum exp over the rows, block by block."""

    def __init__(self, problem: Problem) -> None:
        size = len(problem.vectors) if problem.symmetric else 0
        self.best = problem.scale.new_full((size,), -torch.inf)
        self.sum = problem.scale.new_zeros(size)

    def add(self, scores: Tensor) -> None:
        best = torch.maximum(self.best, scores.amax(0))
        shift = best.masked_fill(best == -torch.inf, 0)
        self.sum.mul_((self.best - shift).exp_()).add_((scores - shift).exp_().sum(0))
        self.best = best

    def total(self) -> Tensor:
        return self.sum.log() + self.best.masked_fill(self.best == -torch.inf, 0)
