"""All that is allowed in faiss's own inverted lists is scored where it lies, without its per-item question to a selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from recsys.index.exact import Hits

ROOM = 4  # candidates kept before the best k of them are chosen, times k


@dataclass(frozen=True, slots=True)
class ListScan:
    """Where the lists of a flat inverted index lie; they must not change while this is used."""

    rows: np.ndarray  # [L] address of each list's float32 rows
    ids: np.ndarray  # [L] address of its int64 ids
    sizes: np.ndarray  # [L]
    dim: int
    l2: bool

    @classmethod
    def of(cls, index: Any, l2: bool) -> ListScan:
        lists, every = index.invlists, range(index.nlist)
        sizes = np.array([lists.list_size(each) for each in every], np.int64)
        rows = np.array([int(lists.get_codes(each)) if sizes[each] else 0 for each in every], np.int64)
        ids = np.array([int(lists.get_ids(each)) if sizes[each] else 0 for each in every], np.int64)
        return cls(rows, ids, sizes, index.d, l2)

    def __call__(self, queries: np.ndarray, k: int, allowed: np.ndarray) -> Hits:
        """The k nearest of the places allowed [n] to each query [B, D], exactly; of no more than there are."""
        hits, queries = Hits.empty(len(queries), k), np.ascontiguousarray(queries, np.float32)
        allowed = np.ascontiguousarray(allowed)
        for query, ids, scores in zip(queries, hits.ids, hits.scores, strict=True):
            _scan(query, self.rows, self.ids, self.sizes, allowed, self.l2, ids, scores)
        return hits


@intrinsic
def _floats(typingctx, address):  # type: ignore[no-untyped-def]
    return types.CPointer(types.float32)(address), _as_pointer


@intrinsic
def _integers(typingctx, address):  # type: ignore[no-untyped-def]
    return types.CPointer(types.int64)(address), _as_pointer


def _as_pointer(context, builder, signature, args):  # type: ignore[no-untyped-def]
    return builder.inttoptr(args[0], context.get_value_type(signature.return_type))


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc", "contract"})
def _product(query, row):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for dim in range(len(query)):
        total += query[dim] * row[dim]
    return total


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc", "contract"})
def _distance(query, row):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for dim in range(len(query)):
        gap = query[dim] - row[dim]
        total += gap * gap
    return total


@njit(cache=True, nogil=True)
def _scan(query, rows, ids, sizes, allowed, l2, found, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    k, dim = len(found), len(query)
    held, who, count, bound = np.empty(ROOM * k, np.float32), np.empty(ROOM * k, np.int64), 0, -np.float32(np.inf)
    for group in range(len(sizes)):
        if sizes[group] == 0:
            continue
        vectors, places = carray(_floats(rows[group]), (sizes[group], dim)), carray(_integers(ids[group]), sizes[group])  # type: ignore[call-arg]
        for item in range(sizes[group]):
            if not allowed[places[item]]:
                continue
            score = -_distance(query, vectors[item]) if l2 else _product(query, vectors[item])
            if score > bound:
                held[count], who[count] = score, places[item]
                count += 1
            if count == len(held):
                bound = _front(held, who, k)
                count = k
    order = np.argsort(-held[:count], kind="mergesort")[:k]
    found[: len(order)], scores[: len(order)] = who[order], held[order]


@njit(cache=True, nogil=True)
def _front(held, who, k):  # type: ignore[no-untyped-def]
    """Move the best k to the front, of equals the first ones; returns the least of them."""
    bound = np.partition(held, len(held) - k)[len(held) - k]
    equals, filled = k - np.sum(held > bound), 0
    for at in range(len(held)):
        if held[at] > bound or (held[at] == bound and equals > 0):
            equals -= held[at] == bound
            held[filled], who[filled] = held[at], who[at]
            filled += 1
    return bound
