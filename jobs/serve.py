"""Serve a run over HTTP on Ray Serve: `python -m jobs.serve run_dir=DIR port=P`, until interrupted."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace

from jobs.settings import Settings, job
from recsys.cluster.start import connected
from serve.runner import start


@job
def main(settings: Settings) -> None:
    spec = settings.serve if settings.port is None else replace(settings.serve, port=settings.port)
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with connected(settings.cluster):
        running = start(spec, settings.run_dir)
        print(f"serving {settings.run_dir} at {running.url}: POST /v1/recommend, GET /healthz, /metrics", flush=True)
        stop.wait()
        running.stop()


if __name__ == "__main__":
    main()
