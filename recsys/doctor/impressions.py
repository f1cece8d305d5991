"""Lists that were really shown, as a run's request log holds them, with the scores of its model."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.batch import Batch
from recsys.data.reader import read_all
from recsys.data.spec import DAY, DatasetSpec
from recsys.diagnose.slates import LoggedSlates
from recsys.doctor.files import RunFiles
from recsys.value import require

MOST_REPEATED = 0.05  # share of rows whose place another row of the request has: above, places aren't ranks


def logged_slates(files: RunFiles) -> LoggedSlates:
    """Impressions of the test log with their positions, if these are ranks, clicks, features and the model's scores."""
    spec = files.parts.dataset
    tasks = [t for t, task in enumerate(spec.tasks) if task.on == "impressions" and task.kind == "binary"]
    require(bool(tasks), f"dataset {spec.name!r} has no impressions: give jobs.data events or tables of what was shown")
    batch = read_all(files.release.dataset.path, "test", spec, files.queries)
    return slates_of(batch, spec, tasks, _scores(files, batch, tasks[0]))


def slates_of(batch: Batch, spec: DatasetSpec, tasks: list[int], scores: Tensor) -> LoggedSlates:
    """Rows [R] with an answer to the first impression task, as lists [L, K] padded at the end with position 0.

    Raises ValueError when positions repeat within a request: they are then places on a page, and not ranks.
    """
    shown = ~batch.labels[:, tasks[0]].isnan() & (batch.row_context[:, 1] > 0)
    request, position = batch.rows.row[shown], batch.row_context[shown, 1]
    require(
        bool(shown.any()), f"no row of dataset {spec.name!r} has a position; map a column to position in data.columns"
    )
    key = request * (int(position.max()) + 1) + position
    repeated = 1 - len(key.unique()) / len(key)
    require(
        repeated <= MOST_REPEATED,
        f"{repeated:.0%} of the shown rows of dataset {spec.name!r} share their position with another row of the request: "
        "positions are places on a page here, not ranks",
    )
    order = key.argsort(stable=True)
    rows, counts = request[order].unique_consecutive(return_counts=True)
    mask = torch.arange(int(counts.max())) < counts[:, None]  # [L, K]

    def lists(values: Tensor) -> Tensor:
        held = values.new_zeros(*mask.shape, *values.shape[1:])
        held[mask] = values[shown][order]
        return held

    return LoggedSlates(
        position=lists(batch.row_context[:, 1]),
        click=lists(batch.labels[:, tasks[0]].nan_to_num(0)),
        score=lists(scores),
        features=lists(batch.row_features),
        cart=lists(batch.labels[:, tasks[1]].nan_to_num(0)) if len(tasks) > 1 else None,
        item=lists(batch.rows.values),
        day=batch.time[rows].double() / DAY,
    )


@torch.inference_mode()
def _scores(files: RunFiles, batch: Batch, task: int) -> Tensor:
    """[R] logits of a task, all rows asked as if they stood at the same place."""
    parts, hidden = files.parts, torch.from_numpy(files.parts.hidden)
    state = parts.model.users(hidden[batch.history.values], batch, parts.users.take(batch.user))
    row = batch.rows.row
    level = batch.row_context.clone()
    level[:, 1] = 0
    return parts.model.rank(state[row], hidden[batch.rows.values], level, batch.row_features)[:, task]
