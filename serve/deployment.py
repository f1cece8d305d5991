"""One replica process answers a request from beginning to end: a hop between deployments costs milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve import Application

from recsys.funnel.parts import Release
from recsys.index.versions import Versions
from serve.app import create_app
from serve.service import load_service
from serve.spec import ServeSpec

APP = "recommend"


class Endpoint:
    """A service and its routes; a plain class, which Ray Serve makes replicas of."""

    def __init__(self, spec: ServeSpec, run_dir: str) -> None:
        torch.set_num_threads(1)
        self.service = load_service(spec, run_dir)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self.service)

    def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises."""
        if not self.service.alive:
            raise RuntimeError("a thread of the service has ended")


def build(spec: ServeSpec, run_dir: str) -> Application:
    """The application of a run folder. Raises ArtefactError or ValueError here, on the driver, when parts don't fit."""
    Release.of(run_dir, Versions(spec.index_versions).open()[1] if spec.index_versions else None)
    deployment = ray_serve.deployment(
        name=APP,
        num_replicas=spec.replicas,
        ray_actor_options={"num_cpus": spec.num_cpus},
        # the service refuses with a typed error before these bounds are reached; they hold when it can't
        max_ongoing_requests=spec.max_in_flight + 16,
        max_queued_requests=spec.max_in_flight * spec.replicas,
        graceful_shutdown_timeout_s=10,
        health_check_period_s=10,
    )(ray_serve.ingress()(Endpoint))
    return deployment.bind(spec, run_dir)


def application(arguments: Mapping[str, Any]) -> Application:
    """What `serve deploy` and RayService call: `run_dir`, and any knob of ServeSpec. Raises TypeError for unknown ones."""
    told = dict(arguments)
    if "run_dir" not in told:
        raise ValueError("the application needs the argument run_dir: the folder or URI of a finished run")
    run_dir = told.pop("run_dir")
    return build(ServeSpec(**told), run_dir)
