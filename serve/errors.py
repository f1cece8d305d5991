"""Every refusal has a status, a stable code, a message with the value in it, and a remedy."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

log = logging.getLogger(__name__)


@dataclass(eq=False)
class ServiceError(Exception):
    """A refusal that the caller can do something about."""

    status: int
    code: str
    message: str
    remedy: str
    retry_after: int | None = None  # seconds

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "remedy": self.remedy}}

    def response(self) -> JSONResponse:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body, status_code=self.status, headers=headers)


def invalid(error: ValidationError) -> ServiceError:
    """400 for what isn't JSON, 422 for JSON that isn't a request; the first fault is named."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return ServiceError(400, "malformed_json", first["msg"], "send a JSON object in UTF-8")
    place = ".".join(map(str, first["loc"])) or "body"
    shown = repr(first["input"])
    message = f"{place}: {first['msg']}, got {shown if len(shown) <= 100 else shown[:100] + '...'}"
    return ServiceError(422, "invalid_request", message, "see /openapi.json for the fields and their ranges")


def unknown_weights(message: str) -> ServiceError:
    return ServiceError(422, "unknown_task", message, "weigh only tasks that are named in the message")


def unfit_vectors(message: str) -> ServiceError:
    return ServiceError(422, "unfit_vectors", message, "send float vectors of the index's dimension and norm 1")


def too_large(limit: int) -> ServiceError:
    return ServiceError(413, "body_too_large", f"the body is larger than {limit} bytes", "exclude fewer items")


def wrong_version(part: str, expected: str, loaded: str) -> ServiceError:
    message = f"the request expects {part} {expected}, {loaded} is loaded"
    return ServiceError(409, "version_mismatch", message, "read the versions from /healthz, or leave them out")


def overloaded(in_flight: int) -> ServiceError:
    message = f"{in_flight} requests are being answered, and no more are taken"
    return ServiceError(503, "overloaded", message, "try again after the seconds in Retry-After", retry_after=1)


def too_late(deadline_ms: float) -> ServiceError:
    message = f"there was no answer within {deadline_ms:g} ms"
    return ServiceError(504, "deadline_exceeded", message, "give more deadline_ms, or ask less often")


def unauthorized() -> ServiceError:
    return ServiceError(
        401, "unauthorized", "the bearer token is missing or wrong", "send Authorization: Bearer <token>"
    )


def failed(scope: Scope, error: Exception) -> ServiceError:
    """Our own mistake: the log gets the trace, the caller gets nothing of it."""
    log.error("request failed: %s %s", scope["method"], scope["path"], exc_info=error)
    return ServiceError(500, "internal", "the request failed", "look into the server's log")


def install(app: FastAPI) -> None:
    """Give every refusal of an app the same body."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ServiceError)
        return error.response()

    async def unknown(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = "unknown_route" if error.status_code == HTTPStatus.NOT_FOUND else "wrong_method"
        message = f"{request.method} {request.url.path}: {error.detail}"
        return ServiceError(error.status_code, code, message, "see /openapi.json for the routes").response()

    app.add_exception_handler(ServiceError, refused)
    app.add_exception_handler(HTTPException, unknown)
