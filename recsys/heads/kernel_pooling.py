"""A cross encoder that is small enough for a CPU: every word of a query looks at every word of a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsys.random import torch_rng
from recsys.value import require, value

PADDING = 0


@value
class KernelPooling:
    """K-NRM (Xiong et al. 2017): cosines of word pairs are counted softly in `kernels` bins from -1 to 1, the last one for
    the same word; the logarithms of a query word's counts, summed over its words, are weighed to a score.
    """

    dim: int = 32
    kernels: int = 11
    width: float = 0.1  # deviation of a bin

    def __post_init__(self) -> None:
        require(self.kernels >= 2, f"kernels must be at least 2, got {self.kernels}")
        require(self.width > 0, f"width must be positive, got {self.width}")

    def build(self, num_tokens: int, seed: int) -> KernelPoolingModule:
        return KernelPoolingModule(self, num_tokens, seed)


class KernelPoolingModule(nn.Module):
    def __init__(self, spec: KernelPooling, num_tokens: int, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(num_tokens + 1, spec.dim, generator=torch_rng(seed, "init", "cross words"))
        self.words = nn.Parameter(drawn / spec.dim**0.5)
        self.weight = nn.Parameter(0.1 * torch.randn(spec.kernels, generator=torch_rng(seed, "init", "kernels")))
        step = 2 / (spec.kernels - 1)
        self.register_buffer("centre", torch.cat([torch.arange(spec.kernels - 1) * step - 1 + step / 2, torch.ones(1)]))
        self.register_buffer("spread", torch.tensor([spec.width] * (spec.kernels - 1) + [1e-3]))

    def forward(self, query: Tensor, text: Tensor) -> Tensor:
        """[P] scores of queries [P, L] and texts [P, W], words from 1 on."""
        asked, told = normalize(self.words[query], dim=2), normalize(self.words[text], dim=2)
        cosine = torch.where(query[:, :, None] == text[:, None], 1.0, asked @ told.transpose(1, 2))  # [P, L, W]
        centre, spread = self.get_buffer("centre"), self.get_buffer("spread")
        near = (-((cosine[..., None] - centre) ** 2) / (2 * spread**2)).exp()  # [P, L, W, K]
        counts = (near * (text != PADDING)[:, None, :, None]).sum(2)
        pooled = (counts.clamp(min=1e-10).log() * 0.1 * (query != PADDING)[..., None]).sum(1)
        return pooled @ self.weight
