"""The JSON that goes in and comes out of POST /v1/recommend."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt, StrictStr

from recsys.funnel.request import MAX_K, Recommendation, RecommendRequest

Id = Annotated[StrictStr, Field(min_length=1, max_length=512)]
Weight = Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)]
FIRST_POSITION = 1


class Versions(BaseModel):
    """Which release the caller expects; a field that is left out isn't checked."""

    model_config = ConfigDict(extra="forbid")

    dataset: StrictStr | None = None
    checkpoint: StrictStr | None = None
    model: StrictStr | None = None
    item_vectors: StrictStr | None = None
    index: StrictStr | None = None
    code: StrictStr | None = None


class RecommendBody(BaseModel):
    """What one person asks for; without a user id, what anybody gets."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id | StrictInt | None = None
    k: Annotated[StrictInt, Field(ge=1, le=MAX_K)] = 20
    surface: Id | None = None
    exclude: Annotated[list[Id], Field(max_length=1000)] = []
    weights: Annotated[dict[Id, Weight], Field(max_length=64)] | None = None
    hide_seen: StrictBool | None = None
    time: Annotated[StrictInt, Field(ge=0, le=2**40)] | None = None
    deadline_ms: Annotated[FiniteFloat, Field(gt=0, le=60_000)] | None = None
    versions: Versions | None = None

    @property
    def expected(self) -> dict[str, str]:
        """Version by part of the release, of the parts that the caller named."""
        return self.versions.model_dump(exclude_none=True) if self.versions else {}

    def request(self, arrived: float, default_deadline_ms: float | None) -> RecommendRequest:
        return RecommendRequest(
            user_id=None if self.user_id is None else str(self.user_id),
            k=self.k,
            surface=self.surface,
            exclude=tuple(self.exclude),
            weights=self.weights,
            hide_seen=self.hide_seen,
            time=self.time,
            deadline_ms=self.deadline_ms or default_deadline_ms,
            arrived=arrived,
        )


def answer_json(answer: Recommendation, timings_ms: dict[str, float]) -> dict[str, Any]:
    """The body of an answer."""
    return {
        "items": [_item(answer, place) for place in range(len(answer.item_ids))],
        "versions": dict(answer.versions),
        "timings_ms": {stage: round(spent, 3) for stage, spent in timings_ms.items()},
        "degraded": list(answer.degraded),
        "source": answer.source,
    }


def _item(answer: Recommendation, place: int) -> dict[str, Any]:
    item = {
        "item_id": answer.item_ids[place],
        "score": answer.scores[place],
        "scores": {task: scores[place] for task, scores in answer.task_scores.items()},
    }
    return item | ({"text": answer.texts[place]} if answer.texts[place] else {})
