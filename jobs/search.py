"""Search an index with a file of queries; ids, scores and CPU time of each go to another."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from jobs.settings import entry_point
from recsys.artefact import opened
from recsys.index.build import KIND
from recsys.index.exact import Hits
from recsys.index.vector_index import VectorIndex
from recsys.value import require, value


@value
class SearchSettings:
    """Which index is asked what."""

    index_dir: str
    queries: str
    k: int
    allowed: str | None
    out: str
    threads: int
    batch: int
    verify: bool

    def __post_init__(self) -> None:
        for name in ("k", "threads", "batch"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")


def search_settings(config: DictConfig) -> SearchSettings:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return SearchSettings(**{str(key): held for key, held in plain.items()})


def search(settings: SearchSettings) -> None:
    artefact = opened(settings.index_dir, KIND, verify=settings.verify)
    index = VectorIndex.load(artefact.path, settings.threads)
    queries = np.load(settings.queries, mmap_mode="r", allow_pickle=False)
    allowed = None if settings.allowed is None else np.load(settings.allowed, allow_pickle=False)
    hits, spent = answered(index, queries, settings, allowed)
    with Path(settings.out).open("wb") as out:
        np.savez(out, ids=hits.ids, scores=hits.scores, cpu_ms=spent)
    p50, p99 = np.percentile(spent, [50, 99]) if len(spent) else (0.0, 0.0)
    print(
        f"{len(queries)} queries, k={settings.k}, {index.kind}: p50 {p50:.3f} CPU ms, p99 {p99:.3f}, in {settings.out}"
    )


def answered(
    index: VectorIndex, queries: np.ndarray, settings: SearchSettings, allowed: np.ndarray | None
) -> tuple[Hits, np.ndarray]:
    """Hits of width k, and CPU ms of each query: the mean of its batch, of all threads of this process."""
    found, spent = [], np.zeros(len(queries), np.float32)
    for start in tqdm(range(0, len(queries), settings.batch), unit=" batch", desc="search"):
        part = slice(start, start + settings.batch)
        own = None if allowed is None else allowed if allowed.ndim == 1 else allowed[part]
        held = np.array(queries[part])
        began = time.process_time()
        found.append(index.search(held, settings.k, allowed=own))
        spent[part] = 1e3 * (time.process_time() - began) / len(held)
    return Hits.stack(found, settings.k), spent


main = entry_point("search", search_settings, search)

if __name__ == "__main__":
    main()
