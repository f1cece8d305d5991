"""A small run folder, made by the code that makes real ones; the model has fresh weights, which no test minds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recsys.artefact import committing, opened
from recsys.data.catalogue import Catalogue
from recsys.data.prepare import DataSpec, prepare
from recsys.data.requests import RequestSpec
from recsys.data.spec import DAY, DatasetSpec, Task
from recsys.data.tables import QUARANTINE, Roles, Tables
from recsys.encoders.item import ItemEncoder
from recsys.encoders.user import UserEncoder
from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts, Release
from recsys.funnel.request import FunnelSpec
from recsys.heads.retrieval import RetrievalHead
from recsys.index.build import Queries, build_index
from recsys.index.item_vectors import item_vectors_table
from recsys.index.vector_index import IndexSpec
from recsys.model import ModelSpec, Recommender, build_model
from recsys.random import rng
from recsys.train.checkpoint import Origin, Position, RunState, model_fingerprint, save_checkpoint

USERS, ITEMS, EVENTS, DAYS = 80, 300, 6000, 120
START = 1_600_000_000
SURFACES = ("app", "web", "shop")


@dataclass(frozen=True)
class SmallShop:
    """A shop in which every user likes one category and buys some things again."""

    seed: int = 0

    def sources(self) -> dict[str, str]:
        return {"generated": str(self.seed)}

    def __call__(self) -> Tables:
        random = rng(self.seed, "small-shop")
        user = random.integers(0, USERS, EVENTS)
        liked = (user[:, None] + 6 * random.integers(0, ITEMS // 6, (EVENTS, 1)))[:, 0] % ITEMS
        item = np.where(random.random(EVENTS) < 0.6, liked % 60, random.zipf(1.3, EVENTS) % ITEMS)
        time = START + np.sort(random.integers(0, DAYS * DAY, EVENTS))
        item[:ITEMS] = np.arange(ITEMS)
        events = {
            "user": [f"u{number}" for number in user],
            "item": [f"i{number}" for number in item],
            "time": time,
            "surface": random.choice(SURFACES, EVENTS, p=[0.6, 0.3, 0.1]),
            "spend": random.gamma(2.0, 3.0, EVENTS),
        }
        every = np.arange(ITEMS)
        items = {
            "item": [f"i{number}" for number in every],
            "department": [f"d{number % 6}" for number in every],
            "price": random.gamma(2.0, 5.0, ITEMS),
            "title": [f"thing {number} of department {number % 6}" for number in every],
        }
        tasks = (Task(name="engage"), Task(name="spend", kind="regression", on="taken"))
        roles = Roles(
            item_categorical=("department",),
            item_numeric=("price",),
            item_text="title",
            affinity=("department",),
            labels={"spend": "spend"},
            tasks=tasks,
        )
        return Tables(
            name="small-shop",
            events=pa.table(events),
            items=pa.table(items),
            users=None,
            impressions=None,
            quarantine=QUARANTINE.empty_table(),
            roles=roles,
            splits=None,
            attribution_days=7.0,
            sources=self.sources(),
        )


def write_item_vectors(run: Path, model: Recommender, spec: ModelSpec, dataset: DatasetSpec, checkpoint: str) -> str:
    """Returns the fingerprint of the model."""
    catalogue = Catalogue.load(run / "dataset", dataset, spec.item.id_buckets, spec.item.num_hashes)
    with torch.inference_mode():
        hidden = model.eval().items(catalogue)
        vectors = model.vectors(hidden)
    meta = {"checkpoint": checkpoint, "dim": vectors.shape[1], "hidden": hidden.shape[1], "items": dataset.num_items}
    meta["model"] = model_fingerprint(opened(run / "checkpoint", "checkpoint"))
    with committing(run / "item_vectors", "item_vectors", fingerprint=f"vectors-{checkpoint}", meta=meta) as folder:
        for part, rows in enumerate(np.array_split(np.arange(dataset.num_items), 3)):
            table = item_vectors_table(rows, vectors.numpy()[rows], hidden.numpy()[rows])
            pq.write_table(table, folder / f"part-{part:05d}.parquet")
    return meta["model"]


def make_run(run: Path, checkpoint: str = "0123456789abcdef") -> Path:
    requests = RequestSpec(max_history=20, horizon_days=7.0)
    prepare(DataSpec(source=SmallShop(), requests=requests, lanes=4), run / "dataset")
    dataset = DatasetSpec.from_json(opened(run / "dataset", "dataset").meta["spec"])
    small = ItemEncoder(hidden=16, id_dim=8, id_buckets=512)
    spec = ModelSpec(item=small, user=UserEncoder(hidden=16, user_buckets=64), retrieval=RetrievalHead(dim=8))
    model = build_model(spec, dataset)
    state = RunState(model, torch.optim.SGD(model.parameters(), lr=0.1), Position(0, 0, 0), {})
    save_checkpoint(run / "checkpoint", state, Origin(run / "dataset", dataset, spec, None, checkpoint))
    made_by = checkpoint, write_item_vectors(run, model, spec, dataset, checkpoint)
    nobody = Queries(np.zeros((0, spec.retrieval.dim), np.float32), *made_by)
    build_index(opened(run / "item_vectors", "item_vectors"), nobody, IndexSpec(), run / "index")
    return run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("small-run"))


@pytest.fixture(scope="session")
def parts(run_dir: Path) -> Parts:
    return Parts.load(Release.of(run_dir))


SMALL = FunnelSpec(index_candidates=40, popular_candidates=20, own_history=30)


@pytest.fixture
def funnel(parts: Parts) -> Funnel:
    return Funnel(parts, SMALL)
