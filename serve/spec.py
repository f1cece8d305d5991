"""What the endpoint may do, and how much of it at once."""

from __future__ import annotations

from recsys.funnel.request import FunnelSpec
from recsys.index.online_recall import RecallSpec
from recsys.value import require, value


@value
class ServeSpec:
    """Limits and places of one endpoint; it listens on loopback unless told otherwise."""

    funnel: FunnelSpec = FunnelSpec()
    recall: RecallSpec = RecallSpec()
    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    num_cpus: float = 1.0  # of Ray, for a replica
    threads: int = 1  # answering batches; each needs a core of its own
    max_batch: int = 8  # requests answered in one pass of the model
    max_in_flight: int = 64  # of a replica; what comes beyond it is refused at once
    deadline_ms: float | None = 2000.0  # of requests that don't say; None: they wait as long as it takes
    max_body_bytes: int = 65_536
    log_dir: str | None = None  # where answers are logged as Parquet; None: nowhere
    index_versions: str | None = None  # folder or URI of published versions, followed; None: the run's own index
    index_poll_s: float = 5.0  # between two looks at which version is current
    blocked_files: tuple[str, ...] = ()  # item ids that may not be shown, one a line; read again when a file changes

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65_535, f"port must be from 0 to 65535, got {self.port}")
        for name in ("replicas", "threads", "max_batch", "max_in_flight", "max_body_bytes"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        require(self.index_poll_s > 0, f"index_poll_s must be positive, got {self.index_poll_s}")
        require(
            self.deadline_ms is None or self.deadline_ms > 0, f"deadline_ms must be positive, got {self.deadline_ms}"
        )
