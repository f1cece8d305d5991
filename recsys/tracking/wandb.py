"""Weights & Biases, behind one door: nothing else in the project knows that it exists."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys.storage import is_local, local_path
from recsys.value import require, value

Mode = Literal["offline", "online", "disabled"]
MODES = ("offline", "online", "disabled")
FINISH_SECONDS = 60.0  # a lost network may hold up the end of a job for so long; the run stays on disk


@value
class TrackingSpec:
    """Where runs are told of: on disk by default, to be sent later; the environment's WANDB_MODE wins over `mode`."""

    enabled: bool = True
    mode: Mode = "offline"
    project: str | None = None  # null: WANDB_PROJECT, else recsys-on-ray
    entity: str | None = None
    group: str | None = None  # null: the run's id, which all its jobs and attempts share
    tags: tuple[str, ...] = ()
    dir: str | None = None  # null: WANDB_DIR, else the run's folder

    def effective_mode(self) -> Mode:
        given = os.environ.get("WANDB_MODE") or self.mode
        require(given in MODES, f"WANDB_MODE must be one of {', '.join(MODES)}, got {given!r}")
        return given if self.enabled else "disabled"  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Identity:
    """A run of many jobs, each of which may need several attempts."""

    run_id: str
    job: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.run_id}-{self.job}-attempt{self.attempt}"


class WandbSink:
    """A W&B run: curves under `<kind>/<name>` over `step`, tables, images, and references to artefacts.

    An offline run can't be resumed, and a retried step can't be taken back: so every attempt is a run of its own, and
    the group holds them together.
    """

    def __init__(self, spec: TrackingSpec, identity: Identity, config: Mapping[str, Any], folder: str | Path) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # without it W&B calls home even when offline
        import wandb as package  # here, since it takes a second that untracked jobs needn't wait

        wandb: Any = package  # type checkers take the name for this very file
        self._wandb = wandb
        self._kinds: set[str] = set()
        mode = spec.effective_mode()
        settings: dict[str, Any] = _quiet(mode)
        try:
            self._run = wandb.init(
                project=spec.project or os.environ.get("WANDB_PROJECT") or "recsys-on-ray",
                entity=spec.entity,
                group=spec.group or identity.run_id,
                job_type=identity.job,
                id=str(identity),
                name=str(identity),
                tags=[*spec.tags, identity.job],
                config=dict(config),
                dir=str(_wandb_dir(spec, folder)),
                mode=mode,
                resume="never",
                settings=wandb.Settings(**settings),
            )
        except wandb.Error as error:
            raise RuntimeError(
                f"W&B refused run {identity} in mode {mode} ({error}): run `wandb login` or set WANDB_API_KEY, "
                "or set tracking=offline and send the run later with `make wandb-sync`"
            ) from error

    def log(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        if kind not in self._kinds:
            # an axis of our own: W&B drops what comes late on its built-in step
            self._run.define_metric(f"{kind}/*", step_metric="step")
            self._kinds.add(kind)
        self._run.log({"step": step, **{f"{kind}/{name}": held for name, held in numbers.items()}})

    def summary(self, numbers: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(numbers))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._run.log({name: self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def image(self, name: str, path: str | Path) -> None:
        self._run.log({name: self._wandb.Image(str(path))})

    def reference(self, uri: str, fingerprint: str, kind: str) -> None:
        artifact = self._wandb.Artifact(
            f"{kind}-{fingerprint}", type=kind, metadata={"uri": uri, "fingerprint": fingerprint}
        )
        # under a scheme that W&B doesn't know: for those that it knows it looks for the store's credentials online
        artifact.add_reference(f"recsys:{kind}/{fingerprint}?at={uri}", name="manifest.json", checksum=False)
        self._run.log_artifact(artifact)

    def finish(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _quiet(mode: Mode) -> dict[str, Any]:
    """No console, no probing of machine, code or packages: a run says what it is told, and offline sends nothing."""
    logging.getLogger("wandb").setLevel(logging.ERROR)
    settings: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "disable_code": True,
        "disable_git": True,
        "save_code": False,
        "reinit": "create_new",
        "login_timeout": 30.0,
        "x_disable_machine_info": True,
        "x_disable_meta": True,
        "x_disable_stats": True,
        "x_disable_viewer": True,
        "x_save_requirements": False,
    }
    return settings if mode == "offline" else {**settings, "finish_timeout": FINISH_SECONDS}


def _wandb_dir(spec: TrackingSpec, folder: str | Path) -> Path:
    """An absolute path, since a Ray worker's current directory is a passing one."""
    given = spec.dir or os.environ.get("WANDB_DIR")
    if given:
        chosen = Path(given)
    elif is_local(folder):
        chosen = local_path(folder)
    else:
        chosen = Path(tempfile.gettempdir()) / "recsys-wandb"
    chosen = chosen.absolute()
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
