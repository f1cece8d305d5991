"""The funnel is its definition, whatever else is asked in the same batch, and nothing of the future has a say."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from recsys.data.spec import DAY, FIRST, UNKNOWN
from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts
from recsys.funnel.policy import Policy
from recsys.funnel.records import Records
from recsys.funnel.request import Asked, FunnelSpec, RecommendRequest
from tests.serve.conftest import SMALL, SURFACES

PLAIN = replace(SMALL, mmr_lambda=0.0)
USERS = [f"u{number}" for number in (0, 1, 5, 17, 42, 63, 79)]


@pytest.fixture(scope="module")
def events(run_dir: Path) -> dict[str, list]:
    return pq.read_table(run_dir / "dataset" / "events.parquet").to_pydict()


def by_definition(parts: Parts, events: dict[str, list], user: int, time: int) -> tuple[list[int], dict[int, float]]:
    """One user's list, from the events and the vectors, one thing at a time."""
    zipped = zip(events["user"], events["item"], events["time"], strict=True)
    before = [(who, item, when) for who, item, when in zipped if when < time]
    mine = [item for who, item, _ in before if who == user]
    often, last = Counter(mine), {item: place for place, item in enumerate(mine)}
    own = sorted(often, key=lambda item: (-often[item], -last[item]))[: SMALL.own_history]
    hour = time - time % 3600
    counts = Counter(item for _, item, when in before if hour - 28 * DAY <= when < hour)
    popular = sorted(counts, key=lambda item: (-counts[item], item))[: SMALL.popular_candidates]
    asked = one(user, time)
    batch = parts.records.batch(asked)
    with torch.inference_mode():
        hidden = torch.from_numpy(parts.hidden)
        state = parts.model.users(hidden[batch.history.values], batch, parts.users.take(batch.user))
        query = parts.model.query(state).numpy()[0]
        near = (np.argsort(-(parts.vectors[FIRST:] @ query))[: SMALL.index_candidates] + FIRST).tolist()
        items = sorted({*own, *popular, *near})
        many = np.full(len(items), user), np.array(items), np.full(len(items), time)
        shown = torch.full((len(items), 2), UNKNOWN)
        features = torch.from_numpy(parts.records.store.compute(*many))
        logits = parts.model.rank(state.expand(len(items), -1), hidden[torch.tensor(items)], shown, features)
    scores = dict(zip(items, logits[:, 0].sigmoid().tolist(), strict=True))
    return sorted(items, key=lambda item: (-scores[item], item)), scores


def one(user: int, time: int) -> Asked:
    nothing = np.zeros(0, dtype=np.int64)
    return Asked(
        user=np.array([user]),
        time=np.array([time]),
        surface=np.array([0]),
        k=np.array([20]),
        hide_seen=np.array([False]),
        weights=np.array([[1.0, 0.0]]),
        exclude=(nothing,),
        due=np.array([np.inf]),
    )


def test_the_list_is_what_the_definition_gives(parts: Parts, events: dict[str, list]) -> None:
    funnel = Funnel(parts, PLAIN)
    for user in (2, 3, 30, 81):
        for time in (parts.dataset.test_start, parts.dataset.end):
            order, scores = by_definition(parts, events, user, time)
            answered = funnel.answer(one(user, time))
            expected = [scores[item] for item in order[:20]]
            np.testing.assert_allclose(answered.scores[0], expected, atol=1e-5)
            np.testing.assert_allclose(answered.scores[0], [scores[item] for item in answered.ids[0]], atol=1e-5)
            np.testing.assert_allclose(answered.task_scores[0, :, 0], answered.scores[0], atol=1e-6)


def test_others_in_the_batch_change_nothing(funnel: Funnel) -> None:
    requests = [
        RecommendRequest(user_id="u1", k=7),
        RecommendRequest(user_id=None, k=3, surface="web"),
        RecommendRequest(user_id="u5", k=20, hide_seen=True),
        RecommendRequest(user_id="u5", k=20, exclude=("i1", "i27"), weights={"engage": 0.5, "spend": 0.1}),
        RecommendRequest(user_id="u9", k=1, surface="shop", time=funnel.dataset.test_start),
    ]
    for request, together in zip(requests, funnel.recommend(requests), strict=True):
        alone = funnel.recommend([request])[0]
        assert (together.source, together.degraded) == (alone.source, alone.degraded)
        assert set(together.item_ids) == set(alone.item_ids)
        held = dict(zip(alone.item_ids, alone.scores, strict=True))
        np.testing.assert_allclose(together.scores, [held[item] for item in together.item_ids], atol=1e-5)
        assert len(together.item_ids) == request.k
        for task, scores in together.task_scores.items():
            held = dict(zip(alone.item_ids, alone.task_scores[task], strict=True))
            np.testing.assert_allclose(scores, [held[item] for item in together.item_ids], atol=1e-5)


def test_evaluation_sees_what_serving_answers(funnel: Funnel) -> None:
    users = np.array([funnel.directory.users[user] for user in USERS])
    times = np.full(len(users), funnel.dataset.end)
    ids = funnel.recommend_indices(users, times, 10, batch=3)
    served = funnel.recommend([RecommendRequest(user_id=user, k=10) for user in USERS])
    for row, answer in enumerate(served):
        assert [funnel.directory.item_ids[item] for item in ids[row]] == list(answer.item_ids)
    assert funnel.recommend_indices(users[:0], times[:0], 10).shape == (0, 10)


def test_state_is_that_of_the_request_log(parts: Parts, run_dir: Path) -> None:
    log = pq.read_table(run_dir / "dataset" / "requests" / "test_users-00000.parquet").to_pydict()
    size = len(log["user"])
    asked = Funnel(parts, PLAIN).intake.of_indices(np.array(log["user"]), np.array(log["time"]), 5, False)
    batch = parts.records.batch(asked)
    assert batch.context.tolist() == log["context"]
    for row in range(size):
        part = slice(int(batch.history.offsets[row]), int(batch.history.offsets[row + 1]))
        assert batch.history.values[part].tolist() == log["history"][row]
        np.testing.assert_allclose(batch.history_age[part].numpy(), log["history_age"][row], rtol=1e-6)


def test_the_future_has_no_say(parts: Parts, run_dir: Path, tmp_path: Path) -> None:
    past = tmp_path / "past"
    shutil.copytree(run_dir / "dataset", past)
    events = pq.read_table(past / "events.parquet")
    time = parts.dataset.validation_start
    pq.write_table(events.filter(pc.less(events["time"], time)), past / "events.parquet")
    blind = Funnel(replace(parts, records=Records(past, parts.dataset)), SMALL)
    requests = [RecommendRequest(user_id=user, k=20, time=time) for user in USERS]
    requests += [RecommendRequest(user_id=None, k=20, time=time, surface="web")]
    seeing = Funnel(parts, SMALL).recommend(requests)
    for full, without_future in zip(seeing, blind.recommend(requests), strict=True):
        assert full.item_ids == without_future.item_ids
        np.testing.assert_allclose(full.scores, without_future.scores, atol=1e-6)


def test_what_is_hidden_excluded_or_blocked_is_not_shown(parts: Parts, events: dict[str, list]) -> None:
    policy = Policy(
        parts.records.directory.items, parts.dataset.num_items, out_of_stock=["i1"], denied=["i4", "no such"]
    )
    funnel = Funnel(parts, SMALL, policy)
    names = parts.records.directory.item_ids
    for user in USERS:
        place = parts.records.directory.users[user]
        seen = {names[item] for who, item in zip(events["user"], events["item"], strict=True) if who == place}
        request = RecommendRequest(user_id=user, k=200, hide_seen=True, exclude=("i2", "i3", "unheard-of"))
        answer = funnel.recommend([request])[0]
        assert not set(answer.item_ids) & (seen | {"i1", "i2", "i3", "i4"})
        assert (
            len(set(answer.item_ids))
            == len(answer.item_ids)
            == min(200, len(names) - FIRST - len(seen | {"i1", "i2", "i3", "i4"}))
        )
        assert not set(answer.item_ids) & {"", None}


@pytest.mark.parametrize("user", ["u5", None])
def test_exactly_as_many_as_may_be_shown(funnel: Funnel, user: str | None) -> None:
    everything = [name for name in funnel.directory.item_ids if name]
    for left in (0, 1, 13):
        request = RecommendRequest(user_id=user, k=20, exclude=tuple(everything[left:]))
        assert set(funnel.recommend([request])[0].item_ids) == set(everything[:left])
    assert len(funnel.recommend([RecommendRequest(user_id=user, k=200)])[0].item_ids) == 200


@pytest.mark.parametrize("user", [None, "", "nobody we know", "u7777"])
def test_unknown_people_get_what_is_popular_where_they_are(
    funnel: Funnel, events: dict[str, list], user: str | None
) -> None:
    start = funnel.dataset.end - funnel.dataset.end % 3600 - 28 * DAY
    for surface in (None, *SURFACES):
        answer = funnel.recommend([RecommendRequest(user_id=user, surface=surface, k=8)])[0]
        place = funnel.directory.surfaces.get(surface or "")
        rows = zip(events["item"], events["time"], events["surface"], strict=True)
        stop = funnel.dataset.end - funnel.dataset.end % 3600
        counts = Counter(item for item, when, on in rows if start <= when < stop and (surface is None or on == place))
        best = sorted(counts, key=lambda item: (-counts[item], item))[:8]
        assert list(answer.item_ids) == [funnel.directory.item_ids[item] for item in best]
        assert list(answer.scores) == [float(counts[item]) for item in best]
        assert (answer.source, answer.task_scores, answer.degraded) == ("popular", {}, ())
    assert funnel.recommend([RecommendRequest(user_id=user, surface="moon")])[0].degraded == ("unknown_surface",)


def test_surface_is_the_told_one_or_else_the_last_one(funnel: Funnel, events: dict[str, list]) -> None:
    user = funnel.directory.users["u5"]
    last = [on for who, on in zip(events["user"], events["surface"], strict=True) if who == user][-1]
    requests = [RecommendRequest(user_id="u5", surface=surface) for surface in (None, "shop", "moon")]
    told = funnel.records.context(funnel.intake(requests))[:, 0].tolist()
    assert told == [last, funnel.directory.surfaces["shop"], UNKNOWN]


def test_weights_choose_the_objective(parts: Parts) -> None:
    funnel = Funnel(parts, PLAIN)
    weights = {"engage": 0.0, "spend": -2.0}
    answer = funnel.recommend([RecommendRequest(user_id="u5", weights=weights)])[0]
    np.testing.assert_allclose(answer.scores, -2.0 * np.array(answer.task_scores["spend"]), rtol=1e-6)
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    with pytest.raises(ValueError, match=r"unknown tasks \['clicks'\]; the tasks are \['engage', 'spend'\]"):
        funnel.recommend([RecommendRequest(user_id="u5", weights={"clicks": 1.0})])
    with pytest.raises(ValueError, match="clicks"):
        Funnel(parts, FunnelSpec(weights={"clicks": 1.0}))
    with pytest.raises(ValueError, match="finite"):
        funnel.recommend([RecommendRequest(user_id="u5", weights={"engage": float("nan")})])


def test_what_is_blocked_meanwhile_is_not_shown(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    funnel = Funnel(parts, SMALL)
    before = funnel.recommend([RecommendRequest(user_id="u5", k=20)])[0]
    compute = funnel.records.store.compute

    def sold_out(*rows: np.ndarray) -> np.ndarray:
        funnel.policy.update(out_of_stock=before.item_ids[:5])
        return compute(*rows)

    monkeypatch.setattr(funnel.records.store, "compute", sold_out)
    after = funnel.recommend([RecommendRequest(user_id="u5", k=20)])[0]
    assert not set(after.item_ids) & set(before.item_ids[:5])
    assert len(after.item_ids) == 20


def test_a_list_of_blocked_items_is_read_again_when_it_changes(parts: Parts, tmp_path: Path) -> None:
    listed = tmp_path / "denied.txt"
    listed.write_text("i1\n\ni2\n")
    directory = parts.records.directory
    policy = Policy(directory.items, parts.dataset.num_items, files=[listed])
    assert set(np.flatnonzero(policy.blocked())) == {0, 1, directory.items["i1"], directory.items["i2"]}
    listed.write_text("i333\ni30\n")
    assert set(np.flatnonzero(policy.blocked())) == {0, 1, directory.items["i30"]}


def test_retrieval_alone_is_the_nearest_items(parts: Parts) -> None:
    funnel = Funnel(parts, SMALL)
    users, times = np.array([2, 9, 40]), np.full(3, parts.dataset.end)
    query = funnel.query_vectors(users, times)
    scores = query @ parts.vectors.T
    scores[:, :FIRST] = -np.inf
    found = funnel.retrieve_only(users, times, 15)
    np.testing.assert_allclose(np.take_along_axis(scores, found, 1), -np.sort(-scores, axis=1)[:, :15], atol=1e-6)
    hidden = funnel.retrieve_only(users, times, 15, hide_seen=True)
    for row, user in enumerate(users):
        assert not set(hidden[row]) & set(parts.records.store.seen(int(user), parts.dataset.end))


def test_diversity_only_reorders_the_head(parts: Parts) -> None:
    plain = Funnel(parts, PLAIN).recommend([RecommendRequest(user_id="u5", k=50)])[0]
    diverse = Funnel(parts, replace(SMALL, mmr_lambda=0.5)).recommend([RecommendRequest(user_id="u5", k=50)])[0]
    assert diverse.item_ids[0] == plain.item_ids[0]
    assert diverse.item_ids != plain.item_ids
    held = dict(zip(plain.item_ids, plain.scores, strict=True))
    common = [(held[item], score) for item, score in zip(diverse.item_ids, diverse.scores, strict=True) if item in held]
    assert len(common) >= 25
    np.testing.assert_allclose(*zip(*common, strict=True), atol=1e-6)


def test_a_data_set_with_other_features_is_refused(parts: Parts, run_dir: Path) -> None:
    with pytest.raises(ValueError, match="prepare the data and train again"):
        Records(run_dir / "dataset", replace(parts.dataset, features=("count",)))


@pytest.mark.parametrize("fields", [{"k": 0}, {"k": 201}, {"deadline_ms": 0.0}])
def test_requests_check_their_ranges(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        RecommendRequest(user_id="u1", **fields)  # type: ignore[arg-type]
