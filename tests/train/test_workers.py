"""The number of workers changes nothing but the time that training takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recsys.batch import Jagged
from recsys.train.assemble import TrainingPlan, train
from recsys.train.choose import sample_jagged
from recsys.train.retention import latest_checkpoint
from tests.train.conftest import plan
from tests.workers import together


def _worker(rank: int, world: int, told: TrainingPlan, out: str) -> None:
    losses: list[dict[str, float]] = []

    def report(step: int, kind: str, numbers: dict[str, float]) -> None:
        if kind in ("train", "gradient"):
            losses.append(
                {name: held for name, held in numbers.items() if name.startswith(("loss.", "norm.", "cosine."))}
            )

    train(told, "cpu", report)
    if rank == 0:
        Path(out).write_text(json.dumps(losses))


def run(world: int, told: TrainingPlan, folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    out = folder / "losses.json"
    if world == 1:
        _worker(0, 1, told, str(out))
    else:
        together(_worker, world, str(folder / "store"), told, str(out))
    last = latest_checkpoint(told.folder)
    assert last is not None
    return json.loads(out.read_text()), load_file(Path(last) / "model.safetensors")


@pytest.mark.parametrize("world", [2, 3])
def test_losses_and_weights_are_those_of_one_worker(shop: Path, tmp_path: Path, world: int) -> None:
    alone, together = tmp_path / "one", tmp_path / "many"
    alone.mkdir(), together.mkdir()
    one, weights = run(1, plan(shop, alone / "run", trace_every=2), alone)
    many, same = run(world, plan(shop, together / "run", trace_every=2), together)
    assert len(one) == len(many) == 9  # six steps, three of them traced
    for a, b in zip(one, many, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert b[name] == pytest.approx(a[name], rel=1e-4 if "cosine" in name else 1e-5, abs=1e-5)
    # Adam makes steps of full size of gradients that are zero but for rounding (the bias of attention keys)
    change = torch.cat([(same[name] - weights[name]).flatten() for name in weights])
    assert change.norm() < 1e-4 * torch.cat([held.flatten() for held in weights.values()]).norm()


def test_training_lowers_the_losses(shop: Path, tmp_path: Path) -> None:
    losses, _ = run(1, plan(shop, tmp_path / "run", max_steps=40), tmp_path)
    assert np.mean([held["loss.retrieval"] for held in losses[-5:]]) < losses[0]["loss.retrieval"] - 0.3
    assert np.mean([held["loss.engage"] for held in losses[-5:]]) < losses[0]["loss.engage"]


def test_positives_are_chosen_by_the_request_and_not_by_its_neighbours() -> None:
    values = torch.arange(100, 160)
    offsets = torch.tensor([0, 20, 25, 60])
    ids = torch.tensor([7, 8, 9])
    together = sample_jagged(Jagged(values, offsets), ids, 6, seed=3)
    assert together.lengths.tolist() == [6, 5, 6]
    alone = sample_jagged(Jagged(values[25:60], torch.tensor([0, 35])), ids[2:], 6, seed=3)
    assert together.values[11:].tolist() == alone.values.tolist()
    assert sample_jagged(Jagged(values, offsets), ids, 6, seed=4).values.tolist() != together.values.tolist()
