"""Evidence as files: a folder with an .npz of plain arrays and a .json of the rest for each part. Nothing is unpickled."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints
from zipfile import BadZipFile

import numpy as np
import torch

import recsys.diagnose
from recsys.diagnose.diagnosis import Evidence, Part
from recsys.value import require

ARRAY = "array:"


def kinds() -> dict[str, type[Part]]:
    """Every kind of evidence that a detector can read, by its name."""
    for found in pkgutil.iter_modules(recsys.diagnose.__path__):
        importlib.import_module(f"recsys.diagnose.{found.name}")
    return {kind.__name__: kind for kind in _below(Part) if kind.__module__.startswith("recsys.")}


def save_evidence(evidence: Evidence, folder: Path) -> None:
    """One <Part>.npz and <Part>.json for each part."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in evidence.parts.values():
        arrays: dict[str, np.ndarray] = {}
        plain = {field.name: _pack(getattr(part, field.name), field.name, arrays) for field in fields(part)}  # type: ignore[arg-type]
        name = folder / type(part).__name__
        np.savez_compressed(name.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
        name.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n")


def load_evidence(folder: Path) -> Evidence:
    """The parts that are in a folder; raises ValueError naming the file, the field and what it should be."""
    require(folder.is_dir(), f"{folder} is no folder; give evidence=FOLDER with files such as EmbeddingHealth.npz")
    known, parts = kinds(), []
    stems = sorted({path.stem for path in folder.iterdir() if path.suffix in (".npz", ".json")})
    for stem in stems:
        require(stem in known, f"{folder / stem}: no evidence is called {stem!r}; there are {', '.join(sorted(known))}")
        parts.append(_load(folder / stem, known[stem]))
    return Evidence.of(*parts)


def _load(name: Path, kind: type[Part]) -> Part:
    arrays: dict[str, np.ndarray] = {}
    path = name.with_suffix(".npz")
    try:
        if path.exists():
            with np.load(path, allow_pickle=False) as held:
                arrays = {key: held[key] for key in held.files}
        told = name.with_suffix(".json")
        plain = json.loads(told.read_text()) if told.exists() else {}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(f"{name}: can't be read as plain arrays and JSON: {error}") from error
    given = {key: _unpack(held, arrays) for key, held in plain.items()}
    given |= {key: held for key, held in arrays.items() if "/" not in key and key not in given}
    return _built(kind, given, name)


def _built(kind: type[Part], given: dict[str, Any], name: Path) -> Part:
    hints, names = get_type_hints(kind), {field.name for field in fields(kind)}  # type: ignore[arg-type]
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}  # type: ignore[arg-type]
    require(set(given) <= names, f"{name}: unknown {sorted(set(given) - names)}; {kind.__name__} has {sorted(names)}")
    lacking = sorted(needed - set(given))
    require(not lacking, f"{name}: {kind.__name__} needs {lacking}, which aren't there")
    try:
        return kind(**{key: _typed(held, hints[key]) for key, held in given.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _typed(held: Any, hint: Any) -> Any:
    """Arrays as the field wants them: a tensor, an array, or a number."""
    options = {hint, *get_args(hint)}
    if isinstance(held, np.ndarray):
        if torch.Tensor in options:
            return torch.from_numpy(np.ascontiguousarray(held))
        return held.item() if held.ndim == 0 else held
    if isinstance(held, list):
        return tuple(_typed(item, Any) for item in held)
    return held


def _pack(held: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(held, (torch.Tensor, np.ndarray)):
        arrays[path] = held.detach().cpu().numpy() if isinstance(held, torch.Tensor) else held
        return f"{ARRAY}{path}"
    if isinstance(held, Mapping):
        return {str(key): _pack(item, f"{path}/{key}", arrays) for key, item in held.items()}
    if isinstance(held, (list, tuple)):
        return [_pack(item, f"{path}/{i}", arrays) for i, item in enumerate(held)]
    if isinstance(held, np.generic):
        return held.item()
    require(
        held is None or isinstance(held, (str, int, float, bool)), f"{path} is a {type(held).__name__}, no evidence"
    )
    return held


def _unpack(held: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(held, str) and held.startswith(ARRAY):
        key = held.removeprefix(ARRAY)
        require(key in arrays, f"array {key!r} isn't in the .npz")
        return arrays[key]
    if isinstance(held, dict):
        return {key: _unpack(item, arrays) for key, item in held.items()}
    return [_unpack(item, arrays) for item in held] if isinstance(held, list) else held


def _below(kind: type[Part]) -> list[type[Part]]:
    return [each for child in kind.__subclasses__() for each in (child, *_below(child))]
