"""A problem: arms that differ by a few knobs, world settings, claims in five roles, and faults for its detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any

from recsys.claims.judge import Role
from recsys.claims.kinds import Claim, Reaches, arms_of
from recsys.diagnose.diagnosis import Detector
from recsys.recipe import Recipe
from recsys.value import require, value

Arm = Callable[..., Recipe]  # world settings and tuned knobs by keyword -> a recipe
DOCTOR, ON = "doctor", "on"
Setting = Mapping[str, Any]


@value
class Case:
    """A fault put into a world; the detector is shown the arm's evidence and must name the cause.

    `cause` may name several, "a|b": where both are at work either answer is right. `fresh` settings were never looked
    at while thresholds were chosen; each cause needs one.
    """

    cause: str
    arm: str
    world: dict[str, Any]
    fresh: bool = False

    @property
    def name(self) -> str:
        return setting_name(self.world) or "as it is"


@value
class Tuning:
    """The same random draws from one space for every arm, chosen by the logged validation score on development seeds.

    The first trial is the first value of every knob. An arm may have a space of its own with as many trials.
    """

    space: dict[str, tuple[Any, ...]]
    trials: int = 4
    seeds: tuple[int, ...] = (0, 1)
    per_setting: bool = False  # True for phase diagrams: each named world is tuned by itself
    own: dict[str, dict[str, tuple[Any, ...]]] = field(
        default_factory=dict
    )  # arm -> its space, instead of the common one

    def __post_init__(self) -> None:
        require(1 <= self.trials <= 8, f"between 1 and 8 trials, got {self.trials}")
        require(max(self.seeds) < 10, f"tuning seeds are development seeds, 0 to 9, got {self.seeds}")


@value
class Sweep:
    """Dose and response: arms over values of one switch, or of two for a phase diagram."""

    axes: dict[str, tuple[Any, ...]]
    arms: tuple[str, ...]
    metric: str

    def __post_init__(self) -> None:
        require(len(self.axes) in (1, 2), f"a sweep has one or two axes, got {list(self.axes)}")

    def settings(self) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = [{}]
        for name, values in self.axes.items():
            points = [point | {name: held} for point in points for held in values]
        return points


@value
class Problem:
    """One of the 62. The module's docstring is the story; numbers live in its records."""

    title: str
    area: str
    arms: dict[str, Arm]
    world: dict[str, dict[str, Any]]  # name -> settings; "on" is the world of the symptom
    symptom: tuple[Claim, ...] = ()
    diagnosis: tuple[Claim, ...] = ()
    remedy: tuple[Claim, ...] = ()
    guard: tuple[Claim, ...] = ()
    control: tuple[Claim, ...] = ()
    detector: Detector
    cases: tuple[Case, ...]
    ceiling: str  # the arm that is scored from the truth
    tuning: Tuning | None = None
    sweep: Sweep | None = None
    choice: bool = False  # "which of these?": no symptom, every option is an arm
    unequal: dict[str, str] = field(
        default_factory=dict
    )  # arm -> why its parameters or steps may differ from the others'
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)  # "desk", "cluster" -> knobs that make it larger
    real: dict[str, Arm] = field(default_factory=dict)  # arms on real data: reported, not gated

    def __post_init__(self) -> None:
        require(ON in self.world, f'world needs the setting "on", it has {sorted(self.world)}')
        require(DOCTOR not in self.arms, f"\"{DOCTOR}\" is the detector's name, not an arm's")
        twice = sorted(set(self.arms) & set(self.real))
        require(not twice, f"{twice} are arms and arms on real data: a name means one of them")
        for _, claim in self.claims():
            for arm, at in arms_of(claim):
                require(arm in self.arms or arm == DOCTOR, f"{claim}: no arm {arm!r}; there are {sorted(self.arms)}")
                require(at in self.world, f"{claim}: no world {at!r}; there are {sorted(self.world)}")
        for case in self.cases:
            require(case.arm in self.arms, f"case {case.cause}: no arm {case.arm!r}; there are {sorted(self.arms)}")
        require(self.ceiling in self.arms, f"no arm {self.ceiling!r} to be the ceiling")

    def claims(self) -> Iterator[tuple[Role, Claim]]:
        roles: tuple[Role, ...] = ("symptom", "diagnosis", "remedy", "guard", "control")
        for role in roles:
            for claim in getattr(self, role):
                yield role, claim

    def cells(self) -> list[tuple[str, str]]:
        """Every (arm, setting) that a table or a claim needs: all arms where the symptom is, the named ones elsewhere."""
        wanted = dict.fromkeys((arm, ON) for arm in self.arms)
        wanted |= dict.fromkeys((self.ceiling, at) for at in self.world)
        for _, claim in self.claims():
            wanted |= dict.fromkeys(cell for cell in arms_of(claim) if cell[0] != DOCTOR)
        if self.choice:
            wanted |= dict.fromkeys((arm, at) for at in self.world for arm in self.arms)
        return list(wanted)

    def build(self, arm: str, setting: Setting, knobs: Setting | None = None) -> Recipe:
        """The recipe of a cell. Raises ValueError for a switch that the recipe doesn't know, naming those it knows."""
        held = self.arms.get(arm) or self.real.get(arm)
        require(held is not None, f"no arm {arm!r}; there are {sorted([*self.arms, *self.real])}")
        assert held is not None
        try:
            return held(**dict(setting), **dict(knobs or {}))
        except TypeError as error:
            raise ValueError(f"arm {arm!r} can't be built with {dict(setting)}: {error}") from error


STANDARD_DIAGNOSIS = (
    Reaches(metric="macro_recall", arm=DOCTOR, at_least=0.9),
    Reaches(metric="false_alarm", arm=DOCTOR, at_most=0.1),
)


def setting_name(setting: Setting) -> str:
    """Settings as text, in the order of their names: "noise=2.2,zipf=1"."""
    return ",".join(f"{key}={setting[key]}" for key in sorted(setting))
