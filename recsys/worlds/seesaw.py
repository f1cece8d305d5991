"""Three tasks on one description of an impression: they agree or compete, in units that may be far apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.truth_seesaw import SeesawTruth
from recsys.worlds.world import Logs, Sample

TASKS = ("click", "like", "dwell")
DIRECTIONS, UNITS, BENT = 4, 8, 1.5  # of a teacher: dimensions that it looks at, hidden units, how curved they are
CLICK_GAIN, CLICK_BIAS = 2.5, -0.8
LIKE_GAIN, LIKE_BIAS = 2.5, -3.2
DWELL_SPREAD, DWELL_NOISE = 0.7, 0.5  # of the logarithm


@dataclass(frozen=True)
class SeesawLogs(Logs):
    """Training rows come from three logs, one a task, so a row has one label; validation rows have all three."""

    features: Tensor  # [N, D]
    task: Tensor  # [N] which log the row is from, a place in TASKS
    label: Tensor  # [N] 0 or 1 for click and like, seconds for dwell
    valid_features: Tensor  # [V, D]
    valid_labels: Tensor  # [V, T]
    test_features: Tensor  # [M, D]


@value
class SeesawWorld:
    """Utilities u_t are curved functions of a 4-dimensional part of the features, of mean 0 and variance 1.

    u_t = sqrt(1 - conflict) common + sqrt(conflict) own_t, so that two tasks' utilities correlate by 1 - conflict: at 0 the
    tasks want one and the same thing, at 1 three. Click and like are Bernoulli of a logit, like rarer; dwell is log-normal
    around `scale` seconds. Whether there is competition also depends on how narrow the learner's shared layer is.
    """

    conflict: float = 0.5
    scale: float = 30.0  # seconds: the unit of dwell, and with it the size of its squared error
    num_rows: int = 30_000  # of the three logs together
    valid_rows: int = 4_000
    test_rows: int = 4_000
    dim: int = 32

    def __post_init__(self) -> None:
        require(0 <= self.conflict <= 1, f"conflict must lie in [0, 1], got {self.conflict}")
        require(self.scale > 0, f"scale must be positive seconds, got {self.scale}")
        require(self.dim >= 4 * DIRECTIONS, f"dim must be at least {4 * DIRECTIONS}, got {self.dim}")

    def sample(self, seed: int) -> Sample:
        sizes = {"train": self.num_rows, "valid": self.valid_rows, "test": self.test_rows}
        features = {
            part: torch.randn(n, self.dim, generator=torch_rng(seed, "features", part)) for part, n in sizes.items()
        }
        utility = {part: self.utilities(held, seed) for part, held in features.items()}
        task = torch.arange(self.num_rows) % len(TASKS)
        labels = {part: self._labels(utility[part], seed, part) for part in ("train", "valid")}
        logs = SeesawLogs(
            features=features["train"],
            task=task,
            label=labels["train"].gather(1, task[:, None])[:, 0],
            valid_features=features["valid"],
            valid_labels=labels["valid"],
            test_features=features["test"],
        )
        click, like, dwell = self._means(utility["test"]).unbind(1)
        return Sample(logs, SeesawTruth(click, like, dwell, torch.corrcoef(utility["test"].T)))

    def utilities(self, features: Tensor, seed: int) -> Tensor:
        """[N, T] of features [N, D]; parts of the features that teachers look at don't overlap."""
        frame = torch.linalg.qr(torch.randn(self.dim, 4 * DIRECTIONS, generator=torch_rng(seed, "frame"))).Q
        parts = (features @ frame).split(DIRECTIONS, dim=1)
        common, *own = (teacher(part, seed, i) for i, part in enumerate(parts))
        return (1 - self.conflict) ** 0.5 * common[:, None] + self.conflict**0.5 * torch.stack(own, dim=1)

    def _means(self, utility: Tensor) -> Tensor:
        """[N, T]: probability, probability, expected seconds."""
        click = (CLICK_GAIN * utility[:, 0] + CLICK_BIAS).sigmoid()
        like = (LIKE_GAIN * utility[:, 1] + LIKE_BIAS).sigmoid()
        dwell = self.scale * (DWELL_SPREAD * utility[:, 2] + DWELL_NOISE**2 / 2).exp()
        return torch.stack([click, like, dwell], dim=1)

    def _labels(self, utility: Tensor, seed: int, part: str) -> Tensor:
        means = self._means(utility)
        draw = torch.rand(len(utility), 2, generator=torch_rng(seed, "answers", part))
        noise = torch.randn(len(utility), generator=torch_rng(seed, "dwell", part))
        seconds = means[:, 2] * (DWELL_NOISE * noise - DWELL_NOISE**2 / 2).exp()
        return torch.cat([(draw < means[:, :2]).float(), seconds[:, None]], dim=1)


def teacher(part: Tensor, seed: int, which: int) -> Tensor:
    """A small fixed network's answer [N] to standard normal inputs [N, 4], standardised over 8,192 draws of its own."""
    generator = torch_rng(seed, "teacher", which)
    inner = BENT / DIRECTIONS**0.5 * torch.randn(DIRECTIONS, UNITS, generator=generator)
    outer = torch.randn(UNITS, generator=generator)
    reference = torch.randn(8192, DIRECTIONS, generator=generator)
    held = (reference @ inner).tanh() @ outer
    return ((part @ inner).tanh() @ outer - held.mean()) / held.std()
