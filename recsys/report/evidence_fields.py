"""The kinds of evidence as a table for people, from the dataclasses themselves."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields

from recsys.diagnose.diagnosis import Part
from recsys.diagnose.files import kinds

FIELD = re.compile(r"^ {4}(\w+): (.+?)(?:\s+=\s.+?)?(?:\s+# (.+))?$")


def markdown() -> str:
    """A heading, a sentence and a table of fields for each kind of evidence, by name."""
    return "\n\n".join(_section(name, kind) for name, kind in sorted(kinds().items()))


def _section(name: str, kind: type[Part]) -> str:
    optional = {f.name for f in fields(kind) if f.default is not MISSING or f.default_factory is not MISSING}  # type: ignore[arg-type]
    remarks = _remarks(kind)
    rows = ["| field | type | what |", "| --- | --- | --- |"]
    for field in fields(kind):  # type: ignore[arg-type]
        remark = remarks.get(field.name, "") + (" (optional)" if field.name in optional else "")
        rows.append(f"| `{field.name}` | {_type(str(field.type))} | {remark.strip()} |".replace("||", "| |"))
    return "\n".join([f"### {name}", "", " ".join((inspect.getdoc(kind) or "").split()), "", *rows])


def _remarks(kind: type[Part]) -> dict[str, str]:
    """What stands behind each field in the class's source."""
    found = {}
    for line in inspect.getsource(kind).splitlines():
        if held := FIELD.match(line):
            found[held[1]] = (held[3] or "").replace("|", "\\|")
    return found


def _type(text: str) -> str:
    return text.replace("Tensor", "array").replace("np.ndarray", "array").replace(" | None", "").replace("|", "\\|")
