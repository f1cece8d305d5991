"""What was shown today is what tomorrow's model learns from, so every answer is logged as impressions."""

from __future__ import annotations

import os
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.funnel.request import Recommendation, RecommendRequest

SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("time", pa.int64()),  # seconds since 1970, when it was shown
        ("type", pa.string()),
        ("surface", pa.string()),
        ("position", pa.int64()),  # 1 is the top
        ("propensity", pa.float64()),  # 1: nothing was left to chance
        ("request", pa.string()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("checkpoint", pa.string()),
        ("index", pa.string()),
    ]
)
FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Shown:
    request_id: str
    request: RecommendRequest
    answer: Recommendation
    time: int


class AnswerLog:
    """Parquet files of shown items in the schema of events, written by a thread of its own.

    At most `waiting` answers wait to be written; beyond that `put` refuses, so that a slow disk costs log lines
    and never answers. A file appears under its name only when it is whole.
    """

    def __init__(self, folder: str | Path, *, waiting: int = 2000, rows: int = 50_000) -> None:
        self._folder, self._rows = Path(folder), rows
        self._folder.mkdir(parents=True, exist_ok=True)
        self._waiting: queue.Queue[Shown | None] = queue.Queue(maxsize=waiting)
        self._name = f"answers-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="answer-log", daemon=True)
        self._thread.start()

    def put(self, request_id: str, request: RecommendRequest, answer: Recommendation) -> bool:
        """Take an answer to be written; False when too many wait already."""
        try:
            self._waiting.put_nowait(Shown(request_id, request, answer, int(time.time())))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._waiting.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        held: list[Shown] = []
        due, going = time.monotonic() + FLUSH_SECONDS, True
        while going:
            try:
                shown = self._waiting.get(timeout=max(0.01, due - time.monotonic()))
                going = shown is not None
                held += [shown] if shown is not None else []
            except queue.Empty:
                pass
            full = sum(len(one.answer.item_ids) for one in held) >= self._rows
            if full or not going or time.monotonic() >= due:
                self._write(held)
                held, due = [], time.monotonic() + FLUSH_SECONDS

    def _write(self, held: list[Shown]) -> None:
        rows = [row for shown in held for row in self._rows_of(shown)]
        if not rows:
            return
        target = self._folder / f"{self._name}-{self._written:06d}.parquet"
        partial = target.with_suffix(".partial")
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
        partial.rename(target)
        self._written += 1

    def _rows_of(self, shown: Shown) -> list[dict[str, object]]:
        fixed = {
            "user": shown.request.user_id,
            "time": shown.time,
            "type": "impression",
            "surface": shown.request.surface,
            "propensity": 1.0,
            "request": shown.request_id,
            "source": shown.answer.source,
            "checkpoint": shown.answer.versions["checkpoint"],
            "index": shown.answer.versions["index"],
        }
        listed = zip(shown.answer.item_ids, shown.answer.scores, strict=True)
        return [
            fixed | {"item": item, "score": score, "position": place} for place, (item, score) in enumerate(listed, 1)
        ]
