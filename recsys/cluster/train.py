"""The same fit() under Ray Train: workers, process group, retries."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from recsys.cluster.start import ClusterSpec
from recsys.storage import filesystem

Worker = Callable[[torch.device], dict[str, Any]]


def train_on(spec: ClusterSpec, worker: Worker, *, name: str, storage: str) -> dict[str, Any]:
    """Run `worker(device)` on every worker of a Ray Train group and return what rank 0 returned.

    `worker` must pickle. A killed worker restarts the group, whose `worker` continues from its own newest checkpoint:
    Ray is told of no checkpoint, so that resuming is one path for every kind of interruption. `name` must be new for
    every call, since Ray Train silently resumes a run of the same name. `storage` is a folder's path or URI that all
    machines of the group can reach; Ray keeps its own state there.
    """
    held, path = filesystem(storage)
    trainer = TorchTrainer(
        _on_worker,
        train_loop_config={"worker": worker},
        torch_config=TorchConfig(backend="nccl" if spec.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=spec.workers,
            use_gpu=spec.gpus_per_worker > 0,
            resources_per_worker={"CPU": spec.cpus_per_worker, **_gpus(spec)},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=held,
            failure_config=FailureConfig(max_failures=spec.max_failures, controller_failure_limit=2),
        ),
    )
    returned = trainer.fit().return_value
    assert isinstance(returned, dict), "the training function of rank 0 returned nothing"
    return returned


def _gpus(spec: ClusterSpec) -> dict[str, float]:
    return {"GPU": spec.gpus_per_worker} if spec.gpus_per_worker else {}


def _on_worker(config: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return config["worker"](get_device())
