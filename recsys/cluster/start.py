"""Starting Ray, or joining the cluster that a job runs in."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import ray

from recsys.value import require, value


@value
class ClusterSpec:
    """Where training runs: `workers=0` is this process; otherwise so many Ray Train workers."""

    workers: int = 2
    cpus_per_worker: float = 0.5
    gpus_per_worker: float = 0.0
    address: str | None = None  # null: join the job's cluster, else start a local one
    reader: Literal["direct", "ray"] = "direct"  # who reads Parquet: the worker itself, or Ray Data
    max_failures: int = 2  # retries of a killed worker, each from the newest checkpoint
    start_timeout_s: int = 300

    def __post_init__(self) -> None:
        require(self.workers >= 0, f"cluster.workers must be 0 or more, got {self.workers}")
        require(self.cpus_per_worker > 0, f"cluster.cpus_per_worker must be positive, got {self.cpus_per_worker}")


@contextmanager
def connected(spec: ClusterSpec) -> Iterator[None]:
    """Ray is there inside the block; a cluster that was started for it is shut down afterwards."""
    if ray.is_initialized():
        yield
        return
    for name in ("ray.data", "ray.train", "ray.serve"):  # their progress is told by the jobs
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(spec.start_timeout_s))
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or "RAY_ADDRESS" in os.environ
    if in_job or spec.address:
        ray.init(address=spec.address or "auto", log_to_driver=False)
    else:
        _start_local()
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(tries: int = 3) -> None:
    for attempt in range(1, tries + 1):
        try:
            # the least number of processes that Ray runs with; a crowded machine may need a second try
            ray.init(
                address="local",
                include_dashboard=False,
                num_cpus=max(2, os.cpu_count() or 2),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:
            ray.shutdown()
            if attempt == tries:
                raise RuntimeError(f"Ray did not start in {tries} tries; free memory or CPU and run again") from error
