"""People don't wait for each other: requests arrive at a constant rate, however slow the answers are."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from recsys.value import require, value
from serve.client import authorization

NO_ANSWER = 0  # stands for a status where there is none
Look = Callable[[dict[str, Any]], None]


@value
class LoadSpec:
    """Open arrivals, bounded in number and time."""

    rate: float = 20.0  # requests a second
    requests: int = 200
    seconds: float = 60.0  # no request starts later than this
    deadline_ms: float = 500.0  # later answers count as late
    tell_deadline: bool = False  # whether the server is told, and may degrade or refuse
    max_open: int = 256  # connections; a request that finds none free counts as an error
    timeout_s: float = 10.0
    k: int = 20

    def __post_init__(self) -> None:
        for name in ("rate", "requests", "seconds", "deadline_ms", "max_open", "timeout_s", "k"):
            require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")


@dataclass(slots=True)
class _Seen:
    look: Look
    latencies_ms: list[float] = field(default_factory=list)  # of answers with status 200
    codes: Counter[int] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    open: int = 0


def run_load(url: str, users: Sequence[str | None], spec: LoadSpec, look: Look = lambda answer: None) -> dict[str, Any]:
    """Send requests for `users` in turn and sum up what came back; `look` sees every answer.

    Latency counts from the moment at which a request was due, so that a generator or server that falls behind shows.
    """
    require(bool(users), "users must not be empty: the load needs somebody to ask for")
    return asyncio.run(_run(url, users, spec, look))


async def _run(url: str, users: Sequence[str | None], spec: LoadSpec, look: Look) -> dict[str, Any]:
    seen, tasks = _Seen(look), []
    fields = {"k": spec.k} | ({"deadline_ms": spec.deadline_ms} if spec.tell_deadline else {})
    limits = httpx.Limits(max_connections=spec.max_open, max_keepalive_connections=spec.max_open)
    options: dict[str, Any] = {"base_url": url, "headers": authorization(), "timeout": spec.timeout_s, "limits": limits}
    async with httpx.AsyncClient(**options, trust_env=False) as http:
        try:
            await http.get("/healthz")  # the first connection is not part of the load
        except httpx.HTTPError as error:
            raise ConnectionError(f"nobody answers at {url} ({error}); start the endpoint with jobs.serve") from error
        began = time.perf_counter()
        for number, user in zip(range(spec.requests), itertools.cycle(users), strict=False):
            due = began + number / spec.rate
            if due - began >= spec.seconds:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if seen.open >= spec.max_open:
                seen.codes[NO_ANSWER] += 1
                continue
            seen.open += 1
            tasks.append(asyncio.create_task(_one(http, {"user_id": user, **fields}, due, seen)))
        await asyncio.gather(*tasks)
        took = time.perf_counter() - began
    return _summary(seen, spec, took)


async def _one(http: httpx.AsyncClient, body: dict[str, Any], due: float, seen: _Seen) -> None:
    try:
        response = await http.post("/v1/recommend", json=body)
    except httpx.HTTPError:
        seen.codes[NO_ANSWER] += 1
        return
    finally:
        seen.open -= 1
    seen.codes[response.status_code] += 1
    if response.status_code == httpx.codes.OK:
        seen.latencies_ms.append((time.perf_counter() - due) * 1000)
        answer = response.json()
        seen.look(answer)
        seen.degraded.update(answer["degraded"])
        for stage, spent in answer["timings_ms"].items():
            seen.stages_ms.setdefault(stage, []).append(spent)


def _summary(seen: _Seen, spec: LoadSpec, took: float) -> dict[str, Any]:
    sent, held = sum(seen.codes.values()), np.array(seen.latencies_ms)
    p50, p95, p99 = (round(float(np.quantile(held, q)), 2) if len(held) else None for q in (0.5, 0.95, 0.99))
    return {
        "requests": sent,
        "errors": sent - seen.codes[httpx.codes.OK],
        "codes": {str(code): count for code, count in sorted(seen.codes.items())},
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "deadline_ms": spec.deadline_ms,
        "within_deadline": round(float((held <= spec.deadline_ms).sum() / sent), 4) if sent else None,
        "degraded": dict(seen.degraded),
        "rate": spec.rate,
        "reached_rate": round(sent / took, 2) if took else None,
        "stages_p50_ms": {stage: round(float(np.median(spent)), 3) for stage, spent in seen.stages_ms.items()},
    }
