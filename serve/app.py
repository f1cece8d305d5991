"""The routes of the endpoint: the same under Ray Serve, under uvicorn and in tests."""

from __future__ import annotations

import hmac
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from recsys.version import VERSION
from serve import errors
from serve.schema import RecommendBody
from serve.service import Service

TOKEN = "RECSYS_TOKEN"  # noqa: S105  (the name of the variable)
REQUEST_ID = "x-request-id"
BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": RecommendBody.model_json_schema()}}}
}


def create_app(service: Service) -> FastAPI:
    """An app around a service; where RECSYS_TOKEN is set, all routes but /healthz ask for it as bearer token."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="recommendations", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    token = os.environ.get(TOKEN, "")

    @app.middleware("http")
    async def counted(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if token and request.url.path != "/healthz" and not _authorized(request, token):
            response: Response = errors.unauthorized().response()
        else:
            response = await call_next(request)
        service.metrics.requests.labels(code=str(response.status_code)).inc()
        return response

    @app.post("/v1/recommend", openapi_extra=BODY)
    async def recommend(request: Request) -> JSONResponse:
        request_id = request.headers.get(REQUEST_ID, "")[:128] or uuid.uuid4().hex
        raw = await _body(request, service.spec.max_body_bytes)
        return JSONResponse(await service.recommend(raw, request_id), headers={REQUEST_ID: request_id})

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        health = service.health()
        return JSONResponse(health, status_code=200 if health["ready"] else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > limit:
        raise errors.too_large(limit)
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > limit:
            raise errors.too_large(limit)
    return bytes(held)


def _authorized(request: Request, token: str) -> bool:
    told = request.headers.get("authorization", "")
    return hmac.compare_digest(told.encode(), f"Bearer {token}".encode())
