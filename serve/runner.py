"""The endpoint runs under Ray Serve, or as one plain process for tests and comparisons."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from serve.app import create_app
from serve.service import Service, load_service
from serve.spec import ServeSpec

__all__ = ["Running", "ServeSpec", "start", "start_plain"]

START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Running:
    """An endpoint that takes requests until it is stopped."""

    url: str
    stop: Callable[[], None]


def start(spec: ServeSpec, run_dir: str) -> Running:
    """Deploy on the Ray cluster that the caller has initialised; returns when replicas are ready.

    Raises ArtefactError or ValueError when the parts of the run folder don't belong together.
    """
    from ray import serve as ray_serve  # only those who run on Ray pay for importing it

    from serve.deployment import APP, build

    application = build(spec, run_dir)
    ray_serve.start(proxy_location="HeadOnly", http_options={"host": spec.host, "port": spec.port})
    ray_serve.run(application, name=APP, route_prefix="/", logging_config={"enable_access_log": False})
    return Running(f"http://{spec.host}:{spec.port}", ray_serve.shutdown)


def start_plain(spec: ServeSpec, service: Service | str) -> Running:
    """Serve from a thread of this process; port 0 takes a free one. A run folder is loaded first."""
    held = load_service(spec, service) if isinstance(service, str) else service
    listening = socket.create_server((spec.host, spec.port))
    config = uvicorn.Config(create_app(held), log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="uvicorn", daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise RuntimeError(f"the server on {spec.host}:{spec.port} did not start; see its log above")
        thread.join(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=30)
        listening.close()

    return Running(f"http://{spec.host}:{listening.getsockname()[1]}", stop)
