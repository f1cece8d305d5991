"""Which checkpoints of a run are kept."""

from __future__ import annotations

from recsys.artefact import join_uri, list_names, peek, remove

KIND = "checkpoint"


def checkpoints(folder: str) -> list[str]:
    """URIs of the whole checkpoints of a run, oldest first; half-written ones have no manifest and aren't listed."""
    base = join_uri(folder, "checkpoints")
    named = sorted(name for name in list_names(base) if name.startswith("step-"))
    return [uri for uri in (join_uri(base, name) for name in named) if peek(uri, KIND) is not None]


def latest_checkpoint(folder: str) -> str | None:
    found = checkpoints(folder)
    return found[-1] if found else None


def forget_old(folder: str, keep: int) -> None:
    for uri in checkpoints(folder)[:-keep]:
        remove(uri)
