"""An interruption at any place costs the steps since the last checkpoint and nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file

from recsys.artefact import ArtefactError
from recsys.train.assemble import TrainingPlan, train
from recsys.train.checkpoint import load_model
from recsys.train.retention import checkpoints, latest_checkpoint
from tests.train.conftest import plan


def _die_at(rank: int, told: TrainingPlan, fatal: int) -> None:
    torch.set_num_threads(1)

    def report(step: int, kind: str, numbers: dict[str, float]) -> None:
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    train(told, "cpu", report)


def _finish(told: TrainingPlan) -> dict[str, torch.Tensor]:
    train(told, "cpu", lambda *_: None)
    last = latest_checkpoint(told.folder)
    assert last is not None
    return load_file(Path(last) / "model.safetensors") | load_file(Path(last) / "optimiser.safetensors")


@pytest.mark.parametrize("fatal", [5, 11])
def test_resume_after_a_kill_gives_the_same_weights_to_the_bit(shop: Path, tmp_path: Path, fatal: int) -> None:
    knobs = {"max_steps": 14, "checkpoint_every": 4, "batch_size": 300}  # crosses an epoch
    whole = _finish(plan(shop, tmp_path / "whole", **knobs))
    broken = plan(shop, tmp_path / "broken", **knobs)
    with pytest.raises(mp.ProcessExitedException):
        mp.spawn(_die_at, (broken, fatal), nprocs=1)
    assert checkpoints(broken.folder), "the kill came before the first checkpoint"
    resumed = _finish(broken)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_only_the_last_checkpoints_are_kept(shop: Path, tmp_path: Path) -> None:
    told = plan(shop, tmp_path / "run", max_steps=5, checkpoint_every=1, keep_checkpoints=2)
    _finish(told)
    assert [Path(uri).name for uri in checkpoints(told.folder)] == ["step-0000004", "step-0000005"]


def test_a_checkpoint_of_another_run_is_refused(shop: Path, tmp_path: Path) -> None:
    _finish(plan(shop, tmp_path / "run"))
    with pytest.raises(ValueError, match="belongs to another run"):
        train(plan(shop, tmp_path / "run", max_steps=9), "cpu", lambda *_: None)


def test_a_flipped_byte_in_the_weights_is_found(shop: Path, tmp_path: Path) -> None:
    told = plan(shop, tmp_path / "run", max_steps=1)
    _finish(told)
    last = latest_checkpoint(told.folder)
    assert last is not None
    held = bytearray((Path(last) / "model.safetensors").read_bytes())
    held[len(held) // 2] ^= 1
    (Path(last) / "model.safetensors").write_bytes(held)
    with pytest.raises(ArtefactError, match=r"model\.safetensors"):
        load_model(last)
