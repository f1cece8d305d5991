"""A block of rows at a time, sized to the cache; the logits are made once more for the gradient. Any device, any dtype."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kernels.infonce.hits import pairs
from kernels.infonce.problem import Ahead, Found, Guess, Problem, Wanted, own_scores

BLOCK = {"cpu": 2**23}  # bytes of logits held at once: what a core's cache takes, or what a GPU is busy with
LARGE_BLOCK, FEWEST_ROWS = 2**26, 64


def forward(problem: Problem, guess: Guess | None = None) -> tuple[Found, Ahead | None]:
    """Everything that is known before a gradient arrives, and with a guess also what will come of it.

    One block of logits is held beside the results.
    """
    found = Found.nothing(problem)
    over_rows = _OverRows(problem)
    ahead = _Ahead(problem, guess) if guess else None
    if len(problem.vectors):
        for rows, scores in _blocks(problem):
            closed = _close(problem, rows, scores)
            if problem.named:
                found.best_hit[rows], found.hits[rows] = _of_hits(problem, rows, closed)
            if problem.symmetric:
                over_rows.add(scores)
            weights, total = _weigh(_correct(problem, scores), rows, found)
            if ahead:
                ahead.add(rows, weights, total, found.rivals[rows])
            square = weights.square_().sum(1)
            found.effective[rows] = (total.square() / square).masked_fill_(total == 0, 0)
    found = found._replace(columns=over_rows.total()) if problem.symmetric else found
    return found, ahead.done if ahead else None


def backward(problem: Problem, found: Found, wanted: Wanted, ahead: Ahead | None = None) -> tuple[Tensor, Tensor]:
    """Gradients [B, D] and [N, D] of what comes through the rivals and the columns, not through the own scores."""
    if ahead is None or not _follows(ahead, wanted):
        of_query = torch.zeros_like(problem.query, dtype=problem.full)
        return of_query, _again(problem, found, wanted, of_query)
    rate = torch.where(wanted.rivals == 0, 0, wanted.rivals / ahead.expected)  # [B]
    of_query = ahead.of_query * rate[:, None]
    common = wanted.rivals.sum() / ahead.expected.sum().clamp(min=torch.finfo(problem.full).tiny)
    if torch.allclose(wanted.rivals, ahead.expected * common, rtol=16 * torch.finfo(problem.full).eps, atol=0):
        return of_query, ahead.of_vectors * common
    return of_query, _again(problem, found, wanted, None)


def _follows(ahead: Ahead, wanted: Wanted) -> bool:
    """Whether a row's gradient is a multiple of what was guessed: it isn't where nothing was expected."""
    nothing = ahead.expected.abs() < 2**24 * torch.finfo(ahead.expected.dtype).tiny
    return not (nothing & (wanted.rivals != 0)).any()


def _again(problem: Problem, found: Found, wanted: Wanted, of_query: Tensor | None) -> Tensor:
    """[N, D] from logits that are made once more; of_query [B, D] is filled if it is given."""
    query, vectors = problem.query.to(problem.full), problem.vectors.to(problem.full)
    of_vectors = torch.zeros_like(vectors)
    rivals, columns = _finite(found.rivals), _finite(found.columns)
    for rows, scores in _blocks(problem) if len(vectors) else ():
        _close(problem, rows, scores)
        factor = (wanted.rivals[rows] * problem.scale)[:, None]
        if problem.symmetric:  # the gradients of both directions are in the shares, else that of the row comes last
            back = (scores - columns).exp_().mul_(wanted.columns * problem.scale)
            share = _correct(problem, scores).sub_(rivals[rows, None]).exp_().mul_(factor).add_(back)
            factor = torch.ones_like(factor)
        else:
            share = _correct(problem, scores).sub_(rivals[rows, None]).exp_()
        if of_query is not None:
            torch.mm(share, vectors, out=of_query[rows]).mul_(factor)
        of_vectors.addmm_(share.T, query[rows] * factor)
    return of_vectors


def _blocks(problem: Problem) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows and their scores [b, N]; each overwrites the one before."""
    query, across = problem.query.to(problem.full), problem.vectors.to(problem.full).T.contiguous()
    limit = BLOCK.get(query.device.type, LARGE_BLOCK) // query.element_size()
    size = min(len(query), max(FEWEST_ROWS, limit // across.shape[1]))
    held = query.new_empty(size, across.shape[1])
    for start in range(0, len(query), max(1, size)):
        rows = slice(start, min(start + size, len(query)))
        yield rows, torch.mm(query[rows] * problem.scale, across, out=held[: rows.stop - start])


def _close(problem: Problem, rows: slice, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Close the pairs that are no rivals in place; their rows, columns and what their scores were."""
    row, column = pairs(problem.hits, rows)
    values = scores[row, column]
    scores[row, column] = -torch.inf
    return row, column, values


def _correct(problem: Problem, scores: Tensor) -> Tensor:
    return scores if problem.log_q is None else scores.sub_(problem.log_q)


def _weigh(logits: Tensor, rows: slice, found: Found) -> tuple[Tensor, Tensor]:
    """[b, N] exp of the logits less the row's maximum, in place, and [b] their sums."""
    best = logits.amax(1)
    shift = best.masked_fill(best == -torch.inf, 0)
    weights = logits.sub_(shift[:, None]).exp_()
    total = weights.sum(1)
    found.best[rows] = best
    found.rivals[rows] = total.log() + shift
    return weights, total


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


class _Ahead:
    """The gradient of the guess, block by block, from weights that are there anyway."""

    def __init__(self, problem: Problem, guess: Guess) -> None:
        self.query, self.vectors = problem.query.to(problem.full), problem.vectors.to(problem.full)
        self.scale, self.weight, self.own = problem.scale, guess.weight, own_scores(problem) - guess.offset
        empty = torch.empty_like(self.query)
        self.done = Ahead(torch.zeros_like(self.own), empty, torch.zeros_like(self.vectors))

    def add(self, rows: slice, weights: Tensor, total: Tensor, rivals: Tensor) -> None:
        expected = self.weight[rows] * torch.sigmoid(rivals - self.own[rows])
        self.done.expected[rows] = expected
        factor = (expected * self.scale / total).masked_fill_(total == 0, 0)[:, None]
        torch.mm(weights, self.vectors, out=self.done.of_query[rows]).mul_(factor)
        self.done.of_vectors.addmm_(weights.T, self.query[rows] * factor)


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
