"""An index folder without `layout.json` isn't an index: the file is written last and says what the others are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.storage import write_file
from recsys.value import require

LAYOUT_FILE = "layout.json"
FORMAT = 1
OPTIONAL_FILES = ("ids.npy", "traits.npz", "tier.npy", "recent.npz")  # present in some indexes only


def write_layout(folder: Path, layout: Mapping[str, Any]) -> None:
    write_file(folder / LAYOUT_FILE, json.dumps({"format": FORMAT, **layout}, indent=1).encode())


def read_layout(folder: Path) -> dict[str, Any]:
    """What `layout.json` says. Raises ValueError when it is missing, damaged or of a later format."""
    path = folder / LAYOUT_FILE
    require(path.is_file(), f"{folder} holds no finished index ({LAYOUT_FILE} is missing): build it with jobs.index")
    try:
        layout = json.loads(path.read_bytes())
        known = {"format", "engine", "metric"} <= layout.keys()
    except (ValueError, AttributeError):
        known = False
    require(known, f"{path} is damaged: build the index again with jobs.index")
    require(
        layout["format"] == FORMAT, f"{path} has format {layout['format']}, this code reads {FORMAT}: build it again"
    )
    return layout


def emptied(folder: Path) -> None:
    """Make the folder, or take an index out of it: its layout first, so that a part of it is never taken for it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / LAYOUT_FILE).is_file():
        return
    (folder / LAYOUT_FILE).unlink()
    for name in OPTIONAL_FILES:
        (folder / name).unlink(missing_ok=True)
