"""A checkpoint is a folder that holds all of a run: weights, optimiser, position, vocabulary, and what it was made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.data.spec import DatasetSpec
from recsys.model import ModelSpec, Recommender, build_model, model_spec_from_json

KIND = "checkpoint"
ITEM_TOWER = ("item_encoder.", "retrieval.of_item.")  # the weights that item vectors are made with


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: steps taken in all, and the epoch and step within it that come next."""

    step: int
    epoch: int
    step_in_epoch: int


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a checkpoint says of itself, before its weights are read."""

    fingerprint: str
    dataset: DatasetSpec
    model: ModelSpec
    position: Position
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class RunState:
    """What must survive an interruption."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    position: Position
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run was made from: recorded in every checkpoint, and needed to build the model again."""

    dataset_folder: Path
    dataset: DatasetSpec
    model: ModelSpec
    train: Any
    fingerprint: str


def save_checkpoint(uri: str | Path, state: RunState, origin: Origin) -> None:
    """Write a checkpoint aside and rename it; whoever looks sees the old one or the new one whole."""
    with committing(uri, KIND, fingerprint=origin.fingerprint, meta={"position": asdict(state.position)}) as folder:
        recipe = {"dataset": origin.dataset.to_json(), "model": asdict(origin.model), "train": repr(origin.train)}
        (folder / "recipe.json").write_text(json.dumps(recipe, indent=1))
        weights = {name: held.detach().cpu().contiguous() for name, held in state.model.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        _save_optimiser(folder, state.optimiser)
        (folder / "position.json").write_text(json.dumps(asdict(state.position)))
        (folder / "metrics.json").write_text(json.dumps(state.metrics, indent=1))
        shutil.copyfile(origin.dataset_folder / "vocabulary.parquet", folder / "vocabulary.parquet")


def load_model(checkpoint: str | Path | Artefact) -> tuple[Recommender, CheckpointInfo]:
    """The model with its trained weights in evaluation mode. Raises ArtefactError when the folder isn't whole."""
    artefact = checkpoint if isinstance(checkpoint, Artefact) else opened(checkpoint, KIND)
    info = read_info(artefact)
    model = build_model(info.model, info.dataset)
    model.load_state_dict(load_file(artefact.path / "model.safetensors"))
    return model.eval(), info


def read_info(artefact: Artefact) -> CheckpointInfo:
    recipe = json.loads((artefact.path / "recipe.json").read_text())
    position = Position(**json.loads((artefact.path / "position.json").read_text()))
    metrics = json.loads((artefact.path / "metrics.json").read_text())
    dataset = DatasetSpec.from_json(recipe["dataset"])
    return CheckpointInfo(artefact.fingerprint, dataset, model_spec_from_json(recipe["model"]), position, metrics)


def model_fingerprint(artefact: Artefact) -> str:
    """Fingerprint of what makes item vectors: the item tower's weights and shape, and that they get norm 1.

    The checkpoint's own fingerprint covers all weights and settings: it changes whenever this one does.
    """
    weights = load_file(artefact.path / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(name for name in weights if name.startswith(ITEM_TOWER)):
        held = weights[name].contiguous()
        digest.update(f"{name} {held.dtype} {list(held.shape)}\n".encode())
        digest.update(held.flatten().view(torch.uint8).numpy().tobytes())
    shape = json.loads((artefact.path / "recipe.json").read_text())["model"]
    return fingerprint_of("item tower", digest.hexdigest(), shape["item"], shape["retrieval"]["dim"], "norm 1")


def restore(uri: str | Path, model: nn.Module, optimiser: torch.optim.Optimizer, fingerprint: str) -> Position:
    """Put weights and optimiser back as they were; the run continues at the position that is returned."""
    artefact = opened(uri, KIND)
    if artefact.fingerprint != fingerprint:
        raise ValueError(
            f"checkpoint {uri} belongs to another run (fingerprint {artefact.fingerprint}, this run's is {fingerprint}): "
            "data, model or training settings differ; remove the folder or choose another run_dir"
        )
    model.load_state_dict(load_file(artefact.path / "model.safetensors"))
    _load_optimiser(artefact.path, optimiser)
    return Position(**json.loads((artefact.path / "position.json").read_text()))


def _save_optimiser(folder: Path, optimiser: torch.optim.Optimizer) -> None:
    held = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for key, state in held["state"].items():
        for name, entry in state.items():
            if isinstance(entry, Tensor):
                tensors[f"{key}.{name}"] = entry.detach().cpu().contiguous()
            else:
                plain.setdefault(str(key), {})[name] = entry
    save_file(tensors, folder / "optimiser.safetensors")
    (folder / "optimiser.json").write_text(json.dumps({"groups": held["param_groups"], "plain": plain}))


def _load_optimiser(folder: Path, optimiser: torch.optim.Optimizer) -> None:
    described = json.loads((folder / "optimiser.json").read_text())
    state: dict[int, dict[str, Any]] = {int(key): dict(entries) for key, entries in described["plain"].items()}
    for name, tensor in load_file(folder / "optimiser.safetensors").items():
        key, entry = name.split(".", 1)
        state.setdefault(int(key), {})[entry] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": described["groups"]})
