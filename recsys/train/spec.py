"""How a model is trained: steps, optimiser, what is weighed and how often the run looks at itself."""

from __future__ import annotations

from typing import Any, Literal

from recsys.value import require, value


@value
class TrainSpec:
    """The whole of a training run apart from model and data; `source` and `loss` belong to the retrieval head."""

    source: Any  # a candidates.Source
    loss: Any  # a loss over (query / temperature, Candidates, target)
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 240  # requests of the global batch, over all workers
    positives_per_request: int = 8
    learning_rate: float = 4e-3
    weight_decay: float = 1e-5
    warmup_share: float = 0.05
    clip_norm: float = 5.0
    retrieval_weight: float = 1.0
    task_weights: dict[str, float] | None = None  # 1 for every task that isn't named
    precision: Literal["fp32", "bf16"] = "fp32"
    validate_every: int = 0  # steps; 0: at the end of training only
    validation_users: int = 1000
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    trace_every: int = 100  # steps between gradient norms and cosines per task; 0: never
    log_every: int = 10
    evidence: bool = False  # write down what the doctor can use: quality of every task, shape of vectors, exposure
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.epochs > 0, f"train.epochs must be positive, got {self.epochs}")
        require(self.batch_size > 0, f"train.batch_size must be positive, got {self.batch_size}")
        require(self.learning_rate > 0, f"train.learning_rate must be positive, got {self.learning_rate}")
        require(0 <= self.warmup_share < 1, f"train.warmup_share must lie in [0, 1), got {self.warmup_share}")
        require(self.checkpoint_every > 0, f"train.checkpoint_every must be positive, got {self.checkpoint_every}")

    def steps(self, steps_per_epoch: int) -> int:
        planned = max(1, round(self.epochs * steps_per_epoch))
        return planned if self.max_steps is None else min(planned, self.max_steps)
