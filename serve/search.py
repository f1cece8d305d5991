"""Query vectors in, item ids out: the index by itself behind HTTP, for one process and for shards alike."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any, Protocol

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr, ValidationError

from recsys.index.checks import checked_vectors
from recsys.index.envelope import SealedIndex
from recsys.index.exact import Hits
from recsys.index.sharding import search_whole
from recsys.value import require
from recsys.version import VERSION
from serve import errors
from serve.app import TOKEN, Door, body_of
from serve.metrics import Metrics

MAX_K, MAX_QUERIES, MAX_BODY = 1000, 256, 4 << 20


class Searcher(Protocol):
    """An index or its shards: which model's vectors they take, and what they answer."""

    versions: dict[str, str]  # index, model, checkpoint
    dim: int

    async def search(self, queries: np.ndarray, k: int) -> Hits: ...


class SearchBody(BaseModel):
    """Queries of one model; of another than the index's they are refused."""

    model_config = ConfigDict(extra="forbid")

    vectors: Annotated[list[list[FiniteFloat]], Field(min_length=1, max_length=MAX_QUERIES)]
    model: StrictStr
    k: Annotated[StrictInt, Field(ge=1, le=MAX_K)] = 10
    index: StrictStr | None = None

    def queries(self, dim: int) -> np.ndarray:
        """[B, dim] float32 of norm 1. Raises ValueError naming the first row that isn't."""
        for row, vector in enumerate(self.vectors):
            require(len(vector) == dim, f"vectors.{row} has {len(vector)} dimensions, the index has {dim}")
        return checked_vectors(np.array(self.vectors, dtype=np.float32), "vectors")


class WholeIndex:
    """One process that searches a whole index, in a thread so that the event loop stays free."""

    def __init__(self, sealed: SealedIndex) -> None:
        self._sealed = sealed
        self.dim = sealed.index.dim
        self.versions = {"index": sealed.version, "model": sealed.model, "checkpoint": sealed.checkpoint}

    async def search(self, queries: np.ndarray, k: int) -> Hits:
        return await asyncio.to_thread(search_whole, self._sealed.index, queries, k)


def create_search_app(searcher: Searcher) -> FastAPI:
    """POST /v1/search, GET /healthz and /metrics; where RECSYS_TOKEN is set, all but /healthz ask for it."""
    metrics = Metrics(searcher.versions)
    app = FastAPI(title="nearest items", version=VERSION, docs_url=None, redoc_url=None)
    errors.install(app)
    app.add_middleware(Door, metrics=metrics, token=os.environ.get(TOKEN, ""))

    @app.post("/v1/search")
    async def search(request: Request) -> JSONResponse:
        body = _checked(await body_of(request, MAX_BODY))
        for part, expected in (("model", body.model), ("index", body.index)):
            if expected is not None and expected != searcher.versions[part]:
                raise errors.wrong_version(part, expected, searcher.versions[part])
        try:
            queries = body.queries(searcher.dim)
        except ValueError as error:
            raise errors.unfit_vectors(str(error)) from None
        hits = await searcher.search(queries, body.k)
        return JSONResponse({"hits": _told(hits), "versions": searcher.versions})

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        return JSONResponse({"ready": True, "versions": searcher.versions, "dim": searcher.dim})

    @app.get("/metrics")
    async def told() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _told(hits: Hits) -> list[dict[str, list[Any]]]:
    counts = (hits.ids >= 0).sum(axis=1)
    rows = zip(hits.ids, hits.scores, counts, strict=True)
    return [{"ids": ids[:n].tolist(), "scores": scores[:n].tolist()} for ids, scores, n in rows]


def _checked(raw: bytes) -> SearchBody:
    try:
        return SearchBody.model_validate_json(raw)
    except ValidationError as error:
        raise errors.invalid(error) from None
