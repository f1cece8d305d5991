"""A small prepared dataset and a plan to train on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.candidates import InBatch, Mixed, Uniform
from recsys.data.prepare import DataSpec, prepare
from recsys.data.requests import RequestSpec
from recsys.encoders.item import ItemEncoder
from recsys.encoders.user import UserEncoder
from recsys.heads.mmoe import MMoE
from recsys.heads.retrieval import RetrievalHead
from recsys.losses.softmax import SampledSoftmax
from recsys.model import ModelSpec
from recsys.train.assemble import TrainingPlan
from recsys.train.spec import TrainSpec
from tests.serve.conftest import SmallShop

MODEL = ModelSpec(
    item=ItemEncoder(hidden=16, id_dim=8, id_buckets=512, dropout=0.0),
    user=UserEncoder(hidden=16, user_buckets=64, dropout=0.0),
    retrieval=RetrievalHead(dim=8),
    ranking=MMoE(experts=2, expert_dim=8, tower_dim=8, dropout=0.0),
)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("shop") / "dataset"
    prepare(DataSpec(source=SmallShop(), requests=RequestSpec(max_history=20, horizon_days=7.0), lanes=6), target)
    return target


def plan(dataset: Path, folder: Path, **knobs: object) -> TrainingPlan:
    source = Mixed(sources=(InBatch(), Uniform(num=20)))
    told = {"max_steps": 6, "batch_size": 47, "trace_every": 0, "log_every": 1, "learning_rate": 1e-2} | knobs
    spec = TrainSpec(source=source, loss=SampledSoftmax(), **told)  # type: ignore[arg-type]
    return TrainingPlan(str(dataset), str(folder), MODEL, spec)
