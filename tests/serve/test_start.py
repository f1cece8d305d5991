"""What doesn't belong together isn't served."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from recsys.artefact import Artefact, ArtefactError, opened, sealed
from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts, Release
from recsys.train.checkpoint import model_fingerprint
from serve.service import load_service
from serve.spec import ServeSpec
from tests.serve.conftest import SMALL


@pytest.fixture
def copied(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "run"))


def edit(manifest: Path, change: Callable[[dict], None]) -> None:
    held = json.loads(manifest.read_text())
    change(held)
    manifest.write_bytes(sealed(held))


def test_a_run_folder_is_served(run_dir: Path) -> None:
    service = load_service(ServeSpec(funnel=SMALL), str(run_dir))
    assert service.health()["ready"]
    assert service.funnel.ladder.pair > 0  # warmed up: it knows what a candidate costs
    service.close()


@pytest.mark.parametrize("part", ["index", "item_vectors"])
def test_parts_of_another_checkpoint_are_refused(copied: Path, part: str) -> None:
    edit(copied / part / "manifest.json", lambda held: held["meta"].update(checkpoint="ffff"))
    with pytest.raises(ValueError, match=f"{part} was made by checkpoint ffff.*run jobs.embed and jobs.index"):
        load_service(ServeSpec(funnel=SMALL), str(copied))


@pytest.mark.parametrize("part", ["index", "item_vectors"])
def test_parts_of_another_item_tower_are_refused(copied: Path, part: str) -> None:
    edit(copied / part / "manifest.json", lambda held: held["meta"].update(model="ffff"))
    with pytest.raises(ValueError, match=f"{part} was made by model ffff.*run jobs.embed and jobs.index"):
        load_service(ServeSpec(funnel=SMALL), str(copied))


def test_the_item_tower_is_what_names_the_model(run_dir: Path, tmp_path: Path) -> None:
    held = opened(run_dir / "checkpoint", "checkpoint")
    weights = load_file(held.path / "model.safetensors")

    def changed(start: str) -> str:
        folder = Path(shutil.copytree(held.path, tmp_path / start))
        name = next(name for name in weights if name.startswith(start))
        save_file(weights | {name: weights[name] + 1}, folder / "model.safetensors")
        return model_fingerprint(Artefact(folder, held.manifest))

    names = [changed(start) for start in ("user_encoder", "ranking", "retrieval.of_user")]
    assert set(names) == {model_fingerprint(held)}
    assert len({model_fingerprint(held), changed("item_encoder"), changed("retrieval.of_item")}) == 3


def test_a_checkpoint_of_another_data_set_is_refused(copied: Path) -> None:
    edit(copied / "dataset" / "manifest.json", lambda held: held["meta"]["spec"].update(num_items=303))
    with pytest.raises(ValueError, match="trained on another data set"):
        Parts.load(Release.of(copied))


@pytest.mark.parametrize("name", ["dataset", "checkpoint", "item_vectors", "index"])
def test_a_missing_part_is_named(copied: Path, name: str) -> None:
    shutil.rmtree(copied / name)
    with pytest.raises(ArtefactError, match=name):
        load_service(ServeSpec(), str(copied))


def test_a_damaged_part_is_named(copied: Path) -> None:
    target = copied / "checkpoint" / "model.safetensors"
    held = bytearray(target.read_bytes())
    held[-1] ^= 1
    target.write_bytes(bytes(held))
    with pytest.raises(ArtefactError, match=r"model\.safetensors"):
        load_service(ServeSpec(), str(copied))


@pytest.mark.parametrize("field", [{"port": 70_000}, {"threads": 0}, {"max_in_flight": 0}, {"deadline_ms": 0.0}])
def test_spec_checks_its_ranges(field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        ServeSpec(**field)  # type: ignore[arg-type]


def test_a_model_without_numbers_is_refused(parts: Parts) -> None:
    model = copy.deepcopy(parts.model)
    for weights in model.ranking.parameters():
        weights.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not numbers"):
        Funnel(replace(parts, model=model), SMALL).warm_up()


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    assert ServeSpec().host == "127.0.0.1"
