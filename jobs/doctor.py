"""Ask every detector about a run of this project, or about evidence files of any system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jobs.settings import entry_point, instantiated
from problems import catalogue
from recsys.artefact import fingerprint_of, join_uri
from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.files import load_evidence, save_evidence
from recsys.doctor.consult import Consultant, Finding, consult
from recsys.doctor.run import evidence_of_run
from recsys.report.doctor import lines, render, to_json
from recsys.tracking.run import start_run
from recsys.tracking.wandb import TrackingSpec
from recsys.value import require, value


@value
class DoctorSettings:
    """Whose evidence, and where the findings go."""

    run_dir: str | None
    evidence: str | None
    out: str | None
    queries: int
    tracking: TrackingSpec
    plain: dict[str, Any]

    def __post_init__(self) -> None:
        require(
            bool(self.run_dir or self.evidence), "give run_dir=, a run of this project, or evidence=, a folder, or both"
        )
        require(self.queries > 0, f"queries must be positive, got {self.queries}")

    @property
    def folder(self) -> Path:
        """Local: a page for people. Next to the run if that is local, too."""
        if self.out:
            return Path(self.out)
        local = self.run_dir is not None and "://" not in self.run_dir
        return Path(self.run_dir if local else "outputs") / "doctor"  # type: ignore[arg-type]


def doctor_settings(config: DictConfig) -> DoctorSettings:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    told = {str(key): held for key, held in plain.items()}
    return DoctorSettings(**{**told, "tracking": instantiated(told["tracking"], "tracking")}, plain=dict(told))


def consultants() -> dict[str, Consultant]:
    """The detector of every problem, with the page that explains what it finds."""
    return {
        id: Consultant(entry.problem.detector, f"docs/problems/{id}.md", entry.problem.title)
        for id, entry in catalogue().items()
        if entry.measured  # a detector that nothing is known of yet isn't asked
    }


def gathered(settings: DoctorSettings) -> tuple[Evidence, dict[str, str]]:
    """What there is, and of each kind where it is from or why it isn't there."""
    own = load_evidence(Path(settings.evidence)) if settings.evidence else Evidence.of()
    sources = {kind.__name__: settings.evidence or "" for kind in own.parts}
    run, told = evidence_of_run(settings.run_dir, settings.queries) if settings.run_dir else (Evidence.of(), {})
    return Evidence({**run.parts, **own.parts}), {**told, **sources}


def log(settings: DoctorSettings, found: list[Finding]) -> None:
    run_id, folder = fingerprint_of(settings.run_dir, settings.evidence), settings.run_dir or str(settings.folder)
    with start_run(settings.tracking, job="doctor", run_id=run_id, config=settings.plain, dir=folder) as run:
        states = [finding.state for finding in found]
        run.summary({state.replace(" ", "_"): states.count(state) for state in dict.fromkeys(states)})
        causes = [[f.detector, f.state, f.diagnosis.cause if f.diagnosis else ""] for f in found]
        run.table("findings", ["detector", "state", "cause"], causes)


def main(settings: DoctorSettings) -> None:
    evidence, sources = gathered(settings)
    subject = settings.run_dir or str(settings.evidence)
    print(f"doctor: {subject}: {', '.join(kind.__name__ for kind in evidence.parts) or 'no evidence'}")
    found = consult(consultants(), evidence)
    settings.folder.mkdir(parents=True, exist_ok=True)
    save_evidence(evidence, settings.folder / "evidence")
    told = to_json(subject, found, sources)
    (settings.folder / "doctor.json").write_text(json.dumps(told, indent=1) + "\n")
    (settings.folder / "doctor.html").write_text(render(subject, found, sources))
    print("\n".join(lines(found)))
    log(settings, found)
    print(f"doctor: {join_uri(str(settings.folder), 'doctor.html')}")


if __name__ == "__main__":
    entry_point("doctor", doctor_settings, main)()
