"""Equal values have equal fingerprints, on every machine and in every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 1 << 20


def fingerprint_of(*parts: Any) -> str:
    """16 hex digits that are the same for equal values, in every process; values of different classes differ."""
    text = json.dumps(parts, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def array_sha256(held: np.ndarray) -> str:
    """Of the bytes of an array; its shape and type aren't part of it."""
    return hashlib.sha256(np.ascontiguousarray(held).view(np.uint8).data).hexdigest()


def plain(held: Any) -> Any:
    """What JSON doesn't know, one level of it, as what JSON knows. Raises TypeError for what only has an address."""
    if is_dataclass(held) and not isinstance(held, type):
        return {"type": type(held).__qualname__} | {field.name: getattr(held, field.name) for field in fields(held)}
    if isinstance(held, (np.generic, np.ndarray)):
        return held.tolist()
    if isinstance(held, Mapping):
        return dict(held)
    if isinstance(held, (set, frozenset)):
        return sorted(held)
    if isinstance(held, Path):
        return str(held)
    if isinstance(held, type):
        return f"{held.__module__}.{held.__qualname__}"
    text = repr(held)
    if " at 0x" in text:
        raise TypeError(f"{text} has no value that another process could compare: give plain data or a dataclass")
    return text
