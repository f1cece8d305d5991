"""What a run folder of this project gives as evidence."""

from __future__ import annotations

from recsys.artefact import ArtefactError
from recsys.diagnose.diagnosis import Evidence, Part
from recsys.doctor.builders import BUILDERS
from recsys.doctor.files import RunFiles


def evidence_of_run(run_dir: str, queries: int) -> tuple[Evidence, dict[str, str]]:
    """Every part that can be made of the run, and of each kind where it is from or why it isn't there."""
    files = RunFiles(run_dir, queries)
    parts: list[Part] = []
    told: dict[str, str] = {}
    for kind, build in BUILDERS.items():
        try:
            parts.append(build(files))
            told[kind.__name__] = f"from {run_dir}: {(build.__doc__ or '').strip()}"
        except (ArtefactError, ValueError, FileNotFoundError) as error:
            told[kind.__name__] = f"not there: {error}"
    return Evidence.of(*parts), told
