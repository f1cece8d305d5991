"""A cross encoder learns from the same clicks, and a retriever learns from it how near each of a few items is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.heads.kernel_pooling import KernelPooling
from recsys.losses.distil import ListDistillation
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import require, value


@value
class CrossTeacher:
    """Teacher and student see lists of a row's own item and the items of the next `listed` - 1 rows of the batch."""

    model: KernelPooling = KernelPooling()
    train: Fit = Fit(steps=250, batch=64, learning_rate=2e-2, checks=1)
    listed: int = 16
    taught: int = 64  # rows of a batch that the student is taught on
    weight: float = 1.0

    def __post_init__(self) -> None:
        require(self.listed >= 2, f"listed must be at least 2, got {self.listed}")
        require(self.weight > 0, f"weight must be positive, got {self.weight}; for no teacher give None")

    def fit(self, lesson: Lesson, titles: Tensor, seed: int) -> Fitted:
        """Learn from the rows of a retriever's lesson (words, ids, query, item), drawn as it draws them."""

        def loss(model: nn.Module, words: Tensor, ids: Tensor, query: Tensor, item: Tensor) -> Tensor:
            del ids, query
            return -self._scores(model, words, titles[item]).log_softmax(1)[:, 0].mean()

        assert lesson.draw is not None
        wide = lesson.draw
        own = Lesson(lesson.columns, loss, None, lambda step: wide(step)[: self.train.batch])
        size = 1 + int(max(lesson.columns[0].max(), titles.max()))
        return self.train(self.model.build(size, seed), own, seed)

    def loss(self, teacher: nn.Module, words: Tensor, titles: Tensor, logits: Tensor) -> Tensor:
        """Of the student's logits [B, N], row i's item in column i; words [B, L], titles [B, W] of the rows' items."""
        num = min(self.taught, len(words))
        with torch.no_grad():
            wanted = self._scores(teacher, words[:num], titles[:num])
        given = logits[:num].gather(1, self.lists(num))
        return self.weight * ListDistillation()(given, wanted).mean()

    def lists(self, num: int) -> Tensor:
        """[num, listed] rows whose items stand in each row's list, its own first."""
        return (torch.arange(num)[:, None] + torch.arange(min(self.listed, num))) % num

    def _scores(self, model: nn.Module, words: Tensor, titles: Tensor) -> Tensor:
        lists = self.lists(len(words))
        asked = words[:, None].expand(-1, lists.shape[1], -1)
        return model(asked.flatten(0, 1), titles[lists].flatten(0, 1)).view(lists.shape)
