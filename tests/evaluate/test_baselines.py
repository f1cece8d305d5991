import numpy as np
import pytest

from recsys.evaluate.baselines import ItemItem, OwnFrequency, Popular
from recsys.evaluate.ease import Ease, over_items, over_users
from recsys.evaluate.events import Events
from recsys.evaluate.fullrank import FullRanking
from recsys.evaluate.heldout import HeldOut
from recsys.evaluate.slices import everything, never_bought
from recsys.evaluate.standard import GRIDS
from recsys.evaluate.tune import tune
from tests.evaluate.worlds import shopping

DAY = 86_400


def papers_ease(matrix: np.ndarray, ridge: float) -> np.ndarray:
    """Scores of Steck's algorithm, line by line, in float64."""
    inverse = np.linalg.inv(matrix.T @ matrix + ridge * np.eye(matrix.shape[1]))
    filters = -inverse / np.diag(inverse)
    np.fill_diagonal(filters, 0)
    return matrix @ filters


@pytest.mark.parametrize("ridge", [0.5, 10.0, 500.0])
@pytest.mark.parametrize("weight", ["binary", "log1p", "count"])
def test_ease_over_users_and_over_items_is_the_papers(weight: str, ridge: float):
    events = shopping()
    matrix = events.matrix(weight)
    truth = papers_ease(matrix.toarray().astype(np.float64), ridge)
    users = np.arange(events.num_users)
    dual, primal = over_users(matrix, users, ridge)(users), over_items(matrix, np.arange(30), ridge)(users)
    np.testing.assert_allclose(dual, truth, atol=5e-5 * np.abs(truth).max())
    np.testing.assert_allclose(primal, truth, atol=5e-6 * np.abs(truth).max())


@pytest.mark.parametrize(("num_users", "num_items"), [(40, 30), (15, 200)])
def test_ease_solves_the_smaller_system(num_users: int, num_items: int):
    events = shopping(num_users=num_users, num_items=num_items)
    users = np.arange(num_users)
    scorer = Ease(weight="binary", ridge=20.0).fit(events)
    truth = papers_ease(events.matrix("binary").toarray().astype(np.float64), 20.0)
    np.testing.assert_allclose(scorer(users), truth, atol=1e-5 * np.abs(truth).max())
    assert hasattr(scorer, "known") == (num_users < num_items)


def test_ease_of_too_many_users_and_items_keeps_the_popular_ones():
    events = shopping()
    scores = Ease(weight="binary", max_side=10).fit(events)(np.arange(40))
    popular = np.argsort(-events.matrix("binary").toarray().sum(0), kind="stable")[:10]
    assert set(np.flatnonzero(scores.any(0))) == set(popular)
    with pytest.raises(ValueError, match="max_side"):
        Ease(max_side=0)


def test_an_item_says_nothing_of_itself_in_ease():
    # user 0 has one item that nobody else has: nothing can be said of any item
    events = Events.of([0, 1, 1], [0, 1, 2], [1, 2, 3], num_users=3, num_items=4)
    scores = Ease(weight="binary", ridge=1.0).fit(events)(np.arange(3))
    assert scores[0] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert scores[1, 1] > 0.1  # the user's other item speaks for it
    assert scores[2] == pytest.approx([0, 0, 0, 0])


def test_item_item_equals_dense_cosines():
    events = shopping()
    knobs = ItemItem(weight="binary", shrink=3.0, neighbours=4, min_users=2)
    matrix = events.matrix("binary").toarray().astype(np.float64)
    norms = np.sqrt((matrix**2).sum(0))
    similar = (matrix.T @ matrix) / (np.outer(norms, norms) + 3.0)
    np.fill_diagonal(similar, 0)
    few = matrix.sum(0) < 2
    similar[few], similar[:, few] = 0, 0
    found = knobs.similarity(events.matrix("binary")).toarray()
    for row, truth in zip(found, similar, strict=True):
        kept = row > 0
        assert kept.sum() == min(4, (truth > 0).sum())
        np.testing.assert_allclose(row[kept], truth[kept], rtol=1e-5)
        assert truth[~kept].max() <= row[kept].min(initial=np.inf) + 1e-6
    np.testing.assert_allclose(knobs.fit(events)(np.arange(40)), matrix @ found, rtol=1e-4, atol=1e-6)


def test_item_item_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    events = shopping()
    whole = ItemItem(neighbours=5).similarity(events.matrix("log1p")).toarray()
    monkeypatch.setattr("recsys.evaluate.baselines.BLOCK", 70)
    np.testing.assert_allclose(ItemItem(neighbours=5).similarity(events.matrix("log1p")).toarray(), whole)
    kept = ItemItem(neighbours=5, shrink=0.0, keep_self=True).similarity(events.matrix("log1p")).toarray()
    sold = np.diff(events.matrix("binary").tocsc().indptr) >= 5
    assert np.diag(kept)[sold] == pytest.approx(1)


def test_popular_counts_its_window():
    events = Events.of([0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 2, 50 * DAY], num_users=2, num_items=3).before(60 * DAY)
    assert Popular().fit(events)(np.arange(2)).tolist() == [[3, 1, 0]] * 2
    assert Popular(count="users").fit(events)(np.array([1])).tolist() == [[2, 1, 0]]
    assert Popular(window_days=28.0).fit(events)(np.array([1])).tolist() == [[0, 1, 0]]
    with pytest.raises(ValueError, match="window_days"):
        Popular(window_days=0.0)


def test_own_frequency_orders_by_count_then_by_recency_then_by_popularity():
    user = [0, 0, 0, 0, 1, 1, 1, 2]
    item = [1, 1, 2, 3, 4, 4, 4, 5]
    time = [1, 2, 3, 4, 5, 6, 7, 8]
    events = Events.of(user, item, time, num_users=4, num_items=7).before(DAY)
    scores = OwnFrequency(fill=Popular()).fit(events)(np.arange(4))
    assert np.argsort(-scores[0], kind="stable").tolist() == [1, 3, 2, 4, 5, 0, 6]
    assert np.argsort(-scores[3], kind="stable").tolist() == [4, 1, 2, 3, 5, 0, 6]


def test_own_frequency_forgets_with_its_half_life():
    user, item = [0, 0, 0], [1, 1, 2]
    events = Events.of(user, item, [0, DAY, 40 * DAY], num_users=1, num_items=3).before(41 * DAY)
    assert OwnFrequency().fit(events)(np.zeros(1, int))[0].argmax() == 1
    assert OwnFrequency(half_life_days=10.0).fit(events)(np.zeros(1, int))[0].argmax() == 2


@pytest.mark.parametrize("name", list(GRIDS))
def test_nothing_after_the_boundary_is_read(name: str):
    events = shopping()
    past = events.before(60 * DAY)
    again = Events.of(
        events.user[events.time < 60 * DAY],
        events.item[events.time < 60 * DAY],
        events.time[events.time < 60 * DAY],
        num_users=events.num_users,
        num_items=events.num_items,
    ).before(60 * DAY)
    users = np.arange(events.num_users)
    for baseline in GRIDS[name]:
        np.testing.assert_array_equal(baseline.fit(past)(users), baseline.fit(again)(users))


def test_every_method_gets_the_same_number_of_trials():
    assert len({len(grid) for grid in GRIDS.values()}) == 1


def test_tuning_keeps_every_trial_and_picks_by_metric():
    events = shopping()
    past, future = events.before(60 * DAY), events.since(60 * DAY)
    held = HeldOut.between(past, future)
    spec = FullRanking(cutoffs=(5,), metrics=("recall",))
    grid = (Popular(), OwnFrequency(), Ease(ridge=5.0))
    tuned = tune(grid, past, held, (everything(held), never_bought(held)), spec)
    assert [trial.baseline for trial in tuned.trials] == list(grid)
    for metric in ("recall@5", "recall@5[never_bought]"):
        best = max(trial.metrics[metric] for trial in tuned.trials)
        chosen = next(trial for trial in tuned.trials if trial.baseline == tuned.best(metric))
        assert chosen.metrics[metric] == best
    assert tuned.trials[1].to_json()["knobs"]["half_life_days"] is None
    with pytest.raises(ValueError, match="no metric"):
        tuned.best("recall@50")
