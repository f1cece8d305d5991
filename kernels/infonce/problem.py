"""A scan compares every row with every column once: what it reads, what it finds, and its own positive's gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.infonce.hits import Hits

BLOCK = 2**23  # numbers


@dataclass(frozen=True, slots=True)
class Problem:
    """Logit (b, n) is scale * query[b] . vectors[n] - log_q[n]; closed pairs and columns with log_q +inf don't compete."""

    query: Tensor  # [B, D]
    vectors: Tensor  # [N, D] of the query's dtype
    scale: Tensor  # [] 1 / temperature, of dtype `full`
    log_q: Tensor | None  # [N] of dtype `full`
    target: Tensor  # [B] int64 in range; -1 for a row without a positive among the columns
    hits: Hits
    named: bool  # hits are by id; else a row's only closed column is its positive
    symmetric: bool

    @property
    def full(self) -> torch.dtype:
        return full(self.query.dtype)


class Found(NamedTuple):
    """Natural logarithms, of dtype `full`; -inf over nothing."""

    rivals: Tensor  # [B] log sum exp of the logits of a row's open columns
    best: Tensor  # [B] their maximum
    effective: Tensor  # [B] (sum p)^2 / sum p^2 of their shares, 0 of none
    hits: Tensor  # [B] log sum exp of the closed columns' logits, without the positive's
    best_hit: Tensor  # [B] their maximum
    columns: Tensor  # [N] log sum exp over the rows open to a column, without log_q; [0] unless symmetric

    @classmethod
    def nothing(cls, problem: Problem) -> Found:
        """What a problem without pairs would find, to be filled in place."""
        rows = [problem.scale.new_full((len(problem.query),), -torch.inf) for _ in range(5)]
        size = len(problem.vectors) if problem.symmetric else 0
        return cls(rows[0], rows[1], rows[2].zero_(), rows[3], rows[4], problem.scale.new_full((size,), -torch.inf))


class Guess(NamedTuple):
    """The gradient that arrives is most often the same for all losses: then that of the rivals is known beforehand."""

    offset: Tensor  # [B] of dtype `full`: the positives' logits are their own scores less this
    weight: Tensor  # [B] of the losses


class Ahead(NamedTuple):
    """The gradients for a guess, with which the backward pass has next to nothing left to do if it holds."""

    expected: Tensor  # [B] the guessed gradient of the rivals' log sum exp, up to a common factor
    of_query: Tensor  # [B, D] what comes of it
    of_vectors: Tensor  # [N, D]


class Wanted(NamedTuple):
    """How much the loss changes with what was found."""

    own: Tensor  # [B] with scale * query[b] . vectors[target[b]]
    rivals: Tensor  # [B]
    columns: Tensor  # [N], or [0] unless symmetric


def full(dtype: torch.dtype) -> torch.dtype:
    """At least float32: bfloat16 can't tell neighbouring items apart."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def own_scores(problem: Problem) -> Tensor:
    """[B] scale * query[b] . vectors[target[b]]; of any column where there is no positive."""
    chosen = problem.vectors[problem.target.clamp(min=0)].to(problem.full)
    return (problem.query.to(problem.full) * chosen).sum(1) * problem.scale


def add_own(problem: Problem, gradient: Tensor, of_query: Tensor, of_vectors: Tensor) -> None:
    """Add the gradient of the own scores in place, in an order that doesn't change from run to run."""
    factor = (gradient * problem.scale)[:, None]
    for rows in blocks(problem.query):
        target = problem.target[rows].clamp(min=0)
        of_query[rows].addcmul_(factor[rows], problem.vectors[target].to(problem.full))
        share = problem.query[rows].to(problem.full) * factor[rows]
        if share.is_cuda:
            of_vectors.index_put_((target,), share, accumulate=True)  # sorts; index_add_ would race
        else:
            of_vectors.index_add_(0, target, share)


def blocks(query: Tensor) -> Iterator[slice]:
    """Slices of the rows so small that copies of them in full precision don't count."""
    rows = max(1, BLOCK // max(1, query.shape[1]))
    for start in range(0, len(query), rows):
        yield slice(start, start + rows)
