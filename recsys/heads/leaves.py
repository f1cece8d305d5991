"""Heads that give a distribution over the leaves of a taxonomy: each broader topic's chance is its leaves' sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.segments import segment_log_softmax
from recsys.taxonomy import Taxonomy
from recsys.value import value


@value
class FlatHead:
    """A vector of its own for every leaf: what is learnt of one leaf says nothing of its sibling."""

    taxonomy: Taxonomy

    def build(self, dim: int) -> nn.Module:
        return nn.Linear(dim, self.taxonomy.num_leaves)


@value
class PathSumHead:
    """A leaf's vector is the sum of its path's vectors: a coarse label moves all that it covers at once.

    Shared class vectors over a hierarchy: Srivastava and Salakhutdinov, 2013.
    """

    taxonomy: Taxonomy

    def build(self, dim: int) -> nn.Module:
        return PathSum(self.taxonomy, dim)


@value
class TreeSoftmaxHead:
    """A leaf's chance is the product of choices among siblings on its way down (Morin and Bengio, 2005)."""

    taxonomy: Taxonomy

    def build(self, dim: int) -> nn.Module:
        return TreeSoftmax(self.taxonomy, dim)


@value
class NodesHead:
    """A logit for every topic of every level, broad and narrow alike; nothing ties the levels together."""

    taxonomy: Taxonomy

    def build(self, dim: int) -> nn.Module:
        return nn.Linear(dim, self.taxonomy.num_nodes)


class PathSum(nn.Module):
    """Vectors [B, D] -> logits of leaves [B, C]."""

    def __init__(self, taxonomy: Taxonomy, dim: int) -> None:
        super().__init__()
        self.nodes = nn.Linear(dim, taxonomy.num_nodes)
        self.path: Tensor
        self.register_buffer("path", taxonomy.nodes, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.nodes.weight[self.path].sum(1), self.nodes.bias[self.path].sum(1)  # [C, D], [C]
        return torch.addmm(bias, x, weight.T)


class TreeSoftmax(nn.Module):
    """Vectors [B, D] -> log chances of leaves [B, C]. Siblings have neighbouring rows, whatever the taxonomy's order."""

    def __init__(self, taxonomy: Taxonomy, dim: int) -> None:
        super().__init__()
        self.nodes = nn.Linear(dim, taxonomy.num_nodes)
        starts = (0, *(1 + start for start in taxonomy.starts))  # families are numbered by parents, the root's first
        family = torch.cat([start + torch.tensor(held) for start, held in zip(starts, taxonomy.parents, strict=False)])
        self.families: Tensor
        self.inside: Tensor
        self.register_buffer("families", nn.functional.pad(family.bincount().cumsum(0), (1, 0)), persistent=False)
        self.register_buffer("inside", taxonomy.inside[family.argsort(stable=True)].float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return segment_log_softmax(self.nodes(x), self.families) @ self.inside


@value
class PathSumStopsHead:
    """Beside the leaves, how likely a label of each leaf's posts is to stop at each level: annotators aren't a die."""

    taxonomy: Taxonomy

    def build(self, dim: int) -> nn.Module:
        return PathSumStops(self.taxonomy, dim)


class PathSumStops(nn.Module):
    """Vectors [B, D] -> [B, C, 1 + depth]: logits of leaves, then log chances of the levels at which labels stop."""

    def __init__(self, taxonomy: Taxonomy, dim: int) -> None:
        super().__init__()
        self.leaves = PathSum(taxonomy, dim)
        self.stops = nn.Parameter(torch.zeros(taxonomy.num_leaves, taxonomy.depth))

    def forward(self, x: Tensor) -> Tensor:
        leaves = self.leaves(x)
        stops = self.stops.log_softmax(1).expand(len(x), -1, -1)
        return torch.cat([leaves[..., None], stops], dim=2)
