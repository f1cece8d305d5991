"""What is installed is what is declared, and nothing that is called like a package of ours."""

from __future__ import annotations

import importlib
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {
    "faiss-cpu": "faiss",
    "hydra-core": "hydra",
    "prometheus-client": "prometheus_client",
}


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found.group()


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_every_declared_package_imports(requirement: str) -> None:
    name = name_of(requirement)
    importlib.import_module(MODULES.get(name, name))


@pytest.mark.parametrize("name", ["kernels", "recsys", "serve", "jobs", "problems"])
def test_no_distribution_has_the_name_of_a_package_of_ours(name: str) -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution(name)


def test_the_lock_is_what_is_installed() -> None:
    pinned = [line.split(" ;")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
    for line in pinned:
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert metadata.version(name).split("+")[0] == version, line
    assert metadata.version("torch").split("+")[0] == "2.13.0"


def test_every_truth_of_a_world_is_out_of_bounds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [held for held in contracts if "truth" in held["name"]]
    truths = {f"recsys.worlds.{path.stem}" for path in (ROOT / "recsys" / "worlds").glob("truth*.py")}
    assert set(contract["forbidden_modules"]) == truths
