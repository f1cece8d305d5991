"""The routes of the endpoint: the same under Ray Serve, under uvicorn and in tests."""

from __future__ import annotations

import hmac
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.version import VERSION
from serve import errors
from serve.metrics import Metrics
from serve.schema import RecommendBody
from serve.service import Service

TOKEN = "RECSYS_TOKEN"
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
    app.add_middleware(Door, metrics=service.metrics, token=os.environ.get(TOKEN, ""))

    @app.post("/v1/recommend", openapi_extra=BODY)
    async def recommend(request: Request) -> JSONResponse:
        request_id = request.headers.get(REQUEST_ID, "")[:128] or uuid.uuid4().hex
        raw = await body_of(request, service.spec.max_body_bytes)
        return JSONResponse(await service.recommend(raw, request_id), headers={REQUEST_ID: request_id})

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        health = service.health()
        return JSONResponse(health, status_code=200 if health["ready"] else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


class Door:
    """Who has the token comes in, every answer is counted by its status, and what fails is logged and answered too."""

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str) -> None:
        self.app, self.metrics, self.token = app, metrics, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started = False

        async def counting(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.metrics.requests.labels(code=str(message["status"])).inc()
            await send(message)

        app = self.app if self._authorized(scope) else errors.unauthorized().response()
        try:
            await app(scope, receive, counting)
        except Exception as error:
            if started:
                raise
            await errors.failed(scope, error).response()(scope, receive, counting)

    def _authorized(self, scope: Scope) -> bool:
        if not self.token or scope["path"] == "/healthz":
            return True
        told = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(told, f"Bearer {self.token}".encode())


async def body_of(request: Request, limit: int) -> bytes:
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
