"""A problem's page, in Markdown: the story of its module with the numbers of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from recsys.claims.judge import Role, Verdict
from recsys.claims.problem import ON, Problem
from recsys.claims.verdicts import Findings
from recsys.claims.work import Knobs
from recsys.recipe import Recipe
from recsys.report.problem_plots import Seeds, interval

MARK = {"holds": "holds", "refuted": "**refuted**", "open": "*open*", "not reproduced": "*not reproduced*"}
RESERVED = ("parameters", "steps", "validation", "unsettled")
ROLES: Mapping[Role, str] = {
    "symptom": "Symptom", "diagnosis": "Diagnosis", "remedy": "Remedy", "guard": "Guard", "control": "Control",
}  # fmt: skip
SETTLED = 0.1


def page(id: str, story: Mapping[str, str], found: Findings, knobs: Knobs, notes: str) -> str:
    """The whole page. `story` by heading, as the module tells it; `notes` is what was tried, or empty."""
    parts = [
        f"# {id}: {found.problem.title}",
        "> " + " ".join(story["Question"].split()),
        summary(found),
        f"![Arms, dose and response, and the detector's matrix of {id}]({id}.svg)",
        "## Answer",
        story["Answer"],
        *_roles(story, found),
        "## What differs between the arms",
        knob_table(found.problem, knobs),
        "## Every arm",
        *arm_tables(found),
        *_rest(story, found, notes),
        "## Run it",
        f"```\n.venv/bin/python -m jobs.problem id={id} seeds=100-104 --sweep\n```",
        "Any other seeds and any switch of the world work as well, such as "
        f"`seeds=200-204 world.{_a_switch(found.problem)}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(found: Findings) -> str:
    """One paragraph: how many claims hold, how well the detector does, and what it all cost."""
    counts = {name: sum(v.verdict == name for v in found.verdicts) for name in MARK}
    said = ", ".join(
        f"{count} {'hold' if (name, count > 1) == ('holds', True) else name}" for name, count in counts.items() if count
    )
    seeds = sorted({seed for held in found.cells.values() for seed in held})
    return (
        f"{len(found.verdicts)} claims on seeds {seeds[0]} to {seeds[-1]}: {said}. The detector's macro recall is "
        f"{found.matrix.macro_recall:.2f}, its false alarm {found.matrix.false_alarm:.2f}. An arm takes "
        f"{min(found.seconds.values()):.1f} to {max(found.seconds.values()):.1f} CPU seconds a seed."
    )


def _roles(story: Mapping[str, str], found: Findings) -> list[str]:
    parts = []
    for role, heading in ROLES.items():
        held = [verdict for verdict in found.verdicts if verdict.role == role]
        parts += [f"## {heading}", story.get(heading, ""), verdict_table(held)]
        if role == "remedy" and any(v.verdict == "open" for v in held):
            parts.append(f"Remedies are judged together, {len(held)} claims by Holm's step-down: an interval that clears its "
                         "bound by little may still be open.")  # fmt: skip
        if role == "diagnosis":
            parts.append(matrix_table(found))
    return parts


def _rest(story: Mapping[str, str], found: Findings, notes: str) -> list[str]:
    parts = ["## Real data", story.get("Real data", ""), *arm_tables(found, found.real)] if found.real else []
    for heading in ("Cost", "What didn't work", "Apply"):
        if heading in story:
            parts += [f"## {heading}", story[heading]]
    return [*parts, "## Notes from the bench", notes.strip()] if notes.strip() else parts


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.text, f"{_number(v.measured)} ({_number(v.low)} to {_number(v.high)})", v.needs, MARK[v.verdict]]
        for v in verdicts
    ]
    return table(["claim", "measured, 95 %", "needs", "verdict"], rows) if rows else ""


def matrix_table(found: Findings) -> str:
    counts = found.matrix.counts
    said = found.matrix.said()
    rows = [[true, *(str(row.get(name, "")) for name in said)] for true, row in counts.items()]
    return table(["put in \\ said", *said], rows)


def arm_tables(found: Findings, cells: Mapping[tuple[str, str], Seeds] | None = None) -> list[str]:
    """A table for each world: every metric of every arm; arms whose validation still moved are marked."""
    cells, parts = found.cells if cells is None else cells, []
    for at in dict.fromkeys(world for _, world in cells):
        known = {arm: seeds for (arm, world), seeds in cells.items() if world == at}
        arms = {arm: known[arm] for arm in (*found.problem.arms, *found.problem.real) if arm in known}
        held = next(iter(arms.values()))
        metrics = _columns(found, arms)
        rows = [[_name(arm, seeds), *(_cell(seeds, metric) for metric in metrics)] for arm, seeds in arms.items()]
        title = f'World "{at}" ({_settings(found.problem, at)}), mean over {len(held)} seeds' if at != "real" else ""
        parts += [title, table(["arm", *metrics], rows)]
    if any("^" in part for part in parts):
        parts.append(f"^ its validation score still moved by more than {SETTLED:.0%} of its range at the end.")
    return parts


def knob_table(problem: Problem, knobs: Knobs) -> str:
    """Only the knobs on which arms differ, in the world "on"; what was tuned is as tuned."""
    recipes = {arm: problem.build(arm, problem.world[ON], knobs(arm, ON)) for arm in problem.arms}
    flat = {arm: shared_knobs(recipe, list(recipes.values())) for arm, recipe in recipes.items()}
    names = dict.fromkeys(name for held in flat.values() for name in held)
    differing = [name for name in names if len({held.get(name) for held in flat.values()}) > 1]
    return table(
        ["arm", *differing], [[arm, *(held.get(name, "") for name in differing)] for arm, held in flat.items()]
    )


def shared_knobs(recipe: Recipe, others: Sequence[Recipe]) -> dict[str, str]:
    """Knobs by path, going into a part only where every recipe has the same kind of part there; else the part as text."""
    found: dict[str, str] = {}

    def walk(held: Any, theirs: Sequence[Any], path: str) -> None:
        if is_value(held) and all(type(other) is type(held) for other in theirs):
            for each in fields(held):
                name = each.name
                walk(getattr(held, name), [getattr(other, name) for other in theirs], f"{path}.{name}".lstrip("."))
        else:
            found[path or "recipe"] = short(held)

    walk(recipe, others, "")
    return found


def short(held: Any) -> str:
    """A value on a line, without the fields that are as the class has them."""
    if is_value(held):
        told = [f"{f.name}={short(getattr(held, f.name))}" for f in fields(held) if getattr(held, f.name) != f.default]
        return f"{type(held).__name__}({', '.join(told)})" if told else type(held).__name__
    return f"{held:g}" if isinstance(held, float) else getattr(held, "__name__", str(held))


def flattened(recipe: Recipe) -> dict[str, str]:
    """Every knob of a recipe by its path, as text."""
    found: dict[str, str] = {}

    def walk(held: Any, path: str) -> None:
        if is_value(held):
            found[path or "recipe"] = type(held).__name__
            for field in fields(held):
                walk(getattr(held, field.name), f"{path}.{field.name}".lstrip("."))
        else:
            found[path] = short(held)

    walk(recipe, "")
    return found


def is_value(held: Any) -> bool:
    return is_dataclass(held) and not isinstance(held, type)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _columns(found: Findings, arms: Mapping[str, Seeds]) -> list[str]:
    """What claims are about first, then the rest by name; the reserved ones last."""
    have = {metric for seeds in arms.values() for metric in next(iter(seeds.values()))}
    claimed = [m for m in dict.fromkeys(claim.metric for _, claim in found.problem.claims()) if m in have]
    return [*claimed, *sorted(have - set(claimed) - set(RESERVED)), *(m for m in RESERVED[::2] if m in have)]


def _name(arm: str, seeds: Seeds) -> str:
    moved = interval(seeds, "unsettled")[0]
    return f"{arm} ^" if moved > SETTLED else arm


def _cell(seeds: Seeds, metric: str) -> str:
    if any(metric not in held for held in seeds.values()):
        return ""
    mean, reach = interval(seeds, metric)
    return f"{mean:,.0f}" if metric == "parameters" else f"{_number(mean)} ± {_number(reach)}"


def _number(held: float) -> str:
    return f"{held:.0f}" if abs(held) >= 1000 else f"{held:.3g}" if abs(held) >= 1 else f"{held:.3f}"


def _settings(problem: Problem, at: str) -> str:
    return ", ".join(f"{key} {held}" for key, held in problem.world.get(at, {}).items()) or "as it is"


def _a_switch(problem: Problem) -> str:
    return next((f"{key}={held}" for key, held in problem.world[ON].items()), "switch=value")


def readme_rows(found: Mapping[str, tuple[str, Findings]]) -> str:
    """The table of the catalogue: id -> (path of the page, findings)."""
    rows = []
    for id, (path, held) in found.items():
        by_role = [_share(held.verdicts, role) for role in ROLES if role != "diagnosis"]
        matrix = f"{held.matrix.macro_recall:.2f} / {held.matrix.false_alarm:.2f}"
        rows.append([f"[{id}]({path})", held.problem.title, *by_role[:1], matrix, *by_role[1:]])
    return table(["", "problem", "symptom", "detector: recall / false alarm", "remedies", "guards", "controls"], rows)


def _share(verdicts: Sequence[Verdict], role: str) -> str:
    held = [verdict.verdict for verdict in verdicts if verdict.role == role]
    return f"{sum(v == 'holds' for v in held)} of {len(held)}" if held else "-"
