"""Build the vector index of a catalogue and measure its recall against exact search with users' own queries.

With vectors=DIR out=INDEX instead of a run_dir, of any vectors: jobs.index_vectors.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from jobs.data import prepared
from jobs.embed import embedded
from jobs.index_vectors import main as index_vectors
from jobs.settings import Settings, job
from jobs.stages import Stages
from jobs.train import trained
from recsys.artefact import Artefact
from recsys.data.catalogue import UserTable
from recsys.data.reader import read_all
from recsys.index.build import Queries, build_index, index_fingerprint
from recsys.index.item_vectors import ItemVectors
from recsys.train.checkpoint import load_model, model_fingerprint

NUM_QUERIES = 1000


def indexed(stages: Stages, dataset: Artefact, checkpoint: Artefact, item_vectors: Artefact) -> Artefact:
    """run_dir/index."""
    spec = stages.settings.index

    def make(uri: str) -> None:
        build_index(item_vectors, user_queries(dataset, checkpoint, item_vectors), spec, uri)

    index = stages.reach("index", "index", index_fingerprint(item_vectors, spec), make)
    recall = index.meta["recall@100_vs_exact"]
    stages.say(
        "index", f"{index.meta['kind']} of {index.meta['items']} items, recall@100 against exact search {recall}"
    )
    return index


@torch.inference_mode()
def user_queries(dataset: Artefact, checkpoint: Artefact, item_vectors: Artefact) -> Queries:
    """Query vectors of users at the validation boundary: what the index will be asked, not item-like vectors."""
    model, info = load_model(checkpoint)
    made_by = checkpoint.fingerprint, model_fingerprint(checkpoint)
    batch = read_all(dataset.path, "validation_users", info.dataset, NUM_QUERIES)
    if not len(batch):
        return Queries(np.zeros((0, item_vectors.meta["dim"]), np.float32), *made_by)
    _, hidden = ItemVectors.load(item_vectors).by_index(info.dataset.num_items)
    users = UserTable.load(dataset.path, info.dataset, info.model.user.user_buckets)
    state = model.users(torch.from_numpy(hidden)[batch.history.values], batch, users.take(batch.user))
    return Queries(model.query(state).float().numpy(), *made_by)


@job
def main(settings: Settings) -> None:
    stages = Stages(settings)
    dataset = prepared(stages)
    checkpoint = trained(stages, dataset)
    indexed(stages, dataset, checkpoint, embedded(stages, dataset, checkpoint))


if __name__ == "__main__":
    if any(told.startswith("vectors=") for told in sys.argv[1:]):
        index_vectors()
    else:
        main()
