"""Evidence of a training with several tasks, and the names of what can be wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from recsys.diagnose.diagnosis import Part
from recsys.value import require

# causes, one word for one thing in every detector that reads this evidence
SCALE_DOMINANCE = "scale_dominance"  # one task's gradient is so much longer that the others' directions don't count
SHARED_CAPACITY = "shared_capacity"  # equally heard, the tasks need more than the shared layer can hold: widen or split
GRADIENT_CONFLICT = "gradient_conflict"  # they want opposite things of the same parameters, at any width: split
LEARNING_RATE = "learning_rate"  # steps too long for every task alike
BLOCKED_BATCHES = "blocked_batches"  # batches of one task at a time: each block undoes the last one's
EVALUATION_NOISE = "evaluation_noise"  # the curves move because the evaluation set is small

# interventions: trainings with one thing changed, from the same seed with the same number of steps
AS_IS = "as_is"
ALONE = "alone"  # each task with a model of its own, of the same size
NORMALISED = "normalised"  # losses weighed so that the shared gradients are of equal length
WIDER = "wider"  # as NORMALISED, the shared layer twice as wide
SPLIT = "split"  # as NORMALISED, every task with a head or tower of its own on the shared layer
SLOWER = "slower"  # the learning rate divided by 10
MIXED = "mixed"  # batches that hold rows of every task

BELOW = 0.03  # of AUC or rank correlation: a task that is so far below its own model is worse off for sharing


@dataclass(frozen=True)
class GradientTrace(Part):
    """What each task's loss asks of the shared parameters, at some steps of training.

    `recsys.train.trace` writes norms and cosines of a real run as `norm.<task>` and `cosine.<a>.<b>`; pairs are in the
    order of itertools.combinations over `tasks`. `rows` is None where nobody counted.
    """

    tasks: tuple[str, ...]
    steps: np.ndarray  # [S]
    norms: np.ndarray  # [S, T] of the gradients with respect to all shared parameters
    cosines: np.ndarray  # [S, P]; NaN where one of the two has no gradient
    rows: np.ndarray | None = None  # [S, T] rows of each task in the batch

    def __post_init__(self) -> None:
        pairs = len(self.pairs)
        wanted = (len(self.steps), len(self.tasks))
        require(self.norms.shape == wanted, f"norms must be {wanted} for steps and tasks, got {self.norms.shape}")
        require(
            self.cosines.shape == (len(self.steps), pairs), f"cosines must have {pairs} pairs, got {self.cosines.shape}"
        )

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple(combinations(self.tasks, 2))

    def norm_ratio(self) -> float:
        """Longest task's mean gradient norm over the shortest's, of the steps on which a task has a gradient."""
        means = np.nanmean(np.where(self.norms > 0, self.norms, np.nan), axis=0)
        return float(means.max() / means.min())

    def dispersion(self) -> float:
        """How unevenly tasks share batches: variance of the rows' shares over steps against that of independent draws.

        1 if every row's task were drawn by itself, 0 for equal counts in every batch, the batch size for batches of one task.
        """
        if self.rows is None:
            return 0.0
        size, share = self.rows.sum(axis=1), self.rows.sum(axis=0) / self.rows.sum()
        expected = share * (1 - share) * np.mean(1 / size)
        return float(np.mean((self.rows / size[:, None] - share) ** 2 / expected))


@dataclass(frozen=True)
class TaskCurves(Part):
    """Validation quality of each task at evenly spaced steps of training, always on the same rows.

    `noise` is the standard deviation, by resampling the validation rows, of the difference between one check and the next:
    `difference_noise` computes it.
    """

    tasks: tuple[str, ...]
    steps: np.ndarray  # [C]
    values: np.ndarray  # [C, T], higher is better
    noise: np.ndarray  # [T]

    def __post_init__(self) -> None:
        wanted = (len(self.steps), len(self.tasks))
        require(self.values.shape == wanted, f"values must be {wanted} for checks and tasks, got {self.values.shape}")


@dataclass(frozen=True)
class Interventions(Part):
    """What became of each task in trainings that differ in one thing: final quality and oscillation index by name.

    Names are those above (AS_IS, ALONE, ...); any that weren't run are left out, and a detector that needs one says so.
    """

    tasks: tuple[str, ...]
    quality: Mapping[str, tuple[float, ...]]  # name -> [T] at the end of training, in the unit of TaskCurves
    oscillation: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # name -> [T]

    def of(self, name: str) -> np.ndarray:
        """[T] quality after this intervention; NaN where it wasn't run."""
        return np.array(self.quality.get(name, (np.nan,) * len(self.tasks)))

    def swings(self, name: str) -> np.ndarray:
        """[T] oscillation index after this intervention; NaN where it wasn't measured."""
        return np.array(self.oscillation.get(name, (np.nan,) * len(self.tasks)))


def oscillation(values: np.ndarray) -> np.ndarray:
    """Standard deviation of the steps of a curve over its last two thirds, divided by sqrt(2): [T] of [C, T].

    White noise of deviation s around a level has index s, and a slow trend hardly counts. The curve must be of one fixed
    evaluation set, else the index measures the set. NaN where fewer than 3 points are left.
    """
    held = values[len(values) // 3 :]
    if len(held) < 3:
        return np.full(values.shape[1], np.nan)
    return np.diff(held, axis=0).std(axis=0, ddof=1) / 2**0.5


def difference_noise(
    measure: Callable[[np.ndarray, np.ndarray], float], labels: np.ndarray, predictions: np.ndarray, groups: int = 10
) -> float:
    """Deviation of measure(labels, later) - measure(labels, earlier) over draws of the rows, by deleting groups.

    labels [V], predictions [C, V] of C checks. The jackknife of Shao and Wu (1989) of each pair of successive checks, on
    the same rows, so what is common to both checks cancels; variances are averaged over the pairs.
    """
    kept = [np.arange(len(labels)) % groups != g for g in range(groups)]
    left = np.array([[measure(labels[rows], held[rows]) for rows in kept] for held in predictions])  # [C, G]
    steps = np.diff(left, axis=0)
    spread = (steps - steps.mean(axis=1, keepdims=True)) ** 2
    return float(np.sqrt(np.nanmean((groups - 1) / groups * spread.sum(axis=1))))
