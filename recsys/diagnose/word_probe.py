"""Does what is written tell which of two groups a text belongs to?"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require


def cross_fitted_log_odds(words: Tensor, group: Tensor, num_words: int, seed: int, folds: int = 2) -> Tensor:
    """[N] log odds of group [N] bool by words [N, T], each text's by naive Bayes fitted to the other folds' texts.

    Word counts are smoothed by one (Laplace). The groups' shares aren't used, and each fold's mean is taken off.
    """
    require(folds >= 2, f"folds must be at least 2, got {folds}")
    fold = torch.randint(folds, (len(words),), generator=torch_rng(seed, "folds"))
    found = torch.zeros(len(words))
    for held in range(folds):
        inside = fold != held
        odds = _log_share(words[inside & group], num_words) - _log_share(words[inside & ~group], num_words)
        scores = odds[words[~inside]].sum(1)
        found[~inside] = scores - scores.mean()  # folds differ in what they hold of each group, by chance
    return found


def _log_share(words: Tensor, num_words: int) -> Tensor:
    counts = words.reshape(-1).bincount(minlength=num_words).float() + 1
    return (counts / counts.sum()).log()
