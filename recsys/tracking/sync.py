"""Offline W&B runs wait on disk until somebody sends them: `python -m recsys.tracking.sync outputs`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def offline_runs(root: Path) -> list[Path]:
    """Folders of offline runs below a folder that weren't sent yet, oldest first."""
    found = {path.resolve() for path in root.rglob("offline-run-*") if path.is_dir()}
    return sorted((path for path in found if not _sent(path)), key=lambda path: path.name)


def sync(roots: list[Path], options: list[str]) -> int:
    """Send what wasn't sent; the exit status of `wandb sync`."""
    folders = [str(path) for root in roots for path in offline_runs(root)]
    if not folders:
        sys.stdout.write(f"no unsent offline runs below {', '.join(map(str, roots))}\n")
        return 0
    sys.stdout.write(f"sending {len(folders)} offline runs\n")
    sys.stdout.flush()
    return subprocess.call([sys.executable, "-m", "wandb", "sync", *options, *folders])


def _sent(folder: Path) -> bool:
    return any(folder.glob("run-*.wandb.synced"))


def main(arguments: list[str]) -> int:
    roots = [Path(given) for given in arguments if not given.startswith("-")] or [Path("outputs")]
    return sync(roots, [given for given in arguments if given.startswith("-")])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
