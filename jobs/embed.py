"""Encode the catalogue with a checkpoint: of every item the vector to search by and the hidden state to rank by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from jobs.data import prepared
from jobs.settings import Settings, job
from jobs.stages import Stages
from jobs.train import trained
from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.cluster.data import Columns, map_ranges
from recsys.cluster.start import connected
from recsys.data.catalogue import Catalogue
from recsys.train.checkpoint import load_model, model_fingerprint

BLOCK = 16_384
KIND, FORMAT = "item_vectors", 2  # the format is part of the fingerprint: another one is made anew


def embedded(stages: Stages, dataset: Artefact, checkpoint: Artefact) -> Artefact:
    """run_dir/item_vectors."""
    fingerprint = fingerprint_of(KIND, FORMAT, checkpoint.fingerprint, dataset.fingerprint)
    total = int(dataset.meta["spec"]["num_items"])
    make = partial(encoder, stages.uri("checkpoint"), stages.uri("dataset"))

    def run(uri: str) -> None:
        meta: dict[str, object] = {"checkpoint": checkpoint.fingerprint, "items": total}
        meta |= {"model": model_fingerprint(checkpoint)}
        with committing(uri, KIND, fingerprint=fingerprint, meta=meta) as folder, tqdm(total=total, unit="item") as bar:
            for place, block in enumerate(_blocks(stages.settings, total, make)):
                write(folder / f"part-{place:05d}.parquet", block)
                meta |= {"dim": block["vector"].shape[1], "hidden": block["hidden"].shape[1]}
                bar.update(len(block["item"]))

    return stages.reach("item_vectors", KIND, fingerprint, run)


def _blocks(settings: Settings, total: int, make: Callable[[], Callable[[np.ndarray], Columns]]) -> Iterator[Columns]:
    if settings.cluster.workers == 0:
        work = make()
        for start in range(0, total, BLOCK):
            yield work(np.arange(start, min(start + BLOCK, total)))
        return
    with connected(settings.cluster):
        spec = settings.cluster
        yield from map_ranges(total, BLOCK, make, workers=min(2, spec.workers), num_cpus=spec.cpus_per_worker)


def encoder(checkpoint: str, dataset: str) -> Callable[[np.ndarray], Columns]:
    """What an actor holds: the model, the catalogue, and a function from item indices to columns."""
    model, info = load_model(checkpoint)
    folder = opened(dataset, "dataset", verify=False).path
    catalogue = Catalogue.load(folder, info.dataset, info.model.item.id_buckets, info.model.item.num_hashes)

    @torch.inference_mode()
    def encode(places: np.ndarray) -> Columns:
        hidden = model.items(catalogue.take(torch.from_numpy(np.array(places))))
        vectors = model.vectors(hidden).float()
        return {"item": np.asarray(places), "vector": vectors.numpy(), "hidden": hidden.float().numpy()}

    return encode


def write(path: Path, block: Columns) -> None:
    order = np.argsort(block["item"], kind="stable")
    columns = {"item": pa.array(block["item"][order].astype(np.int32))}
    for name in ("vector", "hidden"):
        flat = pa.array(np.ascontiguousarray(block[name][order]).ravel())
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, block[name].shape[1])
    pq.write_table(pa.table(columns), path)


@job
def main(settings: Settings) -> None:
    stages = Stages(settings)
    dataset = prepared(stages)
    embedded(stages, dataset, trained(stages, dataset))


if __name__ == "__main__":
    main()
