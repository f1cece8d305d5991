"""A student stands in for its teacher: it need not be right, it must answer as the teacher does."""

from __future__ import annotations

from torch import Tensor

from recsys.value import require, value


@value
class EmbeddingDistill:
    """Squared distance of the student's vectors to the teacher's (EmbedDistill, Kim et al., 2023).

    What was built for the teacher, an index of items above all, then serves the student as it is.
    """

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """[B] of vectors [B, D]; the teacher has no gradient."""
        return (student - teacher.detach()).square().sum(1)


@value
class ScoreDistill:
    """KL divergence of the student's distribution over items from the teacher's (Hinton et al., 2015), times temperature^2.

    It spends the student's capacity on telling near items apart, and none on directions in which no item lies.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")

    def __call__(self, student: Tensor, teacher: Tensor, items: Tensor) -> Tensor:
        """[B] of vectors [B, D] and item vectors [N, D]; neither teacher nor items have a gradient."""
        wanted = (teacher @ items.T / self.temperature).detach().log_softmax(1)
        given = (student @ items.detach().T / self.temperature).log_softmax(1)
        return (wanted.exp() * (wanted - given)).sum(1) * self.temperature**2


@value
class ListDistillation:
    """Cross entropy of the student's softmax over a list against the teacher's (Hinton et al. 2015; Cao et al. 2007)."""

    temperature: float = 1.0  # of the teacher

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """[B] losses of logits [B, C] each; no gradient reaches the teacher."""
        return -((teacher.detach() / self.temperature).softmax(1) * student.log_softmax(1)).sum(1)
