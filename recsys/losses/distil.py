"""A student orders a list as its teacher does."""

from __future__ import annotations

from torch import Tensor

from recsys.value import require, value


@value
class ListDistillation:
    """Cross entropy of the student's softmax over a list against the teacher's (Hinton et al. 2015; Cao et al. 2007)."""

    temperature: float = 1.0  # of the teacher

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """[B] losses of logits [B, C] each; no gradient reaches the teacher."""
        return -((teacher.detach() / self.temperature).softmax(1) * student.log_softmax(1)).sum(1)
