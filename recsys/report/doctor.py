"""The doctor's findings as a page of one file, as JSON, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recsys.doctor.consult import Finding
from recsys.report.html import number


def render(subject: str, findings: Sequence[Finding], sources: Mapping[str, str]) -> str:
    """HTML text; `sources` says of each kind of evidence where it came from, or why it isn't there."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = number
    return environment.get_template("doctor.html.j2").render(subject=subject, findings=findings, sources=sources)


def to_json(subject: str, findings: Sequence[Finding], sources: Mapping[str, str]) -> dict[str, Any]:
    return {"subject": subject, "findings": [finding.to_json() for finding in findings], "evidence": dict(sources)}


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A verdict a detector, with the rows behind those that name a cause or abstain."""
    for finding in findings:
        if finding.diagnosis is None:
            yield f"  {finding.state:12} {finding.detector}: {finding.error or 'needs ' + ', '.join(finding.missing)}"
            continue
        yield f"  {finding.state:12} {finding.detector}: {finding.diagnosis.cause} ({finding.page})"
        if finding.state in ("named", "abstains"):
            for row in finding.diagnosis.evidence:
                bound = "" if row.threshold is None else f", threshold {number(row.threshold)}"
                yield f"               {row.signal}: {number(row.value)}{bound}{'; ' + row.tells if row.tells else ''}"
        if finding.diagnosis.next_experiment:
            yield f"               next: {finding.diagnosis.next_experiment}"
