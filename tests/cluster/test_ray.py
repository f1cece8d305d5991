"""Under Ray the same things happen: the same weights, the same rows, whoever is killed and whatever is shared."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recsys.artefact import opened
from recsys.cluster.data import map_ranges, ray_fetch
from recsys.cluster.start import ClusterSpec, connected
from recsys.cluster.train import train_on
from recsys.data.plan import Plan
from recsys.data.reader import BatchReader
from recsys.data.spec import DatasetSpec
from recsys.train.assemble import TrainingPlan, train
from recsys.train.retention import latest_checkpoint
from tests.data.test_rows import assert_same
from tests.train.conftest import plan, shop  # noqa: F401  (a fixture)

pytestmark = pytest.mark.ray
SPEC = ClusterSpec(workers=2, cpus_per_worker=0.5)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with connected(SPEC):
        yield


def work(told: TrainingPlan, victim: str, device: torch.device) -> dict[str, Any]:
    """Train; the first worker dies once, after step 8, as it would from kill -9."""

    def report(step: int, kind: str, numbers: dict[str, float]) -> None:
        if step == 8 and not Path(victim).exists():
            Path(victim).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    train(told, device, report)
    return {"world": torch.distributed.get_world_size(), "backend": torch.distributed.get_backend()}


def weights(told: TrainingPlan) -> dict[str, torch.Tensor]:
    last = latest_checkpoint(told.folder)
    assert last is not None
    return load_file(Path(last) / "model.safetensors")


def test_a_group_that_lost_a_worker_ends_with_the_weights_of_one_process(
    shop: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Ray Train with two workers and Ray Data as their reader, killed once between two checkpoints."""
    knobs = {"max_steps": 12, "checkpoint_every": 3}
    alone = plan(shop, tmp_path / "alone", **knobs)
    train(alone, "cpu", lambda *_: None)
    told = plan(shop, tmp_path / "together", **knobs)
    told = TrainingPlan(told.dataset, told.folder, told.model, told.train, fetch=ray_fetch)
    victim = tmp_path / "killed"
    storage = str(tmp_path / "ray")
    returned = train_on(SPEC, partial(work, told, str(victim)), name="a-group", storage=storage)
    assert victim.exists(), "nobody was killed"
    assert returned == {"world": 2, "backend": "gloo"}
    one, two = weights(alone), weights(told)
    change = torch.cat([(one[name] - two[name]).flatten() for name in one])
    assert change.norm() < 1e-4 * torch.cat([held.flatten() for held in one.values()]).norm()


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ray_data_gives_the_batches_of_one_process(shop: Path, world: int) -> None:  # noqa: F811
    dataset = opened(shop, "dataset")
    spec = DatasetSpec.from_json(dataset.meta["spec"])
    batches = Plan.of(dataset.path, "train", lanes=spec.lanes, batch_size=300, seed=0, shuffle=True)
    for rank in range(world):
        ours, theirs = (
            BatchReader(dataset.path, "train", spec, batches, share=(rank, world), fetch=fetch)
            for fetch in (None, ray_fetch(str(shop)))
        )
        for a, b in zip(ours.epoch(1, 2), theirs.epoch(1, 2), strict=True):
            assert_same(a, b)


def squares() -> Any:
    pid = os.getpid()
    return lambda places: {"place": places, "square": places**2, "pid": np.full(len(places), pid)}


@pytest.mark.parametrize(("total", "block"), [(0, 4), (1, 4), (10, 4), (12, 4), (97, 10)])
def test_a_range_is_mapped_in_order_and_by_whole_blocks(total: int, block: int) -> None:
    blocks = list(map_ranges(total, block, squares, workers=2, num_cpus=0.25))
    assert [len(held["place"]) for held in blocks] == [block] * (total // block) + [total % block] * (total % block > 0)
    assert [place for held in blocks for place in held["place"]] == list(range(total))
    assert all((held["square"] == held["place"] ** 2).all() for held in blocks)
    assert all((held["pid"] != os.getpid()).all() for held in blocks)
