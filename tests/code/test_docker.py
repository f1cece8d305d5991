"""Images and manifests agree with the repository, as far as that can be seen without a container engine."""

from __future__ import annotations

import ast
import fnmatch
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from recsys.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
MANIFESTS = sorted(DOCKER.glob("ray*.yaml"))


@dataclass
class Stage:
    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)  # (instruction, rest of the line)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]


def parsed(path: Path) -> tuple[dict[str, str], dict[str, Stage]]:
    """Global ARGs and the stages of a Dockerfile, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    defaults, stages = {}, {}
    for line in filter(str.strip, joined.splitlines()):
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.split()
            current = stages[name] = Stage(name, base)
        elif not stages:
            assert instruction == "ARG", f"{line!r} stands before the first FROM"
            defaults.update([rest.split("=", 1)])
        else:
            current.steps.append((instruction, rest))
    return defaults, stages


def lineage(stages: dict[str, Stage], name: str) -> list[tuple[str, str]]:
    """The steps of a stage after those of the stages that it is built on."""
    stage = stages[name]
    return [*(lineage(stages, stage.base) if stage.base in stages else []), *stage.steps]


DEFAULTS, STAGES = parsed(DOCKER / "Dockerfile")
IMAGES = ("train", "serve")


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = (line.split(";")[0].strip().split("==") for line in lines if line and not line.startswith("#"))
    return dict(pins)


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text())


def walk(held: Any) -> Iterator[Any]:
    yield held
    for inner in held.values() if isinstance(held, dict) else held if isinstance(held, list) else ():
        yield from walk(inner)


def found(path: Path, name: str) -> set[str]:
    """Every value under a key, anywhere in a YAML file."""
    return {held[name] for held in walk(list(documents(path))) if isinstance(held, dict) and name in held}


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of images, compose services and manifests, with its place."""
    found = [(f"Dockerfile {name}", ast.literal_eval(rest)) for name in IMAGES for rest in STAGES[name].all("CMD")]
    (composed,) = documents(DOCKER / "compose.yaml")
    found += [(f"compose {name}", service["command"]) for name, service in composed["services"].items()]
    (job,) = documents(DOCKER / "rayjob.yaml")
    return [*found, ("rayjob", shlex.split(job["spec"]["entrypoint"]))]


def test_every_copied_path_exists() -> None:
    for stage in STAGES.values():
        for rest in stage.all("COPY"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), f"COPY {source}"


def test_every_package_and_the_configs_are_copied_and_let_through() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {source for rest in STAGES["base"].all("COPY") for source in rest.split()[:-1]}
    assert {name.rstrip("*") for name in packages} | {"configs", "requirements.lock", "pyproject.toml"} <= copied
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().split()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied


def test_pins_match_the_lock_and_the_project() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch,) = [requirement for requirement in project["dependencies"] if requirement.startswith("torch=")]
    (makefile,) = re.findall(r"^TORCH := (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert torch == makefile
    assert re.findall(r"torch==\S+", text) == [torch]
    assert "torch" not in lock()
    installs = next(rest for rest in STAGES["base"].all("RUN") if "torch==" in rest).split("&&")
    assert torch in installs[0]
    assert "--no-deps" not in installs[0]
    assert installs[1].split()[-3:] == ["--no-deps", "-r", "requirements.lock"]
    for path in MANIFESTS:
        versions = found(path, "rayVersion")
        assert versions == {lock()["ray"]}, path.name


def test_images_carry_the_version_of_the_project() -> None:
    for path in [DOCKER / "compose.yaml", *MANIFESTS]:
        images = found(path, "image")
        assert images
        assert images <= {f"recsys-on-ray:{VERSION}-{name}" for name in IMAGES}, path.name
    told = re.findall(r"recsys-on-ray:(\S+)", (DOCKER / "Dockerfile").read_text())
    assert told == [f"{VERSION}-{name}" for name in IMAGES]


def test_the_base_is_a_pinned_python_that_the_project_supports() -> None:
    assert STAGES["base"].base == "${BASE_IMAGE}"
    assert re.fullmatch(r"python:3\.1[12]\.\d+-slim-\w+", DEFAULTS["BASE_IMAGE"])
    assert all(stage.base in STAGES for name, stage in STAGES.items() if name != "base")


@pytest.mark.parametrize("name", IMAGES)
def test_images_follow_the_rules(name: str) -> None:
    steps = lineage(STAGES, name)
    kinds = [kind for kind, _ in steps]
    assert "ADD" not in kinds
    users = [rest for kind, rest in steps if kind == "USER"]
    assert users[-1] not in ("root", "0")
    assert "WORKDIR" in kinds
    assert all(rest.startswith("/") for kind, rest in steps if kind == "WORKDIR")
    for kind, rest in steps:
        if kind in ("CMD", "ENTRYPOINT"):
            assert rest.startswith("["), f"{kind} {rest}: the shell form passes on no signals"
        if kind == "RUN":
            assert not re.search(r"sudo|://|\|", rest)
            for part in rest.split("&&"):
                assert "pip install" not in part or "--no-cache-dir" in part
            if "apt-get install" in rest:
                assert "--no-install-recommends" in rest
                assert "rm -rf /var/lib/apt/lists/*" in rest
    # what changes often comes last, so that installed packages stay cached
    run_lock = next(i for i, (_, rest) in enumerate(steps) if "requirements.lock" in rest and "pip" in rest)
    assert run_lock < next(i for i, (kind, rest) in enumerate(steps) if kind == "COPY" and "recsys" in rest)


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", *(path.name for path in MANIFESTS)])
def test_all_interfaces_only_where_it_is_explained(name: str) -> None:
    path = DOCKER / name
    lines = path.read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if "0.0.0.0" in line:
            assert "#" in line or before.lstrip().startswith("#"), f"{path.name}: {line.strip()}"
    assert "latest" not in path.read_text()


def test_compose_publishes_on_loopback_and_keeps_secrets_out() -> None:
    (composed,) = documents(DOCKER / "compose.yaml")
    for name, service in composed["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?"), "no default for a secret"
        assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["build"]["target"] in service["image"]
    assert set(composed["services"]) == {"head", "worker", "serve"}
    assert composed["services"]["serve"]["environment"]["RECSYS_TOKEN"].startswith("${RECSYS_TOKEN:?")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_ask_for_a_token_and_for_resources(path: Path) -> None:
    (held,) = documents(path)
    assert held["apiVersion"] == "ray.io/v1"
    spec = held["spec"]
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    assert cluster["authOptions"] == {"mode": "token"}
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        for container in group["template"]["spec"]["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert all(isinstance(held, str) for held in group["rayStartParams"].values())
            secrets = [entry for entry in container.get("env", []) if "TOKEN" in entry["name"]]
            assert all("secretKeyRef" in entry["valueFrom"] for entry in secrets)


def test_manifests_are_the_kinds_that_they_are_named_after() -> None:
    kinds = {path.stem: next(documents(path))["kind"] for path in MANIFESTS}
    assert {name: kind.lower() for name, kind in kinds.items()} == {name: name for name in kinds}
    assert set(kinds.values()) == {"RayCluster", "RayJob", "RayService"}


@pytest.mark.parametrize(("place", "command"), commands(), ids=lambda held: held if isinstance(held, str) else "")
def test_commands_name_real_modules_and_settings(place: str, command: list[str]) -> None:
    if command[:2] == ["python", "-m"]:
        assert find_spec(command[2]) is not None, f"{place}: {command[2]}"
        overrides = [word for word in command[3:] if word != "--help"]
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            assert compose("config", overrides).run_dir
    else:
        assert command[:2] == ["ray", "start"], place
        assert "--block" in command, f"{place}: the container would end at once"


def test_jobs_run_as_many_workers_as_the_manifest_has() -> None:
    (job,) = documents(DOCKER / "rayjob.yaml")
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cluster = compose("config", shlex.split(job["spec"]["entrypoint"])[3:]).cluster
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert group["replicas"] == cluster.workers
    assert float(container["resources"]["limits"]["nvidia.com/gpu"]) == cluster.gpus_per_worker
    assert float(container["resources"]["limits"]["cpu"]) >= cluster.cpus_per_worker


def test_the_service_names_a_builder_of_the_serve_package() -> None:
    (service,) = documents(DOCKER / "rayservice.yaml")
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    module, name = application["import_path"].split(":")
    tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
    (builder,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(builder.args.args) == 1, "Ray Serve hands a builder one dictionary"


def test_no_registry_is_named() -> None:
    for path in DOCKER.iterdir():
        if path.is_file():
            hosts = re.findall(r"https?://([^\s'\"/:]+)", path.read_text())
            assert all(fnmatch.fnmatch(host, "127.0.0.1") for host in hosts), path.name
