"""Answer a Parquet table of query vectors: `python -m jobs.batch_search index_dir=DIR queries=Q.parquet encoded_by=M out=DIR`."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from jobs.settings import entry_point, instantiated
from recsys.cluster.batch_search import BatchSearch, batch_search
from recsys.cluster.start import ClusterSpec
from recsys.value import require, value


@value
class BatchSearchSettings:
    """What is searched, by whom, and where the answers go."""

    search: BatchSearch
    cluster: ClusterSpec
    out: str


def batch_search_settings(config: DictConfig) -> BatchSearchSettings:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    cluster, out = instantiated(plain.pop("cluster"), "cluster"), plain.pop("out")
    require(bool(out), "give out=, the folder or URI of the answers")
    told: dict[str, Any] = {name: "" if held is None else held for name, held in plain.items()}
    search = BatchSearch(**told)
    return BatchSearchSettings(search=search, cluster=cluster, out=out)


def main(settings: BatchSearchSettings) -> None:
    found = batch_search(settings.search, settings.out, settings.cluster)
    print(f"batch_search: {found.meta['queries']} queries, index {found.meta['index']}, {settings.out}", flush=True)


if __name__ == "__main__":
    entry_point("batch_search", batch_search_settings, main)()
