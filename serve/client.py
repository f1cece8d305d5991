"""Recommendations over HTTP, with the server's refusals as exceptions."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import httpx

from serve.app import TOKEN
from serve.errors import ServiceError


class Client:
    """A connection to one endpoint; use it as a context manager."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        self._http = httpx.Client(base_url=url, headers=authorization(token), timeout=timeout_s, trust_env=False)

    def recommend(self, user_id: str | None, k: int = 20, **fields: Any) -> dict[str, Any]:
        """POST /v1/recommend. Raises ServiceError with status, code and remedy of a refusal."""
        return _checked(self._http.post("/v1/recommend", json={"user_id": user_id, "k": k, **fields}))

    def health(self) -> dict[str, Any]:
        return _checked(self._http.get("/healthz"))

    def metrics(self) -> str:
        return self._http.get("/metrics").raise_for_status().text

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def authorization(token: str | None = None) -> dict[str, str]:
    """The header for a token, by default the one in RECSYS_TOKEN; no header without one."""
    token = token if token is not None else os.environ.get(TOKEN, "")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _checked(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        return response.json()
    try:
        told = response.json()["error"]
    except (ValueError, KeyError, TypeError):  # not ours: a proxy or a load balancer answered
        told = {"code": "unknown", "message": response.text[:200], "remedy": "look into the log of the proxy"}
    raise ServiceError(response.status_code, told["code"], told["message"], told["remedy"])
