"""A tree of topics: what lies inside what, and how far apart two leaves are."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from recsys.value import require, value


@value
class Taxonomy:
    """Every topic but the broadest lies inside one broader topic, and every leaf at the same depth.

    Levels are numbered from 0, the broadest; a topic is a (level, place in its level), or a node number that counts
    through the levels. `parents[l][i]` is the place, in level l - 1, of what topic i of level l lies in; of level 0 it
    is 0. A branch that ends early is continued by only children, so that it too reaches the last level.
    """

    parents: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        above = 1
        for level, held in enumerate(self.parents):
            require(len(held) > 0, f"level {level} of the taxonomy is empty")
            require(
                set(held) == set(range(above)), f"level {level}: parents must name each of {above} topics, got {held}"
            )
            above = len(held)

    @classmethod
    def balanced(cls, branching: tuple[int, ...]) -> Taxonomy:
        """(5, 4): five topics with four leaves each."""
        widths = list(accumulate(branching, int.__mul__))
        return cls(parents=tuple(tuple(i // b for i in range(w)) for b, w in zip(branching, widths, strict=True)))

    @property
    def depth(self) -> int:
        return len(self.parents)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of topics of each level."""
        return tuple(map(len, self.parents))

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of each level's first node."""
        return (0, *accumulate(self.widths[:-1]))

    @property
    def num_leaves(self) -> int:
        return len(self.parents[-1])

    @property
    def num_nodes(self) -> int:
        return sum(self.widths)

    @property
    def paths(self) -> Tensor:
        """[C, depth] the place, in each level, of what each leaf lies in; the last column is the leaf itself."""
        return _paths(self)

    @property
    def nodes(self) -> Tensor:
        """[C, depth] the same as node numbers."""
        return _paths(self) + torch.tensor(self.starts)

    @property
    def inside(self) -> Tensor:
        """[nodes, C] bool: which leaves lie in which node."""
        return _inside(self)

    @property
    def heights(self) -> Tensor:
        """[C, C] levels up from a leaf to what it has in common with another: 0 for itself, depth for nothing."""
        return self.depth - (self.paths[:, None] == self.paths[None]).sum(-1)

    def levels(self, nodes: Tensor) -> tuple[Tensor, ...]:
        """[..., nodes] split into [..., width] for each level."""
        return nodes.split(self.widths, dim=-1)


@lru_cache(maxsize=16)
def _paths(taxonomy: Taxonomy) -> Tensor:
    place = torch.arange(taxonomy.num_leaves)
    columns = [place]
    for parents in reversed(taxonomy.parents[1:]):
        place = torch.tensor(parents)[place]
        columns.append(place)
    return torch.stack(columns[::-1], dim=1)


@lru_cache(maxsize=16)
def _inside(taxonomy: Taxonomy) -> Tensor:
    held = torch.zeros(taxonomy.num_nodes, taxonomy.num_leaves, dtype=torch.bool)
    held[taxonomy.nodes, torch.arange(taxonomy.num_leaves)[:, None]] = True
    return held
