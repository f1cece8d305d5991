"""Jobs as their users run them: a process, an exit status, and what was printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "model.item.hidden=16",
    "model.user.hidden=16",
    "model.retrieval.dim=16",
    "train.max_steps=12",
    "train.batch_size=64",
    "train.log_every=2",
    "train.trace_every=6",
    "tune_baselines=false",
)


def arguments(job: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", f"jobs.{job}", *overrides]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PYTHONPATH": str(ROOT), **more}


def run(job: str, *overrides: str, status: int = 0, **more: str) -> str:
    """What a job printed, both streams; fails with it when the exit status is another than expected."""
    done = subprocess.run(
        arguments(job, *overrides), cwd=ROOT, env=environment(**more), capture_output=True, text=True, check=False
    )
    told = done.stdout + done.stderr
    assert done.returncode == status, f"exit status {done.returncode}:\n{told[-6000:]}"
    return told
