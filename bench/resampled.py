"""A catalogue of any size with the structure of a real one: its items again and again, each copy perturbed and marked."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.data.spec import FIRST, DatasetSpec
from recsys.random import rng

BLOCK = 65_536
SWAPPED = 0.2  # share of a copy's categories that are another item's
NOISE = 0.3  # of a copy's numbers and text vectors, in standard deviations of the column


def resampled(dataset: Artefact, num_items: int, target: Path) -> Artefact:
    """The data set with `num_items` items more or less: the real ones first, then copies named `copy-<n>-of-<id>`.

    Users, events and requests are the real ones. A copy was never bought, so it has no id embedding and its vector is
    made of its content alone.
    """
    spec = DatasetSpec.from_json(dataset.meta["spec"])
    origin = _origins(spec.num_items, num_items)
    meta = {**dataset.meta, "spec": spec.to_json() | {"num_items": len(origin)}}
    fingerprint = fingerprint_of("resampled", dataset.fingerprint, num_items)
    with committing(target, "dataset", fingerprint=fingerprint, meta=meta) as folder:
        for name in dataset.manifest["files"]:
            if name not in ("items.parquet", "text_vectors.npy"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(dataset.path / name, folder / name)
        pq.write_table(_items(dataset.path, spec, origin), folder / "items.parquet")
        if spec.text_dim:
            _write_texts(dataset.path / "text_vectors.npy", folder / "text_vectors.npy", origin, spec.num_items)
    return opened(target, "dataset")


def with_items(checkpoint: Artefact, num_items: int, target: Path) -> Artefact:
    """The checkpoint for the larger catalogue: ids are hashed, so no weight depends on how many there are."""
    meta = {**checkpoint.meta, "made_from": checkpoint.fingerprint}
    fingerprint = fingerprint_of(checkpoint.fingerprint, num_items)
    with committing(target, "checkpoint", fingerprint=fingerprint, meta=meta) as folder:
        for name in checkpoint.manifest["files"]:
            shutil.copyfile(checkpoint.path / name, folder / name)
        recipe = json.loads((folder / "recipe.json").read_text())
        recipe["dataset"]["num_items"] = num_items
        (folder / "recipe.json").write_text(json.dumps(recipe, indent=1))
    return opened(target, "checkpoint")


def _origins(held: int, wanted: int) -> np.ndarray:
    """[wanted] index of the real item that each item is or is a copy of; reserved indices stay themselves."""
    copies = max(0, wanted - held)
    return np.concatenate([np.arange(held), FIRST + np.arange(copies) % (held - FIRST)])


def _items(folder: Path, spec: DatasetSpec, origin: np.ndarray) -> pa.Table:
    table = pq.read_table(folder / "items.parquet")
    copy = np.arange(len(origin)) >= spec.num_items
    columns = {name: table[name].take(pa.array(origin)) for name in table.column_names}
    marked = pc.binary_join_element_wise(
        "copy", pa.array(np.arange(len(origin))).cast(pa.string()), "of", columns["item_id"].cast(pa.string()), "-"
    )
    columns["item_id"] = pc.if_else(pa.array(copy), marked, columns["item_id"])
    columns["train_count"] = pa.array(np.where(copy, 0, columns["train_count"].to_numpy()))
    for name in spec.item_categorical:
        random, values = rng(0, "resampled", name), columns[name].to_numpy().copy()
        swapped = copy & (random.random(len(origin)) < SWAPPED)
        values[swapped] = random.choice(values[FIRST : spec.num_items], int(swapped.sum()))
        columns[name] = pa.array(values)
    for name in spec.item_numeric:
        values = columns[name].to_numpy().astype(np.float32)
        values[copy] += NOISE * values[FIRST:].std() * rng(0, "resampled", name).standard_normal(int(copy.sum()))
        columns[name] = pa.array(values.astype(np.float32))
    return pa.table(columns)


def _write_texts(source: Path, target: Path, origin: np.ndarray, real: int) -> None:
    texts = np.load(source, mmap_mode="r")
    spread = np.asarray(texts[FIRST:real], dtype=np.float32).std()
    shape = (len(origin), texts.shape[1])
    written = np.lib.format.open_memmap(target, mode="w+", dtype=texts.dtype, shape=shape)
    for start in tqdm(range(0, len(origin), BLOCK), unit="block", desc="texts of copies"):
        part = slice(start, start + BLOCK)
        held = texts[origin[part]].astype(np.float32)
        noise = rng(0, "texts", start).standard_normal(held.shape, dtype=np.float32)
        copy = np.arange(len(origin))[part] >= real
        written[part] = held + NOISE * spread * noise * copy[:, None]
    written.flush()
